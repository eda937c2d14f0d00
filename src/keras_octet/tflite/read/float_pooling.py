"""Float pooling windows; reductions of float, integer and bool tensors."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.canonical import make_layer
from keras_octet.layers import operators
from keras_octet.tflite.emit.codes import REDUCTIONS
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.float_common import positive_axis, with_activation
from keras_octet.tflite.read.options import padding_of
from keras_octet.tflite.read.shapes import as_ints

_POOLS = {
    "AVERAGE_POOL_2D": keras.layers.AveragePooling2D,
    "MAX_POOL_2D": keras.layers.MaxPooling2D,
}
# Reductions over all axes between batch and channels, by the rank of the input.
_GLOBAL_POOLS = {
    ("MEAN", 3): keras.layers.GlobalAveragePooling1D,
    ("MEAN", 4): keras.layers.GlobalAveragePooling2D,
    ("MEAN", 5): keras.layers.GlobalAveragePooling3D,
    ("REDUCE_MAX", 3): keras.layers.GlobalMaxPooling1D,
    ("REDUCE_MAX", 4): keras.layers.GlobalMaxPooling2D,
    ("REDUCE_MAX", 5): keras.layers.GlobalMaxPooling3D,
}


def read_pool(call: ReadCall) -> Any:
    """AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D."""
    options, source = call.options, call.tensor(0)
    settings: dict[str, Any] = {
        "pool_size": (options.filterHeight, options.filterWidth),
        "strides": (options.strideH, options.strideW),
        "padding": padding_of(call),
    }

    def make(name: str) -> Any:
        if call.code == "L2_POOL_2D":
            return operators.L2Pooling2D(name=name, **settings)(source)
        if call.code == "AVERAGE_POOL_2D" and _counts_padding(source.shape, **settings):
            return operators.AveragePooling2D(name=name, **settings)(source)
        return make_layer(_POOLS[call.code], name, **settings)(source)

    return with_activation(call, make)


def _counts_padding(shape: Any, pool_size: Any, strides: Any, padding: str) -> bool:
    """Whether Keras's own layer counts padding: on PyTorch, where the two sides differ."""
    if keras.backend.backend() != "torch" or padding != "same":
        return False
    return any(
        max((-(-length // stride) - 1) * stride + window - length, 0) % 2
        for length, window, stride in zip(shape[1:3], pool_size, strides, strict=True)
    )


def read_reduction(call: ReadCall) -> Any:
    """MEAN, SUM, REDUCE_*; a global pooling layer where that is what it is."""
    source = call.tensor(0)
    rank = len(source.shape)
    axes = sorted({positive_axis(axis, rank, call) for axis in as_ints(call.constant(1))})
    keepdims = bool(call.options.keepDims)
    pool = _GLOBAL_POOLS.get((call.code, rank))
    if pool is not None and call.kind == "float" and axes == list(range(1, rank - 1)):
        return make_layer(pool, call.name, keepdims=keepdims)(source)
    axis = axes[0] if len(axes) == 1 else tuple(axes)
    return call.apply(REDUCTIONS[call.code][0], source, axis=axis, keepdims=keepdims)
