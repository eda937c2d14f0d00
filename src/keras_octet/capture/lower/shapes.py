"""Operations that only move elements: reshape, transpose, pad, crop, split."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_octet.capture.keras_private import numpy_operations
from keras_octet.capture.lower.layout import (
    channels_first,
    insert_height,
    remove_height,
    to_channels_first,
    to_channels_last,
)
from keras_octet.capture.lower.registry import Call, lowers


def _target(call: Call) -> tuple[int, ...] | None:
    """Target shape without the batch axis, at most one size unknown; None if there is none."""
    sizes = tuple(-1 if size is None else size for size in call.outputs[0].shape[1:])
    return sizes if sizes.count(-1) <= 1 else None


def _keeps_batch(call: Call) -> bool:
    """Whether a reshape of the whole tensor leaves the batch axis alone."""
    before, after = call.x.shape, call.outputs[0].shape
    if not after or len(before) == 0:
        return False
    if None in before[1:] or None in after[1:]:
        # Sizes cancel only if the operation says so: unknown axes are the same ones.
        return (
            before[0] == after[0]
            and [s for s in before if s is None] == [s for s in after if s is None]
            and _static(before) == _static(after)
            and before[1:].count(None) <= 1
        )
    return math.prod(before[1:]) == math.prod(after[1:])


def _static(shape: tuple[int | None, ...]) -> int:
    return math.prod(size for size in shape[1:] if size is not None)


def _emit_reshape(call: Call, target: tuple[int, ...] | None) -> Any:
    if target is None or not target:
        return None
    return call.emit(keras.layers.Reshape, call.x, target_shape=target)


@lowers(keras.layers.Reshape)
def _reshape_layer(call: Call) -> Any:
    return _emit_reshape(call, tuple(call.operation.target_shape))


@lowers(keras.layers.Flatten)
def _flatten(call: Call) -> Any:
    x = call.x
    if channels_first(call) and len(x.shape) > 2:
        x = to_channels_last(call, x)
    sizes = x.shape[1:]
    if not sizes:
        return None
    if None in sizes:
        return call.emit(keras.layers.Flatten, x)
    if len(sizes) == 1:
        return x
    return call.emit(keras.layers.Reshape, x, target_shape=(math.prod(sizes),))


@lowers(numpy_operations.Squeeze, numpy_operations.ExpandDims, numpy_operations.Ravel)
def _reshape(call: Call) -> Any:
    return _emit_reshape(call, _target(call)) if _keeps_batch(call) else None


@lowers(numpy_operations.Reshape)
def _reshape_operation(call: Call) -> Any:
    """Sizes taken from `ops.shape` are None in the new shape; the first one is the batch."""
    sizes = tuple(call.operation.newshape)
    if None not in sizes:
        return _reshape(call)
    if sizes[0] is None and None not in sizes[1:] and _fits(sizes[1:], call.x.shape[1:]):
        return _emit_reshape(call, sizes[1:])
    if sizes.count(None) > 1 or -1 in sizes:
        raise ValueError(f"the sizes of the new shape {sizes} are not known")
    known = tuple(-1 if size is None else size for size in sizes)
    return call.emit_operation(numpy_operations.Reshape, call.x, newshape=known)


def _fits(target: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    """Whether a sample of `shape` reshapes to `target`, which may hold one -1."""
    if None in shape:
        return -1 in target
    known = math.prod(size for size in target if size != -1)
    size = math.prod(size for size in shape if size is not None)
    return size % known == 0 if -1 in target else size == known


def _emit_permute(call: Call, axes: list[int]) -> Any:
    if axes[0] != 0:
        return None
    if axes == list(range(len(axes))):
        return call.x
    return call.emit(keras.layers.Permute, call.x, dims=tuple(axes[1:]))


@lowers(keras.layers.Permute)
def _permute_layer(call: Call) -> Any:
    return _emit_permute(call, [0, *call.operation.dims])


@lowers(numpy_operations.Transpose)
def _transpose(call: Call) -> Any:
    rank = len(call.x.shape)
    axes = call.operation.axes
    axes = reversed(range(rank)) if axes is None else axes
    return _emit_permute(call, [axis % rank for axis in axes])


@lowers(numpy_operations.Swapaxes)
def _swapaxes(call: Call) -> Any:
    axes = list(range(len(call.x.shape)))
    first, second = call.operation.axis1, call.operation.axis2
    axes[first], axes[second] = axes[second], axes[first]
    return _emit_permute(call, axes)


@lowers(numpy_operations.Moveaxis)
def _moveaxis(call: Call) -> Any:
    rank = len(call.x.shape)
    sources = [axis % rank for axis in call.operation.source]
    destinations = [axis % rank for axis in call.operation.destination]
    axes = [axis for axis in range(rank) if axis not in sources]
    for destination, source in sorted(zip(destinations, sources, strict=True)):
        axes.insert(destination, source)
    return _emit_permute(call, axes)


@lowers(keras.layers.RepeatVector)
def _repeat_vector(call: Call) -> Any:
    x, times = call.x, call.operation.n
    if x.shape[-1] is None:
        return None
    x = call.emit(keras.layers.Reshape, x, suffix="_expand", target_shape=(1, 1, x.shape[-1]))
    x = call.emit(
        keras.layers.UpSampling2D, x, suffix="_repeat", size=(1, times), interpolation="nearest"
    )
    return call.emit(keras.layers.Reshape, x, target_shape=(times, x.shape[-1]))


@lowers(numpy_operations.Tile)
def _tile(call: Call) -> Any:
    """Each tiled axis as the rows of an image of width 1 that is enlarged to the right."""
    x, shape = call.x, list(call.x.shape)
    repeats = np.atleast_1d(call.operation.repeats)
    counts = [1] * (len(shape) - len(repeats)) + [int(count) for count in repeats]
    if len(counts) != len(shape) or counts[0] != 1 or min(counts) < 1 or None in shape[1:]:
        return None
    if not call.is_float or len(shape) < 2:
        return None
    for axis in (axis for axis, count in enumerate(counts) if count > 1):
        rows = (math.prod(shape[1:axis]), 1, math.prod(shape[axis:]))
        x = call.emit(keras.layers.Reshape, x, suffix=f"_rows_{axis}", target_shape=rows)
        x = call.emit(
            keras.layers.UpSampling2D,
            x,
            suffix=f"_repeat_{axis}",
            size=(1, counts[axis]),
            interpolation="nearest",
        )
        shape[axis] *= counts[axis]
    return x if x is call.x else call.emit(keras.layers.Reshape, x, target_shape=tuple(shape[1:]))


@lowers(keras.layers.ZeroPadding1D, keras.layers.Cropping1D)
def _border_1d(call: Call) -> Any:
    layer = call.operation
    x = to_channels_last(call, call.x) if channels_first(call) else call.x
    if x.shape[-1] is None:
        return None
    x = insert_height(call, x)
    if isinstance(layer, keras.layers.ZeroPadding1D):
        x = call.emit(keras.layers.ZeroPadding2D, x, padding=((0, 0), tuple(layer.padding)))
    else:
        x = call.emit(keras.layers.Cropping2D, x, cropping=((0, 0), tuple(layer.cropping)))
    x = remove_height(call, x)
    return to_channels_first(call, x) if channels_first(call) else x


@lowers(keras.layers.ZeroPadding2D)
def _zero_padding(call: Call) -> Any:
    x = to_channels_last(call, call.x) if channels_first(call) else call.x
    x = call.emit(keras.layers.ZeroPadding2D, x, padding=call.operation.padding)
    return to_channels_first(call, x) if channels_first(call) else x


@lowers(keras.layers.Cropping2D)
def _cropping(call: Call) -> Any:
    x = to_channels_last(call, call.x) if channels_first(call) else call.x
    x = call.emit(keras.layers.Cropping2D, x, cropping=call.operation.cropping)
    return to_channels_first(call, x) if channels_first(call) else x


@lowers(numpy_operations.Pad)
def _pad(call: Call) -> Any:
    """Padding with zeros of the middle axes of a rank 3 or 4 tensor."""
    x, rank = call.x, len(call.x.shape)
    value = call.arguments().get("constant_values")
    widths = [tuple(int(n) for n in pair) for pair in call.operation.pad_width]
    widths = [pair * 2 if len(pair) == 1 else pair for pair in widths]
    if len(widths) == 1:
        widths = widths * rank
    zeros = call.operation.mode == "constant" and (value is None or value == 0)
    if not (zeros and call.is_float) or rank not in (3, 4) or widths[0] != (0, 0):
        return None
    if widths[-1] == (0, 0):
        if rank == 4:
            return call.emit(keras.layers.ZeroPadding2D, x, padding=(widths[1], widths[2]))
        x = call.emit(
            keras.layers.ZeroPadding2D, insert_height(call, x), padding=((0, 0), widths[1])
        )
        return remove_height(call, x)
    if rank == 4 and widths[1] == (0, 0):
        x = to_channels_last(call, x)
        x = call.emit(keras.layers.ZeroPadding2D, x, padding=(widths[2], widths[3]))
        return to_channels_first(call, x)
    return None


@lowers(numpy_operations.Split)
def _split(call: Call) -> Any:
    """One slice for each part."""
    rank = len(call.x.shape)
    axis = call.operation.axis % rank
    if axis == 0 or call.x.shape[axis] is None:
        return None
    results, start = [], 0
    for i, output in enumerate(call.outputs):
        stop = start + output.shape[axis]
        key = tuple(slice(start, stop) if a == axis else slice(None) for a in range(axis + 1))
        results.append(call.emit_operation(numpy_operations.GetItem, call.x, key, suffix=f"_{i}"))
        start = stop
    return results
