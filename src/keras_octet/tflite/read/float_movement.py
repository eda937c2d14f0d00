"""Operators that move the values of float, integer and bool tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.capture.canonical import make_layer
from keras_octet.capture.keras_private import core_operations, numpy_operations
from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.read import dynamic
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.float_common import activation_layer, fused_activation, positive_axis
from keras_octet.tflite.read.shapes import Unknown, as_ints, has_unknown, part_sizes, slice_key


def read_reshape(call: ReadCall) -> Any:
    """RESHAPE: a Reshape layer if the batch stays what it is."""
    source = call.tensor(0)
    if call.optional(1) is not None:
        target = list(call.constant(1).reshape(-1))
    else:
        target = list(call.options.newShape)
    if keeps_batch(source.shape, target):
        sizes = as_ints(np.array(target[1:], object))
        return make_layer(keras.layers.Reshape, call.name, target_shape=sizes)(source)
    sizes = as_ints(np.array(target, object))
    if sizes.count(-1) > 1:
        raise ModelFileError(
            f"RESHAPE {call.name!r} has more than one size that is known only when the model runs. "
            "Convert the model with a fixed input shape."
        )
    return call.apply(numpy_operations.Reshape, source, newshape=sizes)


def keeps_batch(shape: Sequence[int | None], target: Sequence[Any]) -> bool:
    """Whether a reshape to `target` only rearranges the values of each sample."""
    if len(shape) == 0 or len(target) < 2:
        return False
    first, rest = target[0], target[1:]
    same = first.is_batch if isinstance(first, Unknown) else first == shape[0]
    open_sizes = [size for size in rest if isinstance(size, Unknown) or size == -1]
    known = math.prod(int(size) for size in rest if not isinstance(size, Unknown) and size != -1)
    if None in shape[1:]:
        return same and len(open_sizes) == 1
    total = math.prod(size for size in shape[1:] if size is not None)
    if open_sizes:
        return same and len(open_sizes) == 1 and known > 0 and total % known == 0
    # A first size of -1 is then the batch, whatever it is called.
    return known == total and (same or int(first) == -1)


def read_expand_dims(call: ReadCall) -> Any:
    """EXPAND_DIMS."""
    source = call.tensor(0)
    axis = positive_axis(as_ints(call.constant(1))[0], len(source.shape) + 1, call)
    return call.apply(numpy_operations.ExpandDims, source, axis=axis)


def read_squeeze(call: ReadCall) -> Any:
    """SQUEEZE of the given axes, or of all that have size 1."""
    source = call.tensor(0)
    given = call.operator.options and call.options.squeezeDims
    rank = len(source.shape)
    if given is None or not len(given):
        axes = [axis for axis, size in enumerate(source.shape) if size == 1]
    else:
        axes = [positive_axis(axis, rank, call) for axis in as_ints(given)]
    return call.apply(numpy_operations.Squeeze, source, axis=tuple(axes))


def read_transpose(call: ReadCall) -> Any:
    """TRANSPOSE: a Permute layer if the batch stays first."""
    source, axes = call.tensor(0), as_ints(call.constant(1))
    axes = [positive_axis(axis, len(source.shape), call) for axis in axes]
    if len(axes) > 1 and axes[0] == 0:
        return make_layer(keras.layers.Permute, call.name, dims=axes[1:])(source)
    return call.apply(numpy_operations.Transpose, source, axes=tuple(axes))


def read_concatenation(call: ReadCall) -> Any:
    """CONCATENATION."""
    tensors = [call.tensor(i) for i in range(len(call.inputs))]
    axis = positive_axis(call.options.axis, len(tensors[0].shape), call)
    activation = fused_activation(call)
    name = call.unique(f"{call.name}_linear") if activation else call.name
    joins_batch = axis == 0 or len({x.shape[0] for x in tensors}) > 1
    if joins_batch or len(tensors) == 1:
        result = numpy_operations.Concatenate(axis=axis, name=name)(tensors)
    else:
        result = make_layer(keras.layers.Concatenate, name, axis=axis)(tensors)
    return activation_layer(activation, call.name)(result) if activation else result


def read_pack(call: ReadCall) -> Any:
    """PACK: tensors side by side along a new axis."""
    tensors = [call.tensor(i) for i in range(len(call.inputs))]
    axis = positive_axis(call.options.axis, len(tensors[0].shape) + 1, call)
    return call.apply(numpy_operations.Stack, tensors, axis=axis)


def read_unpack(call: ReadCall) -> Any:
    """UNPACK: one output for each index of an axis."""
    source = call.tensor(0)
    axis = positive_axis(call.options.axis, len(source.shape), call)
    size, count = source.shape[axis], len(call.outputs)
    if call.options.num != count or size not in (None, count):
        raise ModelFileError(
            f"UNPACK {call.name!r} takes {call.options.num} of {size} indices of axis {axis}, and "
            f"has {count} outputs."
        )
    return call.apply(core_operations.Unstack, source, num=count, axis=axis)


def read_split(call: ReadCall) -> Any:
    """SPLIT (axis first), SPLIT_V (sizes given, of which one may be -1)."""
    source = call.tensor(1 if call.code == "SPLIT" else 0)
    axis = as_ints(call.constant(0 if call.code == "SPLIT" else 2))[0]
    axis = positive_axis(axis, len(source.shape), call)
    total, count = source.shape[axis], len(call.outputs)
    sizes = [-1] * count if call.code == "SPLIT" else as_ints(call.constant(1))
    if total is None or len(sizes) != count:
        raise ModelFileError(
            f"{call.code} {call.name!r} splits {total} values into {len(sizes)} parts for {count} "
            "outputs."
        )
    sizes = [total // count] * count if call.code == "SPLIT" else sizes
    sizes = part_sizes(total, sizes, f"{call.code} {call.name!r}")
    return operators.Split(sizes=sizes, axis=axis, name=call.name)(source)


def read_slice(call: ReadCall) -> Any:
    """SLICE: from `begin`, `size` values; -1 or an unknown size runs to the end."""
    if dynamic.begins_anywhere(call):
        return dynamic.read_slice(call)
    bounds = zip(as_ints(call.constant(1)), as_ints(call.constant(2)), strict=True)
    key = tuple(
        slice(begin or None, None if size == -1 else begin + size) for begin, size in bounds
    )
    return call.apply(numpy_operations.GetItem, call.tensor(0), key)


def read_strided_slice(call: ReadCall) -> Any:
    """STRIDED_SLICE; axes that it takes backwards are reversed first."""
    if dynamic.begins_anywhere(call):
        return dynamic.read_strided_slice(call)
    source = call.tensor(0)
    begin, end, strides = (call.constant(i).reshape(-1) for i in (1, 2, 3))
    if has_unknown(begin) or 0 in strides:
        raise ModelFileError(
            f"STRIDED_SLICE {call.name!r} has begin {begin.tolist()}, strides {strides.tolist()}."
        )
    # An end at a size that is known only when the model runs is the end of the axis.
    ends = [2**31 - 1 if isinstance(value, Unknown) else int(value) for value in end]
    key = slice_key(call.options, as_ints(begin), ends, as_ints(strides))
    source, key = _forwards(call, source, key)
    return call.apply(numpy_operations.GetItem, source, tuple(map(_plain, key)))


def _plain(item: Any) -> Any:
    """A slice without bounds and strides that say nothing."""
    if not isinstance(item, slice):
        return item
    stop = None if item.stop is not None and item.stop >= 2**31 - 1 else item.stop
    return slice(item.start, stop, None if item.step == 1 else item.step)


def _forwards(call: ReadCall, source: Any, key: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The same slice of a tensor whose axes with negative strides are flipped."""
    flipped, changed = [], list(key)
    for position, item in enumerate(key):
        if not isinstance(item, slice) or item.step is None or item.step > 0:
            continue
        axis = _axis_of(key, position, len(source.shape))
        size = source.shape[axis]
        if size is None and (item.start, item.stop) != (None, None):
            raise ModelFileError(
                f"STRIDED_SLICE {call.name!r} goes backwards along an axis of unknown size."
            )
        start, stop, step = (0, -1, item.step) if size is None else item.indices(size)
        changed[position] = (
            slice(None, None, -step)
            if size is None
            else slice(size - 1 - start, size - 1 - stop, -step)
        )
        flipped.append(axis)
    if not flipped:
        return source, key
    name = call.unique(f"{call.name}_reversed")
    return numpy_operations.Flip(axis=tuple(flipped), name=name)(source), tuple(changed)


