"""Pooling and reductions over positions."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.emit.arithmetic import binary, cast, reduce, unary
from keras_octet.tflite.emit.common import (
    EmitFunction,
    argument,
    fused_activation,
    padding_of,
    pair,
    positive_axes,
    require_channels_last,
)
from keras_octet.tflite.graph import Graph


def emit_pooling_2d(code: str) -> EmitFunction:
    """The emit function of AVERAGE_POOL_2D or MAX_POOL_2D."""

    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        require_channels_last(layer)
        height, width = pair(layer.pool_size)
        stride_h, stride_w = pair(layer.strides or layer.pool_size)
        _pool(
            graph,
            code,
            inputs[0],
            output,
            (height, width),
            (stride_h, stride_w),
            padding_of(layer),
            fused_activation(layer),
        )

    return emit


def _pool(
    graph: Graph,
    code: str,
    source: int,
    output: int,
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: int,
    activation: int,
) -> None:
    graph.operator(
        code,
        [source],
        [output],
        schema.Pool2DOptionsT(
            padding=padding,
            strideH=strides[0],
            strideW=strides[1],
            filterHeight=size[0],
            filterWidth=size[1],
            fusedActivationFunction=activation,
        ),
    )


def emit_global_pooling(code: str) -> EmitFunction:
    """The emit function of a global pooling layer: a reduction over all but batch and channels."""

    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        require_channels_last(layer)
        axes = range(1, graph.rank(inputs[0]) - 1)
        reduce(graph, code, inputs[0], list(axes), bool(layer.keepdims), output)

    return emit


def emit_global_average_pooling_1d(
    layer: Any, graph: Graph, inputs: list[int], output: int
) -> None:
    """MEAN over time; with a mask, the sum of the kept steps divided by their number."""
    require_channels_last(layer)
    keepdims = bool(layer.keepdims)
    if len(inputs) == 1:
        reduce(graph, "MEAN", inputs[0], [1], keepdims, output)
        return
    kept = graph.reshape(cast(graph, inputs[1], "float32"), (*graph.shape(inputs[1]), 1))
    total = reduce(graph, "SUM", binary(graph, "MUL", inputs[0], kept), [1], keepdims)
    binary(graph, "DIV", total, reduce(graph, "SUM", kept, [1], keepdims), output)


def emit_reduction_operation(code: str) -> EmitFunction:
    """The emit function of a `keras.ops` reduction with `axis` and `keepdims`."""

    def emit(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
        source = cast(graph, inputs[0], graph.dtype(output))
        axes, keepdims = _reduction(graph, source)
        reduce(graph, code, source, axes, keepdims, output)

    return emit


def _reduction(graph: Graph, source: int) -> tuple[tuple[int, ...], bool]:
    axes = positive_axes(argument(graph, "axis"), graph.rank(source))
    return axes, bool(argument(graph, "keepdims", False))


def emit_variance(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """Mean of the squared distance from the mean."""
    _variance(graph, inputs[0], output)


def emit_standard_deviation(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """Square root of the variance."""
    spread = graph.temporary(graph.shape(output), like=output, name="variance")
    _variance(graph, inputs[0], spread)
    unary(graph, "SQRT", spread, output)


def _variance(graph: Graph, source: int, output: int) -> None:
    axes, keepdims = _reduction(graph, source)
    mean = reduce(graph, "MEAN", source, axes, True)
    squared = binary(graph, "SQUARED_DIFFERENCE", source, mean)
    reduce(graph, "MEAN", squared, axes, keepdims, output)
