"""Building blocks: element-wise operators and reductions on tensors of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.emit.common import (
    NO_ACTIVATION,
    axes_constant,
    broadcast_shape,
    reduced_shape,
)
from keras_octet.tflite.graph import Graph

COMPARISONS = frozenset({"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"})
_BINARY_OPTIONS: dict[str, Any] = {
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
    "DIV": schema.DivOptionsT,
}
_OTHER_OPTIONS: dict[str, Any] = {
    "MAXIMUM": schema.MaximumMinimumOptionsT,
    "MINIMUM": schema.MaximumMinimumOptionsT,
    "POW": schema.PowOptionsT,
    "SQUARED_DIFFERENCE": schema.SquaredDifferenceOptionsT,
    "EXP": schema.ExpOptionsT,
    "NEG": schema.NegOptionsT,
    "ABS": schema.AbsOptionsT,
    "SQUARE": schema.SquareOptionsT,
    "COS": schema.CosOptionsT,
    "SIGN": schema.SignOptionsT,
    "FLOOR_DIV": schema.FloorDivOptionsT,
    "FLOOR_MOD": schema.FloorModOptionsT,
    "LOG_SOFTMAX": schema.LogSoftmaxOptionsT,
    "LOGICAL_AND": schema.LogicalAndOptionsT,
    "LOGICAL_OR": schema.LogicalOrOptionsT,
    "LOGICAL_NOT": schema.LogicalNotOptionsT,
    "EQUAL": schema.EqualOptionsT,
    "NOT_EQUAL": schema.NotEqualOptionsT,
    "LESS": schema.LessOptionsT,
    "LESS_EQUAL": schema.LessEqualOptionsT,
    "GREATER": schema.GreaterOptionsT,
    "GREATER_EQUAL": schema.GreaterEqualOptionsT,
}


def options_of(code: str, activation: int = NO_ACTIVATION) -> Any:
    """The options object of an element-wise operator, None when it has none."""
    if code in ("ADD", "SUB"):
        # The 16-bit power-of-two form is never meant here, though the schema defaults to it.
        return _BINARY_OPTIONS[code](fusedActivationFunction=activation, potScaleInt16=False)
    if code in _BINARY_OPTIONS:
        return _BINARY_OPTIONS[code](fusedActivationFunction=activation)
    return _OTHER_OPTIONS[code]() if code in _OTHER_OPTIONS else None


def unary(graph: Graph, code: str, source: int, output: int | None = None) -> int:
    """`code(source)`, the shape of `source`."""
    return graph.then(code, [source], options_of(code), output=output)


def binary(
    graph: Graph,
    code: str,
    first: int | float,
    second: int | float,
    output: int | None = None,
    activation: int = NO_ACTIVATION,
) -> int:
    """`code(first, second)` with broadcasting.

    An operand is the index of a tensor (int), or a Python float that becomes a float32 constant.
    """
    operands = [
        graph.constant(x, name="value") if isinstance(x, float) else x for x in (first, second)
    ]
    shape = broadcast_shape(graph.shape(operands[0]), graph.shape(operands[1]))
    dtype = "bool" if code in COMPARISONS else None
    return graph.then(
        code, operands, options_of(code, activation), shape=shape, dtype=dtype, output=output
    )


def reduce(
    graph: Graph,
    code: str,
    source: int,
    axes: Sequence[int],
    keepdims: bool,
    output: int | None = None,
) -> int:
    """MEAN, SUM, REDUCE_MAX, REDUCE_MIN or REDUCE_PROD of `source` over non-negative `axes`."""
    return graph.then(
        code,
        [source, axes_constant(graph, axes)],
        schema.ReducerOptionsT(keepDims=keepdims),
        shape=reduced_shape(graph.shape(source), axes, keepdims),
        output=output,
    )


def transpose(
    graph: Graph, source: int, permutation: Sequence[int], output: int | None = None
) -> int:
    """TRANSPOSE; nothing when the permutation is the identity and no output is asked for."""
    if output is None and list(permutation) == list(range(len(permutation))):
        return source
    shape = graph.shape(source)
    return graph.then(
        "TRANSPOSE",
        [source, graph.constant(np.array(permutation, np.int32), name="permutation")],
        schema.TransposeOptionsT(),
        shape=[shape[i] for i in permutation],
        output=output,
    )


def strided_slice(
    graph: Graph,
    source: int,
    output: int,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> None:
    """STRIDED_SLICE; bit `i` of a mask makes it ignore that bound of axis `i`, or drop the axis."""
    named = {"begin": begin, "end": end, "strides": strides}
    constants = [
        graph.constant(np.array(values, np.int32), name=name) for name, values in named.items()
    ]
    options = schema.StridedSliceOptionsT(
        beginMask=begin_mask,
        endMask=end_mask,
        ellipsisMask=ellipsis_mask,
        newAxisMask=new_axis_mask,
        shrinkAxisMask=shrink_axis_mask,
    )
    graph.operator("STRIDED_SLICE", [source, *constants], [output], options)


def slice_tensor(graph: Graph, source: int, begin: Sequence[int], output: int) -> None:
    """The part of `source` from `begin`, as long as `output`; an unknown size runs to the end.

    A STRIDED_SLICE with masks, because XNNPACK does not take a SLICE of unknown size.
    """
    sizes = graph.shape(output)
    end = [0 if size is None else first + size for first, size in zip(begin, sizes, strict=True)]
    whole = sum(
        1 << axis
        for axis, (first, size) in enumerate(zip(begin, sizes, strict=True))
        if first == 0 and size == graph.shape(source)[axis]
    )
    to_end = sum(1 << axis for axis, size in enumerate(sizes) if size is None)
    strided_slice(
        graph,
        source,
        output,
        begin,
        end,
        [1] * len(begin),
        begin_mask=whole,
        end_mask=whole | to_end,
    )


def cut(graph: Graph, source: int, axis: int, start: int, stop: int) -> int:
    """`source` from `start` to `stop` along `axis`."""
    shape = list(graph.shape(source))
    shape[axis] = stop - start
    part = graph.temporary(shape, like=source, name="part")
    slice_tensor(graph, source, [start if i == axis else 0 for i in range(len(shape))], part)
    return part


def matmul(
    graph: Graph,
    first: int,
    second: int,
    shape: Sequence[int | None],
    output: int | None = None,
    *,
    transpose_first: bool = False,
    transpose_second: bool = False,
) -> int:
    """BATCH_MATMUL `(..., m, k) x (..., k, n)`, each operand transposed or not."""
    options = schema.BatchMatMulOptionsT(
        adjX=transpose_first, adjY=transpose_second, asymmetricQuantizeInputs=False
    )
    return graph.then("BATCH_MATMUL", [first, second], options, shape=shape, output=output)


def cast(graph: Graph, source: int, dtype: str, output: int | None = None) -> int:
    """CAST to `dtype`; nothing when `source` has it and no output is asked for."""
    if output is None and graph.dtype(source) == dtype:
        return source
    # In and out types of the options are redundant: runtimes read those of the tensors.
    return graph.then("CAST", [source], dtype=dtype, output=output)