def _axis_of(key: tuple[Any, ...], position: int, rank: int) -> int:
    """The axis of the tensor that an entry of a key is about."""
    before = [item for item in key[:position] if item is not None]
    if Ellipsis not in before:
        return len(before)
    return rank - len([item for item in key[position:] if item is not None])


def read_pad(call: ReadCall) -> Any:
    """PAD with zeros: a ZeroPadding layer for the axes between batch and channels."""
    source, widths = call.tensor(0), _widths(call)
    rank = len(source.shape)
    layers = {
        3: keras.layers.ZeroPadding1D,
        4: keras.layers.ZeroPadding2D,
        5: keras.layers.ZeroPadding3D,
    }
    if rank in layers and call.kind == "float" and widths[0] == widths[-1] == (0, 0):
        padding = widths[1] if rank == 3 else widths[1:-1]
        return make_layer(layers[rank], call.name, padding=padding)(source)
    return call.apply(numpy_operations.Pad, source, pad_width=widths, mode="constant")


def _widths(call: ReadCall) -> tuple[tuple[int, int], ...]:
    given = call.constant(1)
    if given.shape != (len(call.tensor(0).shape), 2) or has_unknown(given) or given.min() < 0:
        raise ModelFileError(f"{call.code} {call.name!r} has paddings {given.tolist()}.")
    return tuple((int(before), int(after)) for before, after in given)


