"""Bringing tensors to (batch, height, width, channels) and back."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.lower.registry import Call


def channels_first(call: Call) -> bool:
    """Whether the caller's operation works on (batch, channels, ...)."""
    return getattr(call.operation, "data_format", None) == "channels_first"


def to_channels_last(call: Call, x: Any, *, suffix: str = "_to_channels_last") -> Any:
    """(batch, channels, ...) -> (batch, ..., channels)."""
    rank = len(x.shape)
    return call.emit(keras.layers.Permute, x, suffix=suffix, dims=(*range(2, rank), 1))


def to_channels_first(call: Call, x: Any, *, suffix: str = "_to_channels_first") -> Any:
    """(batch, ..., channels) -> (batch, channels, ...)."""
    rank = len(x.shape)
    return call.emit(keras.layers.Permute, x, suffix=suffix, dims=(rank - 1, *range(1, rank - 1)))


def axis_to_last(call: Call, x: Any, axis: int) -> Any:
    """Move `axis` to the end, the others keep their order."""
    rank = len(x.shape)
    others = [i for i in range(1, rank) if i != axis % rank]
    return call.emit(keras.layers.Permute, x, suffix="_to_last", dims=(*others, axis % rank))


def axis_from_last(call: Call, x: Any, axis: int) -> Any:
    """Inverse of `axis_to_last`."""
    rank = len(x.shape)
    axis = axis % rank
    dims = [i if i < axis else i - 1 for i in range(1, rank)]
    dims[axis - 1] = rank - 1
    return call.emit(keras.layers.Permute, x, suffix="_from_last", dims=tuple(dims))


def insert_height(call: Call, x: Any) -> Any:
    """(batch, length, channels) -> (batch, 1, length, channels)."""
    _, length, channels = x.shape
    length = -1 if length is None else length
    return call.emit(keras.layers.Reshape, x, suffix="_to_2d", target_shape=(1, length, channels))


def remove_height(call: Call, x: Any) -> Any:
    """(batch, 1, length, channels) -> (batch, length, channels)."""
    _, _, length, channels = x.shape
    length = -1 if length is None else length
    return call.emit(keras.layers.Reshape, x, suffix="_from_2d", target_shape=(length, channels))
