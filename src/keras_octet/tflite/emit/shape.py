"""Operations that move elements without changing them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.arithmetic import cast, slice_tensor, strided_slice, transpose
from keras_octet.tflite.emit.common import argument, pair, positive_axes, require_channels_last
from keras_octet.tflite.graph import Graph, to_numpy


def emit_reshape(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """RESHAPE to the output's shape: Reshape, Flatten, ExpandDims, Squeeze, Ravel."""
    graph.reshape(inputs[0], graph.shape(output), output=output)


def emit_permute(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """TRANSPOSE of all axes but the batch."""
    transpose(graph, inputs[0], [0, *layer.dims], output)


def emit_transpose(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.transpose`."""
    axes, rank = argument(graph, "axes"), graph.rank(inputs[0])
    order = range(rank)[::-1] if axes is None else [axis % rank for axis in axes]
    transpose(graph, inputs[0], list(order), output)


def emit_swapaxes(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.swapaxes`."""
    rank = graph.rank(inputs[0])
    first, second = (argument(graph, name) % rank for name in ("axis1", "axis2"))
    order = list(range(rank))
    order[first], order[second] = order[second], order[first]
    transpose(graph, inputs[0], order, output)


def emit_concatenate(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CONCATENATION of a layer or operation; quantized inputs share their parameters."""
    tensors = [cast(graph, index, graph.dtype(output)) for index in inputs]
    concatenate(graph, tensors, output, layer.axis)


def concatenate(graph: Graph, inputs: Sequence[int], output: int, axis: int) -> int:
    """CONCATENATION along `axis`."""
    options = schema.ConcatenationOptionsT(axis=axis % graph.rank(output))
    graph.operator("CONCATENATION", inputs, [output], options)
    return output


def emit_stack(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """PACK: tensors side by side along a new axis."""
    graph.operator(
        "PACK",
        inputs,
        [output],
        schema.PackOptionsT(valuesCount=len(inputs), axis=operation.axis % graph.rank(output)),
    )


def emit_split(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """One slice for each part, so that only the parts that are used cost anything."""
    assert graph.call is not None
    source, start = inputs[0], 0
    axis = int(operation.axis) % graph.rank(source)
    for part in graph.call.outputs:
        begin = [0] * graph.rank(source)
        begin[axis] = start
        slice_tensor(graph, source, begin, part)
        start += graph.static_shape(part, axis)[0]


def emit_unstack(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """UNPACK: one output for each index of an axis."""
    assert graph.call is not None
    graph.operator(
        "UNPACK",
        inputs,
        graph.call.outputs,
        schema.UnpackOptionsT(
            num=len(graph.call.outputs), axis=operation.axis % graph.rank(inputs[0])
        ),
    )


def emit_cropping_2d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """The inner part of an image."""
    require_channels_last(layer)
    (top, _), (left, _) = layer.cropping
    graph.static_shape(output)
    slice_tensor(graph, inputs[0], [0, top, left, 0], output)


def emit_zero_padding(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """PAD of every axis between batch and channels; an int8 one pads with the zero point."""
    require_channels_last(layer)
    padding = layer.padding
    if graph.rank(inputs[0]) == 3:
        padding = [pair(padding)]
    pad(graph, inputs[0], [(0, 0), *padding, (0, 0)], output)


def pad(graph: Graph, source: int, widths: Any, output: int) -> None:
    """PAD with zeros, `(before, after)` for each axis."""
    constant = graph.constant(np.array(widths, np.int32), name="paddings")
    graph.operator("PAD", [source, constant], [output], schema.PadOptionsT())


_MIRRORS = {"reflect": schema.MirrorPadMode.REFLECT, "symmetric": schema.MirrorPadMode.SYMMETRIC}


def mirror_pad(graph: Graph, source: int, widths: Any, mode: str, output: int) -> None:
    """MIRROR_PAD, `(before, after)` for each axis."""
    constant = graph.constant(np.array(widths, np.int32), name="paddings")
    options = schema.MirrorPadOptionsT(mode=_MIRRORS[mode])
    graph.operator("MIRROR_PAD", [source, constant], [output], options)


def emit_pad_operation(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.pad`, mode "constant", "reflect" or "symmetric"."""
    rank = graph.rank(inputs[0])
    widths = np.broadcast_to(np.array(operation.pad_width, np.int32), (rank, 2))
    value = argument(graph, "constant_values")
    if operation.mode in _MIRRORS:
        mirror_pad(graph, inputs[0], widths, operation.mode, output)
    elif operation.mode != "constant":
        raise ExportError(
            f"pads with mode {operation.mode!r}; expected 'constant', 'reflect' or 'symmetric'."
        )
    elif value is None or value == 0:
        pad(graph, inputs[0], widths, output)
    else:
        constants = [
            graph.constant(np.ascontiguousarray(widths), name="paddings"),
            graph.operand(value, like=inputs[0]),
        ]
        graph.operator("PADV2", [inputs[0], *constants], [output], schema.PadV2OptionsT())


# What XNNPACK slices, but only without a change of rank.
_DELEGATED = ("float32", "int8", "uint8")


def emit_get_item(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`x[key]` with ints, slices, `...` and None: a STRIDED_SLICE, then a RESHAPE for the axes
    that come or go; axes go with the slice where the delegate takes neither.
    """
    source = inputs[0]
    shape = graph.shape(source)
    begin, end, strides = [0] * len(shape), [0] * len(shape), [1] * len(shape)
    begin_mask = end_mask = shrink_axis_mask = 0
    shrinks = graph.dtype(source) not in _DELEGATED
    sizes: list[int | None] = []
    for axis, item in enumerate(_full_key(argument(graph, "key"), len(shape))):
        size = shape[axis]
        if not isinstance(item, slice):
            index = _as_int(item)
            # From -1 to the end: `slice(-1, 0)` would be empty.
            item = slice(index, None if index == -1 else index + 1)
            if shrinks:
                shrink_axis_mask |= 1 << axis
            else:
                sizes.append(1)
        else:
            sizes.append(None if size is None else len(range(size)[item]))
        strides[axis] = 1 if item.step is None else _as_int(item.step)
        # The runtime clamps bounds outside the axis just as Python does.
        if item.start is None:
            begin_mask |= 1 << axis
        else:
            begin[axis] = _as_int(item.start)
        if item.stop is None:
            end_mask |= 1 << axis
            end[axis] = size or 0
        else:
            end[axis] = _as_int(item.stop)
    reshaped = tuple(sizes) != graph.shape(output)
    target = graph.temporary(sizes, like=output, name="slice") if reshaped else output
    strided_slice(
        graph,
        source,
        target,
        begin,
        end,
        strides,
        begin_mask=begin_mask,
        end_mask=end_mask,
        shrink_axis_mask=shrink_axis_mask,
    )
    if reshaped:
        graph.reshape(target, graph.shape(output), output=output)


def _full_key(key: Any, rank: int) -> list[Any]:
    """One int or slice for each axis; None, which adds an axis, is left out."""
    items = list(key) if isinstance(key, (tuple, list)) else [key]
    consumed = sum(item is not None and item is not Ellipsis for item in items)
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    at = dots[0] if dots else len(items)
    items[at : at + 1] = [slice(None)] * (rank - consumed)
    return [item for item in items if item is not None]


def _as_int(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ExportError(
            f"is indexed with {value!r}; expected ints, slices, `...` and None."
        ) from None


def emit_slice(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.slice` with constant starts."""
    starts = [int(start) for start in argument(graph, "start_indices")]
    slice_tensor(graph, inputs[0], starts, output)


def emit_repeat_vector(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`(batch, features)` to `(batch, n, features)`."""
    batch, features = graph.shape(inputs[0])
    row = graph.reshape(inputs[0], (batch, 1, features))
    tile(graph, row, [1, layer.n, 1], output)


def tile(graph: Graph, source: int, repeats: list[int], output: int) -> None:
    """TILE, a number of repeats for each axis."""
    constant = graph.constant(np.array(repeats, np.int32), name="repeats")
    graph.operator("TILE", [source, constant], [output], schema.TileOptionsT())


def emit_tile(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.tile`, no more repeats than axes."""
    repeats = [int(count) for count in np.atleast_1d(argument(graph, "repeats"))]
    rank = graph.rank(inputs[0])
    if len(repeats) > rank:
        raise ExportError(f"tiles {rank} axes with {len(repeats)} repeats; expected as many.")
    tile(graph, inputs[0], [1] * (rank - len(repeats)) + repeats, output)


def emit_flip(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """REVERSE_V2."""
    axes = positive_axes(argument(graph, "axis"), graph.rank(inputs[0]))
    constant = graph.constant(np.array(axes, np.int32), name="axes")
    graph.operator("REVERSE_V2", [inputs[0], constant], [output], schema.ReverseV2OptionsT())


def emit_embedding(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """GATHER rows of the table; indices become int32."""
    if getattr(layer, "lora_enabled", False):
        raise ExportError("has LoRA enabled; merge the adapters into the embeddings first.")
    indices = inputs[0]
    if graph.dtype(indices) not in ("int32", "int64"):
        indices = cast(graph, indices, "int32")
    table = graph.constant(to_numpy(layer.embeddings), name="embeddings")
    graph.operator("GATHER", [table, indices], [output], schema.GatherOptionsT(axis=0))


def emit_take(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.take`; the table or the indices may be constants."""
    table, indices = graph.operand(argument(graph, "x")), graph.operand(argument(graph, "indices"))
    axis = argument(graph, "axis")
    if axis is None:
        raise ExportError("takes from a flattened tensor; expected an axis.")
    if graph.dtype(indices) not in ("int32", "int64"):
        indices = cast(graph, indices, "int32")
    options = schema.GatherOptionsT(axis=axis % graph.rank(table))
    graph.operator("GATHER", [table, indices], [output], options)


def emit_broadcast_to(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """BROADCAST_TO a constant shape."""
    sizes = shape_of(graph, inputs[0], graph.shape(output), 0)
    graph.operator("BROADCAST_TO", [inputs[0], sizes], [output], schema.BroadcastToOptionsT())


def shape_of(graph: Graph, reference: int, shape: Sequence[int | None], axis: int) -> int:
    """A shape as int32; None is the size of `axis` of `reference`, found when the model runs."""

    def ints(values: Any) -> int:
        return graph.constant(np.array(values, np.int32), name="size")

    if None not in shape:
        return ints(shape)
    rank = graph.rank(reference)
    options = schema.ShapeOptionsT(outType=schema.TensorType.INT32)
    whole = graph.then("SHAPE", [reference], options, shape=(rank,), dtype="int32")
    if tuple(shape) == tuple(graph.shape(reference)):
        return whole
    size = graph.temporary((), like=whole, name="size")
    strided_slice(graph, whole, size, [axis], [axis + 1], [1], shrink_axis_mask=1)
    parts = [size if x is None else ints(x) for x in shape]
    options = schema.PackOptionsT(valuesCount=len(parts), axis=0)
    return graph.then("PACK", parts, options, shape=(len(parts),))