def read_pad_v2(call: ReadCall) -> Any:
    """PADV2 with a constant value."""
    value = call.constant(2).reshape(-1)[0].item()
    operation = numpy_operations.Pad(_widths(call), mode="constant", name=call.name)
    return operation(call.tensor(0), constant_values=value)


def read_mirror_pad(call: ReadCall) -> Any:
    """MIRROR_PAD, mode 0 without and 1 with the border itself."""
    mode = call.options.mode
    if mode not in (0, 1):
        raise ModelFileError(f"MIRROR_PAD {call.name!r} has mode {mode}; expected 0 or 1.")
    layer = operators.MirrorPad(
        paddings=_widths(call), mode="symmetric" if mode else "reflect", name=call.name
    )
    return layer(call.tensor(0))


def read_tile(call: ReadCall) -> Any:
    """TILE by constant numbers."""
    repeats = call.constant(1)
    if has_unknown(repeats):
        raise ModelFileError(
            f"TILE {call.name!r} repeats a number of times that is known only when the model runs."
        )
    return call.apply(numpy_operations.Tile, call.tensor(0), repeats=tuple(as_ints(repeats)))


def read_reverse(call: ReadCall) -> Any:
    """REVERSE_V2."""
    axes = tuple(as_ints(call.constant(1)))
    return call.apply(numpy_operations.Flip, call.tensor(0), axis=axes)


def read_broadcast_to(call: ReadCall) -> Any:
    """BROADCAST_TO a shape in which one size may be known only when the model runs."""
    shape = list(call.constant(1).reshape(-1))
    if not any(isinstance(size, Unknown) for size in shape):
        sizes = tuple(as_ints(np.array(shape)))
        return call.apply(numpy_operations.BroadcastTo, call.tensor(0), shape=sizes)
    reference, settings = _unknown_shape(call, shape)
    return operators.BroadcastTo(**settings)([reference, call.tensor(0)])


def read_fill(call: ReadCall) -> Any:
    """FILL of a shape in which one size is known only when the model runs."""
    reference, settings = _unknown_shape(call, list(call.constant(0).reshape(-1)))
    value = call.constant(1).reshape(-1)[0].item()
    return operators.Fill(value=value, output_type=call.outputs[0].dtype, **settings)(reference)


def _unknown_shape(call: ReadCall, shape: list[Any]) -> tuple[Any, dict[str, Any]]:
    """The tensor that has the unknown size, and the settings that say where."""
    unknown = [size for size in shape if isinstance(size, Unknown)]
    sources = {(id(size.tensor), size.axis) for size in unknown}
    if len(sources) != 1 or unknown[0].tensor is None:
        raise ModelFileError(
            f"{call.code} {call.name!r} has a shape that is computed when the model runs. Convert "
            "the model with a fixed input shape."
        )
    sizes = [None if isinstance(size, Unknown) else int(size) for size in shape]
    settings = {"shape": sizes, "axis": unknown[0].axis, "name": call.name}
    return unknown[0].tensor, settings
