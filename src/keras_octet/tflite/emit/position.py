"""Operations on positions: where the largest is, one-hot, running sums, scattering."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.arithmetic import cast
from keras_octet.tflite.emit.common import EmitFunction, argument
from keras_octet.tflite.graph import Graph

_EXTREMA = {"ARG_MAX": schema.ArgMaxOptionsT, "ARG_MIN": schema.ArgMinOptionsT}


def emit_arg_extremum(code: str) -> EmitFunction:
    """The emit function of ARG_MAX or ARG_MIN along one axis."""

    def emit(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
        axis = argument(graph, "axis")
        if axis is None or argument(graph, "keepdims", False):
            raise ExportError(
                f"has axis={axis!r}, keepdims={argument(graph, 'keepdims')!r}; expected one axis "
                "that is dropped."
            )
        arg_extremum(graph, code, inputs[0], axis, output)

    return emit


def arg_extremum(graph: Graph, code: str, source: int, axis: int, output: int) -> None:
    """ARG_MAX or ARG_MIN, in the dtype of `output`."""
    kind = getattr(schema.TensorType, graph.dtype(output).upper())
    constant = graph.constant(axis % graph.rank(source), name="axis")
    graph.operator(code, [source, constant], [output], _EXTREMA[code](outputType=kind))


def emit_top_k(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """TOPK_V2 along the last axis: values, then positions."""
    assert graph.call is not None
    k = graph.constant(int(operation.k), name="k")
    graph.operator("TOPK_V2", [inputs[0], k], graph.call.outputs, schema.TopKV2OptionsT())


def emit_one_hot(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """ONE_HOT of 1 and 0 in the dtype of the output."""
    one_hot(graph, inputs[0], operation.num_classes, operation.axis, output)


def one_hot(
    graph: Graph,
    indices: int,
    depth: int,
    axis: int,
    output: int,
    on: float = 1,
    off: float = 0,
) -> None:
    """ONE_HOT: `on` at the index and `off` elsewhere, in the dtype of `output`."""
    last, dtype = graph.rank(output) - 1, graph.dtype(output)
    axis %= last + 1
    operands = [
        indices,
        graph.constant(int(depth), name="depth"),
        graph.constant(np.array(on, dtype), name="on"),
        graph.constant(np.array(off, dtype), name="off"),
    ]
    options = schema.OneHotOptionsT(axis=-1 if axis == last else axis)
    graph.operator("ONE_HOT", operands, [output], options)


def emit_cumsum(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CUMSUM along one axis."""
    axis = argument(graph, "axis")
    if axis is None:
        raise ExportError("sums a flattened tensor; expected an axis.")
    source = cast(graph, inputs[0], graph.dtype(output))
    constant = graph.constant(axis % graph.rank(source), name="axis")
    graph.operator("CUMSUM", [source, constant], [output], schema.CumsumOptionsT())


def emit_digitize(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """BUCKETIZE; the boundaries are an option of the operator."""
    boundaries = np.asarray(argument(graph, "bins"), np.float32)
    options = schema.BucketizeOptionsT(boundaries=boundaries)
    graph.operator("BUCKETIZE", [inputs[0]], [output], options)


def emit_scatter(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """SCATTER_ND: values that meet are added."""
    names = ("indices", "values")
    operands = [graph.operand(argument(graph, name)) for name in names]
    shape = graph.constant(np.array(operation.shape, np.int32), name="shape")
    graph.operator("SCATTER_ND", [*operands, shape], [output], schema.ScatterNdOptionsT())
