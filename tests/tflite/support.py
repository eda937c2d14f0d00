"""Comparing Keras models with what LiteRT computes from their `.tflite` forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite, write

CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}


def sequence(shape: Sequence[int | None], *steps: Callable[[Any], Any], **kwargs: Any) -> Any:
    """A functional model that applies `steps` to one input, all its weights drawn at random."""
    x = inputs = keras.Input(shape, **kwargs)
    for step in steps:
        x = step(x)
    return randomized(keras.Model(inputs, x))


def pair(step: Callable[[Any], Any], first: Sequence[int], second: Sequence[int]) -> Any:
    """A functional model that applies `step` to a list of two inputs."""
    inputs = [keras.Input(first), keras.Input(second)]
    return randomized(keras.Model(inputs, step(inputs)))


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        positive = variable.name in ("gamma", "moving_variance")
        variable.assign(rng.uniform(0.5, 2.0, shape) if positive else rng.normal(0, 0.5, shape))
    return model


def example(model: keras.Model, batch: int, seed: int = 0) -> list[np.ndarray]:
    """Random inputs; integer inputs lie in [0, 5)."""
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = (batch, *tensor.shape[1:])
        is_float = keras.backend.is_float_dtype(tensor.dtype)
        values = rng.normal(0, 1, shape) if is_float else rng.integers(0, 5, shape)
        arrays.append(values.astype(tensor.dtype))
    return arrays


def keras_outputs(model: keras.Model, arrays: list[np.ndarray]) -> list[np.ndarray]:
    outputs = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    return [np.asarray(keras.ops.convert_to_numpy(x)) for x in keras.tree.flatten(outputs)]


def assert_close(model: keras.Model, batches: Sequence[int] = (1, 3)) -> Interpreter:
    """LiteRT gives what Keras gives, to 2e-5, for each batch size; returns the interpreter."""
    interpreter = Interpreter(to_tflite(model))
    for batch in batches:
        arrays = example(model, batch)
        expected, received = keras_outputs(model, arrays), interpreter(*arrays)
        assert len(expected) == len(received)
        for theirs, ours in zip(expected, received, strict=True):
            assert theirs.shape == ours.shape
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)
    return interpreter


def parsed(content: bytes) -> Any:
    """The file as the schema's object tree."""
    return schema.ModelT.InitFromPackedBuf(content)


def versions(content: bytes) -> dict[str, int]:
    """The version of each operator."""
    return {CODES[code.builtinCode]: code.version for code in parsed(content).operatorCodes}


def forms_of(model: keras.Model) -> tuple[bytes, bytes]:
    """A model as it is written and as XNNPACK runs it."""
    return write(model).content, write(model, for_xnnpack=True).content


def assert_same_in_both_forms(model: keras.Model, values: np.ndarray) -> list[str]:
    """Both forms of a model give the same; returns the operators of the second."""
    plain, other = map(Interpreter, forms_of(model))
    for received, expected in zip(other(values), plain(values), strict=True):
        np.testing.assert_array_equal(received, expected)
    if other.operators() != plain.operators():
        assert other.left() == []
    return other.operators()
