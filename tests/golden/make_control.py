"""Golden files of loops, branches and variables: `python -m tests.golden.make_control [name]`.

Needs TensorFlow, whose converter makes them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

from tests.golden.record import record

L = keras.layers
CALLS = 4


def floats(*shape: int, seed: int = 0) -> list[np.ndarray]:
    """One input for each of several calls."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, shape).astype(np.float32) for _ in range(CALLS)]


def ints(*shape: int, low: int = 0, high: int = 5, dtype: str = "int32") -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(low, high, shape).astype(dtype) for _ in range(CALLS)]


@dataclass
class Case:
    """A golden file.

    Attributes:
        make: a Keras layer, or several; or a function of the inputs; or the class of a `tf.Module`
            whose methods are signatures, of which the first is called.
        inputs: for each input what the calls give it.
        kind: `"float"`, `"float16"`, `"hybrid"` or `"int8"`.
        length_is_open: the second axis of the input is.
    """

    make: Any
    inputs: Sequence[list[np.ndarray]]
    kind: str = "float"
    length_is_open: bool = False

    @property
    def calls(self) -> list[list[np.ndarray]]:
        return [list(arrays) for arrays in zip(*self.inputs, strict=True)]

    @property
    def specs(self) -> list[tf.TensorSpec]:
        arrays = self.calls[0]
        # The calls of an int8 model are what its float inputs become.
        return [
            tf.TensorSpec(x.shape, np.float32 if self.kind == "int8" else x.dtype, name=f"x{i}")
            for i, x in enumerate(arrays)
        ]


def converted(case: Case) -> bytes:
    """What TensorFlow's converter makes of a case."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        converter = converter_of(case, folder)
        converter.experimental_enable_resource_variables = True
        if case.kind != "float":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if case.kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if case.kind == "int8":
            converter.representative_dataset = lambda: samples(case)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def converter_of(case: Case, folder: str) -> Any:
    make = case.make
    if isinstance(make, type):
        module = make()
        names = [name for name in vars(make) if not name.startswith("_")]
        functions = {name: tf.function(getattr(module, name)) for name in names}
        concrete = {name: f.get_concrete_function(*case.specs) for name, f in functions.items()}
        if len(names) == 1:
            make_converter = tf.lite.TFLiteConverter.from_concrete_functions
            return make_converter(list(concrete.values()), module)
        tf.saved_model.save(module, folder, signatures=concrete)
        return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    if isinstance(make, (keras.layers.Layer, list)):
        shape = list(case.calls[0][0].shape)
        if case.length_is_open:
            shape[1] = None
        layers = make if isinstance(make, list) else [make]
        # A new layer each time: its weights are those of the seed.
        layers = [layer.__class__.from_config(layer.get_config()) for layer in layers]
        model = keras.Sequential([keras.Input(batch_shape=tuple(shape), name="x"), *layers])
        return tf.lite.TFLiteConverter.from_keras_model(model)
    function = tf.function(make).get_concrete_function(*case.specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([function])


def samples(case: Case) -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(2)
    for _ in range(20):
        yield [rng.normal(0, 1, x.shape).astype(np.float32) for x in case.calls[0]]


# Loops and branches


def grow(x: Any) -> Any:
    return tf.while_loop(lambda y: tf.reduce_sum(y) < 100.0, lambda y: (y * 2 + 1,), [x])[0]


def collatz(x: Any, n: Any) -> Any:
    for i in tf.range(n):
        x = tf.where(x % 2 == 0, x // 2, 3 * x + 1)
        if tf.reduce_max(x) > 20:
            x = x - i
    return x


def running_sums(x: Any) -> Any:
    total, sums = tf.zeros([2]), tf.TensorArray(tf.float32, 5, element_shape=[2])
    for i in tf.range(5):
        total = total + x[i]
        sums = sums.write(i, total)
    return sums.stack()


def decay(x: Any) -> Any:
    return tf.scan(lambda state, value: state * 0.5 + value, x)


def branch(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: x - 1)


def constants(x: Any) -> Any:
    return tf.cond(
        tf.reduce_sum(x) > 0, lambda: tf.constant([2.0, 3.0]), lambda: tf.constant([5.0, 6.0])
    )


def dynamic_slice(x: Any, i: Any) -> dict[str, Any]:
    return {"row": x[i], "column": x[:, -i], "block": tf.slice(x, [i, 0], [2, 2])}


def complex_state(x: Any) -> Any:
    """One of two spectra, the first if the one before has a real part above a limit that grows."""
    first, second = tf.signal.rfft(x), tf.signal.rfft(x * x)

    def other(y: Any, limit: Any) -> Any:
        above = tf.reduce_max(tf.math.real(y)) > limit
        return tf.cond(above, lambda: first, lambda: second)

    found = tf.while_loop(
        lambda limit, y: limit < 12.0, lambda limit, y: (limit + 3.0, other(y, limit)), [0.0, first]
    )
    return tf.math.imag(found[1])


# Models that keep state


class Counter(tf.Module):
    def __init__(self) -> None:
        self.count = tf.Variable(3, dtype=tf.int32, name="count")

    def step(self, x: Any) -> Any:
        self.count.assign_add(x[0])
        return {"count": self.count + 0}


class Ring(tf.Module):
    """The last four inputs, as a window that moves."""

    def __init__(self) -> None:
        self.window = tf.Variable(tf.fill([1, 4, 2], 0.5), name="window")

    def step(self, x: Any) -> Any:
        window = tf.concat([self.window[:, 1:], x], 1)
        self.window.assign(window)
        return tf.reduce_mean(window, 1)


class Slots(tf.Module):
    """The last four inputs, each written over the oldest."""

    def __init__(self) -> None:
        self.slots, self.place = tf.Variable(tf.zeros([4, 2])), tf.Variable(0)

    def step(self, x: Any) -> Any:
        self.slots.assign(tf.tensor_scatter_nd_update(self.slots, [[self.place]], x))
        self.place.assign((self.place + 1) % 4)
        return tf.reduce_max(self.slots, 0, keepdims=True)


class Average(tf.Module):
    """A moving average, and a second signature that starts it anew."""

    def __init__(self) -> None:
        self.mean, self.count = tf.Variable(tf.zeros([1, 3])), tf.Variable(0.0)

    def step(self, x: Any) -> Any:
        self.count.assign_add(1.0)
        self.mean.assign(0.9 * self.mean + 0.1 * x)
        return {"mean": self.mean / self.count}

    def wipe(self, x: Any) -> Any:
        self.count.assign(0.0)
        self.mean.assign(x)
        return {"last": x * 2.0}


class Twins(tf.Module):
    """Variables that hold the same value, and the input itself."""

    def __init__(self) -> None:
        self.first, self.second, self.last = (tf.Variable(tf.zeros([2])) for _ in range(3))

    def step(self, x: Any) -> Any:
        value = self.first * 0.5 + x
        self.first.assign(value)
        self.second.assign(value)
        before = self.last + 0.0
        self.last.assign(x)
        return self.first + self.second + before


class InBranch(tf.Module):
    def __init__(self) -> None:
        self.value = tf.Variable(0.0)

    def step(self, x: Any) -> Any:
        changed = tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: self.value.assign_add(1.0),
            lambda: self.value.assign_sub(2.0),
        )
        return x + changed


class InLoop(tf.Module):
    def __init__(self) -> None:
        self.value = tf.Variable(1.0)

    def step(self, x: Any) -> Any:
        for _ in tf.range(3):
            self.value.assign_add(x[0])
        return x + self.value


class Streaming(tf.Module):
    """A convolution in time, one frame a call."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.frames = tf.Variable(tf.zeros([1, 5, 8]), trainable=False)
        self.kernel = tf.constant(rng.normal(0, 0.1, (40, 32)).astype(np.float32))

    def step(self, x: Any) -> Any:
        frames = tf.concat([self.frames, x], 1)[:, 1:]
        self.frames.assign(frames)
        return tf.nn.relu(tf.matmul(tf.reshape(frames, [1, 40]), self.kernel))


