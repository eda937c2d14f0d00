"""The canonical vocabulary: which operations a flat model is made of, islands apart."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.keras_private import (
    core_operations,
    nn_operations,
    numpy_operations,
)

_LAYERS: tuple[type, ...] = (
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
    keras.layers.Activation,
    keras.layers.Rescaling,
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Concatenate,
    keras.layers.AveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Cropping2D,
    keras.layers.ZeroPadding2D,
    keras.layers.UpSampling2D,
    keras.layers.Resizing,
)

_OPERATIONS: tuple[type, ...] = (
    numpy_operations.Matmul,
    numpy_operations.GetItem,
    numpy_operations.Mean,
    core_operations.Slice,
    nn_operations.Gelu,
)

INTERPOLATIONS = ("nearest", "bilinear")
ACTIVATIONS = ("sigmoid", "tanh", "hard_silu", "gelu")


def is_canonical(operation: Any) -> bool:
    """Whether an operation of a flat model belongs to the canonical vocabulary.

    Classes are compared exactly. A ReLU with a slope or a threshold, a Softmax over another axis,
    an Activation by another function and another interpolation are float islands.
    """
    if type(operation) in _OPERATIONS:
        return True
    if type(operation) not in _LAYERS:
        return False
    if isinstance(operation, keras.layers.ReLU):
        plain = operation.negative_slope == 0 and operation.threshold == 0
        return bool(plain and (operation.max_value is None or operation.max_value > 0))
    if isinstance(operation, (keras.layers.UpSampling2D, keras.layers.Resizing)):
        return operation.interpolation in INTERPOLATIONS and not any(
            getattr(operation, setting, False)
            for setting in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio")
        )
    if isinstance(operation, keras.layers.Softmax):
        return bool(operation.axis == -1)
    if isinstance(operation, keras.layers.Activation):
        return keras.activations.serialize(operation.activation) in ACTIVATIONS
    return True
