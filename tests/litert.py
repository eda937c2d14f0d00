"""Run a Keras model and its `.tflite` form side by side."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.engines.litert import LiteRTProgram
from keras_octet.layers import QuantizedLayer, QuantizedLinear
from keras_octet.tflite.emit import EMITTERS
from keras_octet.tflite.write import to_tflite
from tests.strategies import integers


def model_of(layer: QuantizedLayer, *shapes: tuple[int | None, ...]) -> keras.Model:
    """A functional model of one quantized layer on int8 inputs of these shapes (without batch)."""
    inputs = [keras.Input(shape, dtype="int8", name=f"x{i}") for i, shape in enumerate(shapes)]
    return keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))


def fill(layer: QuantizedLinear, seed: int) -> None:
    """Random weights whose outputs use the whole range of the output."""
    rng = np.random.default_rng(seed)
    kernel = integers(seed, tuple(layer.kernel.shape), -127, 127)
    channels = layer.bias.shape[0]
    terms = max(1, kernel.size // channels)
    spread = 40.0 / (np.sqrt(terms) * 75 * 75)
    ratio = layer.output_qparams.scale / layer.input_qparams[0].scale
    scale = (spread * ratio * 2.0 ** rng.uniform(-2, 2, channels)).astype(np.float32)
    scale = scale[: layer.kernel_scale.shape[0]]  # one with `per_tensor`
    bias = rng.integers(-(75 * 75), 75 * 75, channels).astype(np.int32)
    layer.assign_weights(kernel, bias, scale)


def assert_same_bits(model: keras.Model, *arrays: np.ndarray) -> None:
    """The Keras layers and LiteRT's default interpreter agree on every output value."""
    expected = LiteRTProgram(to_tflite(model, EMITTERS))(arrays)
    received = keras_outputs(model, *arrays)
    assert len(expected) == len(received)
    for theirs, ours in zip(expected, received, strict=True):
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(ours, theirs)


def keras_outputs(model: keras.Model, *arrays: np.ndarray) -> list[np.ndarray]:
    """What the Keras layers compute, compiled as `predict` compiles them."""
    inputs: Any = list(arrays) if len(arrays) > 1 else arrays[0]
    outputs = keras.Model.predict_on_batch(model, inputs)
    return keras.tree.flatten(outputs)
