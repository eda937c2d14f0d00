"""Resizing and upsampling."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.keras_private import image_operations
from keras_octet.capture.lower.layout import (
    channels_first,
    insert_height,
    remove_height,
    to_channels_first,
    to_channels_last,
)
from keras_octet.capture.lower.registry import Call, lowers
from keras_octet.capture.vocabulary import INTERPOLATIONS


@lowers(keras.layers.UpSampling1D)
def _up_sampling_1d(call: Call) -> Any:
    if call.x.shape[-1] is None:
        return None
    x = insert_height(call, call.x)
    x = call.emit(
        keras.layers.UpSampling2D, x, size=(1, int(call.operation.size)), interpolation="nearest"
    )
    return remove_height(call, x)


@lowers(keras.layers.UpSampling2D)
def _up_sampling(call: Call) -> Any:
    layer = call.operation
    if layer.interpolation not in INTERPOLATIONS:
        return None
    x = to_channels_last(call, call.x) if channels_first(call) else call.x
    x = call.emit(keras.layers.UpSampling2D, x, size=layer.size, interpolation=layer.interpolation)
    return to_channels_first(call, x) if channels_first(call) else x


def _resize(call: Call, height: int, width: int) -> Any:
    operation = call.operation
    plain = not (
        operation.crop_to_aspect_ratio or operation.pad_to_aspect_ratio or operation.antialias
    )
    if not plain or operation.interpolation not in INTERPOLATIONS or len(call.x.shape) != 4:
        return None
    if "float" not in call.x.dtype:
        return None
    x = to_channels_last(call, call.x) if channels_first(call) else call.x
    x = call.emit(
        keras.layers.Resizing,
        x,
        height=int(height),
        width=int(width),
        interpolation=operation.interpolation,
    )
    return to_channels_first(call, x) if channels_first(call) else x


@lowers(keras.layers.Resizing)
def _resizing(call: Call) -> Any:
    return _resize(call, call.operation.height, call.operation.width)


@lowers(image_operations.Resize)
def _resize_operation(call: Call) -> Any:
    return _resize(call, *call.operation.size)


@lowers(keras.layers.CenterCrop)
def _center_crop(call: Call) -> Any:
    """A crop when the image is at least as large; otherwise the layer resizes: an island."""
    layer = call.operation
    x = to_channels_last(call, call.x) if channels_first(call) else call.x
    height, width = (x.shape[1], x.shape[2]) if len(x.shape) == 4 else (None, None)
    if height is None or width is None or "float" not in x.dtype:
        return None
    if height < layer.height or width < layer.width:
        return None
    rows, columns = height - layer.height, width - layer.width
    cropping = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    x = call.emit(keras.layers.Cropping2D, x, cropping=cropping)
    return to_channels_first(call, x) if channels_first(call) else x
