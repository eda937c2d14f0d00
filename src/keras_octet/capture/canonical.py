"""Making layers of the canonical vocabulary, with given weights.

Everything is float32 and channels_last, whatever the global Keras settings are.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.capture.origin import copy_origin

LINEAR_LAYERS: tuple[type, ...] = (
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv2DTranspose,
)

# Layers whose constructor takes `data_format`.
_SPATIAL_LAYERS: tuple[type, ...] = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3D,
    keras.layers.Conv3DTranspose,
    keras.layers.AveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
    keras.layers.Resizing,
    keras.layers.Flatten,
)

# Variables of the layers above: attribute -> constructor argument and attribute of its initializer.
_INITIALIZERS: dict[type, dict[str, str]] = {
    keras.layers.Dense: {"kernel": "kernel_initializer", "bias": "bias_initializer"},
    keras.layers.Conv2D: {"kernel": "kernel_initializer", "bias": "bias_initializer"},
    keras.layers.Conv2DTranspose: {"kernel": "kernel_initializer", "bias": "bias_initializer"},
    keras.layers.DepthwiseConv2D: {
        "kernel": "depthwise_initializer",
        "bias": "bias_initializer",
    },
    keras.layers.PReLU: {"alpha": "alpha_initializer"},
    keras.layers.Conv3D: {"kernel": "kernel_initializer", "bias": "bias_initializer"},
    keras.layers.Conv3DTranspose: {"kernel": "kernel_initializer", "bias": "bias_initializer"},
    keras.layers.Embedding: {"embeddings": "embeddings_initializer"},
}


# Constructor arguments of linear layers that are also attributes.
_SETTINGS: dict[type, tuple[str, ...]] = {
    keras.layers.Dense: ("units",),
    keras.layers.Conv2D: (
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "dilation_rate",
        "groups",
    ),
    keras.layers.DepthwiseConv2D: (
        "kernel_size",
        "strides",
        "padding",
        "dilation_rate",
        "depth_multiplier",
    ),
    keras.layers.Conv2DTranspose: (
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "output_padding",
        "dilation_rate",
    ),
}


class _Given(keras.initializers.Initializer):
    """Initializer that returns a given array: the variable is written once."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        if tuple(shape) != self.value.shape:
            raise ValueError(f"Expected weights of shape {shape}. Received: {self.value.shape}")
        return keras.ops.convert_to_tensor(self.value, dtype=dtype)


def to_numpy(value: Any) -> np.ndarray:
    """Any variable, tensor or array as a float32 (or its own integer or bool dtype) array."""
    array = np.array(keras.ops.convert_to_numpy(value))
    if array.dtype.kind in "iub":
        return array
    return array.astype(np.float32)


def make_layer(layer_class: type, name: str, **config: Any) -> keras.layers.Layer:
    """A fresh float32 layer, channels_last where that applies."""
    if layer_class in _SPATIAL_LAYERS:
        config["data_format"] = "channels_last"
    return layer_class(name=name, dtype="float32", **config)


def make_weighted_layer(
    layer_class: type,
    name: str,
    input_shape: tuple[int | None, ...],
    weights: dict[str, np.ndarray],
    **config: Any,
) -> keras.layers.Layer:
    """A fresh built layer whose variables have the given values.

    Args:
        layer_class: one of those in `_INITIALIZERS`.
        name: of the layer.
        input_shape: shape it is built for, batch axis included.
        weights: attribute name to array, in the Keras layout; stored as float32.
        **config: other constructor arguments.
    """
    initializers = _INITIALIZERS[layer_class]
    for attribute, value in weights.items():
        config[initializers[attribute]] = _Given(np.asarray(value, np.float32))
    layer = make_layer(layer_class, name, **config)
    layer.build(input_shape)
    for attribute in weights:
        setattr(layer, initializers[attribute], keras.initializers.Zeros())
    return layer


def with_weights(
    layer: keras.layers.Layer, input_shape: tuple[int | None, ...], **weights: np.ndarray
) -> keras.layers.Layer:
    """A copy of a layer (same name, settings and origin) with other weights."""
    config = {name: getattr(layer, name) for name in _SETTINGS[type(layer)]}
    return copy_origin(
        layer, make_weighted_layer(type(layer), layer.name, input_shape, weights, **config)
    )
