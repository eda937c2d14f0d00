"""int8 pooling windows, reductions and resizing."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.binary import parameters
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.movement import integers
from keras_octet.tflite.read.options import activation_of, padding_of

_POOLS = {
    "AVERAGE_POOL_2D": layers.QuantizedAveragePooling2D,
    "MAX_POOL_2D": layers.QuantizedMaxPooling2D,
}
_INTERPOLATIONS = {"RESIZE_NEAREST_NEIGHBOR": "nearest", "RESIZE_BILINEAR": "bilinear"}


def read_pool(call: ReadCall) -> Any:
    """AVERAGE_POOL_2D, MAX_POOL_2D."""
    options = call.options
    if activation_of(call):
        raise ModelFileError(f"{call.code} {call.name!r} has a fused activation.")
    layer = _POOLS[call.code](
        pool_size=(options.filterHeight, options.filterWidth),
        strides=(options.strideH, options.strideW),
        padding=padding_of(call),
        **parameters(call, 1),
    )
    return layer(call.tensor(0))


def _axes(call: ReadCall) -> list[int]:
    """The axes of a reduction, sorted, none negative."""
    rank = len(call.tensor(0).shape)
    return sorted({axis % rank for axis in integers(call, 1)})


def read_mean(call: ReadCall) -> Any:
    """MEAN."""
    layer = layers.QuantizedMean(
        axis=_axes(call), keepdims=bool(call.options.keepDims), **parameters(call, 1)
    )
    return layer(call.tensor(0))


def read_reduce_max(call: ReadCall) -> Any:
    """REDUCE_MAX."""
    layer = layers.QuantizedGlobalMaxPooling2D(
        keepdims=bool(call.options.keepDims), **parameters(call, 1)
    )
    return layer(call.tensor(0))


def read_resize(call: ReadCall) -> Any:
    """RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR."""
    height, width = integers(call, 1)
    layer = layers.QuantizedResizing(
        height=height,
        width=width,
        interpolation=_INTERPOLATIONS[call.code],
        **parameters(call, 1),
    )
    return layer(call.tensor(0))
