"""int8 pooling windows, reductions and resizing."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.tflite.read.binary import parameters
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.float_resize import size_of_image
from keras_octet.tflite.read.options import activation_of, padding_of
from keras_octet.tflite.read.shapes import as_ints

_POOLS = {
    "AVERAGE_POOL_2D": layers.QuantizedAveragePooling2D,
    "MAX_POOL_2D": layers.QuantizedMaxPooling2D,
}
_REDUCTIONS = {
    "MEAN": layers.QuantizedMean,
    "SUM": layers.QuantizedSum,
    "REDUCE_MAX": layers.QuantizedMax,
    "REDUCE_MIN": layers.QuantizedMin,
}
_INTERPOLATIONS = {"RESIZE_NEAREST_NEIGHBOR": "nearest", "RESIZE_BILINEAR": "bilinear"}


def read_pool(call: ReadCall) -> Any:
    """AVERAGE_POOL_2D, MAX_POOL_2D."""
    options = call.options
    layer = _POOLS[call.code](
        pool_size=(options.filterHeight, options.filterWidth),
        strides=(options.strideH, options.strideW),
        padding=padding_of(call),
        activation=activation_of(call),
        **parameters(call, 1),
    )
    return layer(call.tensor(0))


def axes_of(call: ReadCall) -> list[int]:
    """The axes of a reduction, sorted, none negative."""
    rank = len(call.tensor(0).shape)
    return sorted({axis % rank for axis in as_ints(call.constant(1))})


def read_reduction(call: ReadCall) -> Any:
    """MEAN, SUM, REDUCE_MAX, REDUCE_MIN."""
    layer = _REDUCTIONS[call.code](
        axis=axes_of(call), keepdims=bool(call.options.keepDims), **parameters(call, 1)
    )
    return layer(call.tensor(0))


def read_resize(call: ReadCall) -> Any:
    """RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR."""
    height, width = size_of_image(call)
    kind = layers.Int16Resizing if call.kind == "int16" else layers.QuantizedResizing
    layer = kind(
        height=height,
        width=width,
        interpolation=_INTERPOLATIONS[call.code],
        align_corners=bool(call.options.alignCorners),
        half_pixel_centers=bool(call.options.halfPixelCenters),
        **parameters(call, 1),
    )
    return layer(call.tensor(0))
