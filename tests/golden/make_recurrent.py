"""Golden files of recurrent layers: `python -m tests.golden.make_recurrent [name ...]`.

Needs TensorFlow and `tf-keras`: the converter fuses the LSTM of Keras 2, and no other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from keras_octet.tflite.read import parse
from tests.golden.record import record

# One after another, so that the later ones start from the state that the earlier ones leave.
CALLS = 4
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A model of one input of a fixed shape, values between -1.5 and 1.5.

    Attributes:
        model: makes the model from its input.
        kind: `"float"`, `"hybrid"` or `"int8"`.
        package: Keras 2, whose LSTM is fused, or 3.
    """

    model: Callable[[Any], Any]
    shape: Shape
    kind: str
    package: Any = tf_keras


def draw(shape: Shape, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.5, 1.5, shape).astype(np.float32)


def convert(case: Case) -> bytes:
    case.package.utils.set_random_seed(7)
    inputs = case.package.layers.Input(batch_shape=case.shape)
    model = case.package.Model(inputs, case.model(inputs))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if case.kind != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if case.kind == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

        def samples() -> Iterator[list[np.ndarray]]:
            for seed in range(20):
                yield [draw(case.shape, seed)]

        converter.representative_dataset = samples
    return bytes(converter.convert())


def inputs(case: Case, content: bytes) -> list[list[np.ndarray]]:
    graph = parse(content).subgraphs[0]
    integer = graph.tensors[graph.inputs[0]].dtype == "int8"
    rng = np.random.default_rng(5)
    return [
        [
            rng.integers(-128, 128, case.shape).astype(np.int8)
            if integer
            else draw(case.shape, 100 + call)
        ]
        for call in range(CALLS)
    ]


def lstm(units: int, package: Any = tf_keras, **options: Any) -> Callable[[Any], Any]:
    """An LSTM whose biases are not all alike."""
    biases = package.initializers.RandomUniform(-0.5, 0.5)
    return package.layers.LSTM(units, bias_initializer=biases, **options)


def bidirectional(units: int) -> Callable[[Any], Any]:
    return tf_keras.layers.Bidirectional(lstm(units, return_sequences=True))


def last(x: Any) -> Any:
    return tf_keras.layers.Dense(3)(lstm(8)(x))


def stack(x: Any) -> Any:
    return lstm(4, return_sequences=True)(lstm(8, return_sequences=True)(x))


def unrolled_gru(x: Any) -> Any:
    return keras.layers.GRU(6, unroll=True, return_sequences=True)(x)


SEQUENCE = (2, 5, 6)
WIDE = (2, 5, 32)
FUSED = "unidirectional_sequence_lstm"
CASES: dict[str, Case] = {
    f"{FUSED}_float": Case(lambda x: lstm(8, return_sequences=True)(x), SEQUENCE, "float"),
    f"{FUSED}_float_stack": Case(stack, SEQUENCE, "float"),
    f"{FUSED}_float_bidirectional": Case(lambda x: bidirectional(5)(x), SEQUENCE, "float"),
    f"{FUSED}_hybrid": Case(lambda x: lstm(32, return_sequences=True)(x), WIDE, "hybrid"),
    f"{FUSED}_int8": Case(lambda x: lstm(7, return_sequences=True)(x), SEQUENCE, "int8"),
    f"{FUSED}_int8_stack": Case(stack, SEQUENCE, "int8"),
    f"{FUSED}_int8_bidirectional": Case(lambda x: bidirectional(5)(x), SEQUENCE, "int8"),
    f"{FUSED}_int8_last": Case(last, (1, 5, 6), "int8"),
    "lstm_unrolled_int8": Case(lambda x: lstm(6, keras, unroll=True)(x), SEQUENCE, "int8", keras),
    "gru_unrolled_int8": Case(unrolled_gru, SEQUENCE, "int8", keras),
}


def main(names: list[str]) -> None:
    for name in names or CASES:
        content = convert(CASES[name])
        record(name, content, *inputs(CASES[name], content))


if __name__ == "__main__":
    main(sys.argv[1:])
