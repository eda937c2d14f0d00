"""What the rewrites share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.in_float import has_usual_scale
from keras_octet.qparams import QParams
from keras_octet.tflite.emit.arithmetic import binary
from keras_octet.tflite.graph import Graph, Operator, Tensor


def replace_operators(graph: Graph, replace: Callable[[Graph, Operator], bool]) -> None:
    """Let `replace` add others for each operator in turn, in place; False: the operator stays."""
    operators, graph.operators = graph.operators, []
    for operator in operators:
        if not replace(graph, operator):
            graph.operators.append(operator)


def usual_qparams(graph: Graph, *indices: int) -> list[QParams] | None:
    """Those of int8 tensors; None if one is not int8, or its scale is extreme or one a channel."""
    found = []
    for index in indices:
        tensor = graph.tensors[graph.resolve(index)]
        quantization = tensor.quantization
        if tensor.dtype != "int8" or quantization is None or quantization.scale.size != 1:
            return None
        scale, zero_point = quantization.scale.item(), quantization.zero_point.item()
        found.append(QParams(scale=scale, zero_point=zero_point))
    return found if all(map(has_usual_scale, found)) else None


def have_same_qparams(graph: Graph, first: int, second: int) -> bool:
    """Whether the stored values of two tensors mean the same."""
    found = (graph.tensors[graph.resolve(index)].quantization for index in (first, second))
    keys = [quantization and quantization.key for quantization in found]
    return keys[0] == keys[1]


def to_float(graph: Graph, source: int) -> int:
    """The real values of an int8 tensor."""
    return graph.then("DEQUANTIZE", [source], schema.DequantizeOptionsT(), dtype="float32")


def quantize_affine(
    graph: Graph, value: int, factor: float | int, offset: float | int, output: int
) -> None:
    """`value * factor + offset` to int8; the two are numbers, or tensors with one a channel."""
    value = binary(graph, "ADD", binary(graph, "MUL", value, factor), offset)
    graph.operator("QUANTIZE", [value], [output], schema.QuantizeOptionsT())


def repeated(graph: Graph, model: Tensor, times: int, data: np.ndarray | None = None) -> int:
    """A constant like `model`, repeated along its last axis; only its scales if there is `data`."""
    assert model.data is not None
    quantization = model.quantization
    if quantization is not None and quantization.scale.size > 1:
        quantization = dataclasses.replace(
            quantization,
            scale=np.tile(quantization.scale, times),
            zero_point=np.tile(quantization.zero_point, times),
        )
    data = np.tile(model.data, times) if data is None else data
    return graph.constant(data, name=model.name, quantization=quantization)
