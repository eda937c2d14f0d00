"""Pooling of one and two dimensions, and reductions that are pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_octet.capture.keras_private import nn_operations, numpy_operations
from keras_octet.capture.lower.layout import (
    channels_first,
    insert_height,
    remove_height,
    to_channels_first,
    to_channels_last,
)
from keras_octet.capture.lower.registry import Call, lowers

_AVERAGE = keras.layers.AveragePooling2D
_MAXIMUM = keras.layers.MaxPooling2D


def _local(pooling: type) -> Callable[[Call], Any]:
    def lower(call: Call) -> Any:
        layer, rank = call.operation, len(call.x.shape)
        if rank not in (3, 4) or not call.is_float:
            return None
        x = to_channels_last(call, call.x) if channels_first(call) else call.x
        if rank == 3 and x.shape[-1] is None:
            return None
        x = insert_height(call, x) if rank == 3 else x
        x = call.emit(
            pooling,
            x,
            pool_size=_spatial(layer.pool_size, rank),
            strides=_spatial(layer.pool_size if layer.strides is None else layer.strides, rank),
            padding=layer.padding,
        )
        x = remove_height(call, x) if rank == 3 else x
        return to_channels_first(call, x) if channels_first(call) else x

    return lower


def _spatial(value: Any, rank: int) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values = (1, *values) if rank == 3 else values * 2
    return values[0], values[1]


lowers(keras.layers.AveragePooling1D, keras.layers.AveragePooling2D)(_local(_AVERAGE))
lowers(keras.layers.MaxPooling1D, keras.layers.MaxPooling2D)(_local(_MAXIMUM))
lowers(nn_operations.AveragePool)(_local(_AVERAGE))
lowers(nn_operations.MaxPool)(_local(_MAXIMUM))


def emit_global(call: Call, pooling: type, x: Any, keepdims: bool, *, first: bool) -> Any:
    """Pool the middle axes of a channels_last tensor of rank 3 or 4.

    Args:
        first: whether kept axes go after the channels (the caller's layout is channels_first).
    """
    rank = len(x.shape)
    if rank == 3:
        x = insert_height(call, x)
    y = call.emit(pooling, x, keepdims=keepdims and rank == 4 and not first)
    if not keepdims or (rank == 4 and not first):
        return y
    channels = y.shape[-1]
    shape = (channels, *(1,) * (rank - 2)) if first else (1, channels)
    return call.emit(keras.layers.Reshape, y, suffix="_keepdims", target_shape=shape)


def _global(pooling: type) -> Callable[[Call], Any]:
    def lower(call: Call) -> Any:
        first = channels_first(call)
        channels = call.x.shape[1 if first else -1]
        if call.masked or channels is None or not call.is_float:
            return None
        x = to_channels_last(call, call.x) if first else call.x
        return emit_global(call, pooling, x, call.operation.keepdims, first=first)

    return lower


_GLOBAL_AVERAGE = keras.layers.GlobalAveragePooling2D
_GLOBAL_MAXIMUM = keras.layers.GlobalMaxPooling2D
lowers(keras.layers.GlobalAveragePooling1D, _GLOBAL_AVERAGE)(_global(_GLOBAL_AVERAGE))
lowers(keras.layers.GlobalMaxPooling1D, _GLOBAL_MAXIMUM)(_global(_GLOBAL_MAXIMUM))


def _reduction(pooling: type) -> Callable[[Call], Any]:
    def lower(call: Call) -> Any:
        x, rank = call.x, len(call.x.shape)
        axis = call.operation.axis
        if (
            axis is None
            or not call.is_float
            or getattr(call.operation, "initial", None) is not None
        ):
            return None
        axes = sorted(a % rank for a in ((axis,) if isinstance(axis, int) else axis))
        keepdims = call.operation.keepdims
        if rank == 4 and axes == [1, 2]:
            return emit_global(call, pooling, x, keepdims, first=False)
        if rank == 4 and axes == [2, 3] and x.shape[1] is not None:
            return emit_global(call, pooling, to_channels_last(call, x), keepdims, first=True)
        if rank == 3 and axes == [1] and x.shape[-1] is not None:
            return emit_global(call, pooling, x, keepdims, first=False)
        return None

    return lower


lowers(numpy_operations.Mean)(_reduction(_GLOBAL_AVERAGE))
lowers(numpy_operations.Max, numpy_operations.Amax)(_reduction(_GLOBAL_MAXIMUM))


@lowers(numpy_operations.Sum)
def _sum(call: Call) -> Any:
    """A sum over the middle axes of known size is an average times the size."""
    axis, rank = call.operation.axis, len(call.x.shape)
    if axis is None:
        return None
    axes = sorted(a % rank for a in ((axis,) if isinstance(axis, int) else axis))
    sizes = [call.x.shape[a] for a in axes]
    if rank != 4 or axes != [1, 2] or None in sizes or not call.is_float:
        return None
    y = call.emit(_GLOBAL_AVERAGE, call.x, suffix="_mean", keepdims=bool(call.operation.keepdims))
    return call.emit(keras.layers.Rescaling, y, scale=float(math.prod(sizes)), offset=0.0)