SEQUENCE = [floats(1, 6, 3)]
WIDE = [floats(1, 5, 20)]
CASES: dict[str, Case] = {
    "while_float": Case(grow, [floats(2)]),
    "while_integer": Case(collatz, [ints(3, low=1, high=30), ints()]),
    "while_float_list": Case(running_sums, [floats(5, 2)]),
    "while_float_scan": Case(decay, [floats(5)]),
    "while_complex64": Case(complex_state, [floats(2, 8)]),
    "while_float_simple_rnn": Case(L.SimpleRNN(4, return_sequences=True), SEQUENCE),
    "while_float_lstm": Case(L.LSTM(4), SEQUENCE),
    "while_float_lstm_stateful": Case(L.LSTM(4, stateful=True), SEQUENCE),
    "while_float_gru": Case(L.GRU(4, return_sequences=True), SEQUENCE),
    "while_float_gru_reset_before": Case(L.GRU(4, reset_after=False), SEQUENCE),
    "while_float_bidirectional": Case(L.Bidirectional(L.LSTM(3)), SEQUENCE),
    "while_float_cells": Case(L.RNN([L.LSTMCell(4), L.GRUCell(3)]), SEQUENCE),
    "while_float_masked": Case([L.Masking(), L.LSTM(4)], SEQUENCE),
    "while_float_conv_lstm": Case(
        L.ConvLSTM2D(2, 3, padding="same", return_sequences=True), [floats(1, 3, 4, 5, 2)]
    ),
    "while_float_open_length": Case(
        L.LSTM(4, return_sequences=True), SEQUENCE, length_is_open=True
    ),
    "while_float_lstm_float16": Case(L.LSTM(4, return_sequences=True), SEQUENCE, "float16"),
    "while_float_gru_float16": Case(L.GRU(4), SEQUENCE, "float16"),
    "while_hybrid_lstm": Case(L.LSTM(20, return_sequences=True), WIDE, "hybrid"),
    "while_hybrid_gru": Case(L.GRU(20), WIDE, "hybrid"),
    "if_float": Case(branch, [floats(2)]),
    "if_float_constants": Case(constants, [floats(2)]),
    "strided_slice_float_dynamic": Case(dynamic_slice, [floats(5, 4), ints(low=1, high=3)]),
    "read_variable_integer": Case(Counter, [ints(1)]),
    "read_variable_float": Case(Ring, [floats(1, 1, 2)]),
    "read_variable_float_slots": Case(Slots, [floats(1, 2)]),
    "read_variable_float_twins": Case(Twins, [floats(2)]),
    "read_variable_float_two_signatures": Case(Average, [floats(1, 3)]),
    "read_variable_float_if": Case(InBranch, [floats(2)]),
    "read_variable_float_while": Case(InLoop, [floats(2)]),
    "read_variable_float_float16": Case(Streaming, [floats(1, 1, 8)], "float16"),
    "read_variable_hybrid": Case(Streaming, [floats(1, 1, 8)], "hybrid"),
    "read_variable_int8": Case(
        Streaming, [ints(1, 1, 8, low=-128, high=128, dtype="int8")], "int8"
    ),
}


def main(names: Sequence[str]) -> None:
    for name in names or CASES:
        record(name, converted(CASES[name]), *CASES[name].calls)


if __name__ == "__main__":
    main(sys.argv[1:])
