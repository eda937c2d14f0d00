"""The operators of the layers in `keras_octet.layers.rearrange`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.emit.arithmetic import strided_slice, transpose
from keras_octet.tflite.graph import Graph


def emit_transpose_layer(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """TRANSPOSE."""
    transpose(graph, inputs[0], layer.axes, output)


def emit_strided_slice(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """STRIDED_SLICE; an open end is written as the size of the axis, where that is known."""
    sizes = graph.shape(inputs[0])
    begin = [0 if value is None else value for value in layer.begin]
    end = [
        (size or 0) if value is None else value
        for value, size in zip(layer.end, sizes, strict=True)
    ]
    strided_slice(
        graph,
        inputs[0],
        output,
        begin,
        end,
        layer.strides,
        begin_mask=_mask(axis for axis, value in enumerate(layer.begin) if value is None),
        end_mask=_mask(axis for axis, value in enumerate(layer.end) if value is None),
        shrink_axis_mask=_mask(layer.shrink),
    )


def _mask(axes: Iterable[int]) -> int:
    """Bit `i` is set for each axis `i`."""
    return sum(1 << axis for axis in axes)


def emit_pad_layer(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """PAD with the zero point, PADV2 with another value."""
    paddings = graph.constant(np.array(layer.paddings, np.int32), name="paddings")
    quantization = graph.tensors[output].quantization
    if layer.value == (0 if quantization is None else quantization.zero_point[0]):
        graph.operator("PAD", [inputs[0], paddings], [output], schema.PadOptionsT())
        return
    value = np.array(layer.value, graph.dtype(inputs[0]))
    constant = graph.constant(value, name="value", quantization=quantization)
    graph.operator("PADV2", [inputs[0], paddings, constant], [output], schema.PadV2OptionsT())
