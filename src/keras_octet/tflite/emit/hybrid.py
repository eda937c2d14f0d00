"""Operators on float tensors with integer weights that no other layer has."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.graph import Graph, Quantization, to_numpy


def emit_matmul(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """BATCH_MATMUL with an int8 constant on the right."""
    kernel = to_numpy(layer.kernel)
    axis = kernel.ndim - 1
    if layer.transposed:
        kernel, axis = np.swapaxes(kernel, -1, -2), axis - 1
    quantization = Quantization.symmetric(to_numpy(layer.kernel_scale), axis)
    options = schema.BatchMatMulOptionsT(
        adjX=False, adjY=layer.transposed, asymmetricQuantizeInputs=layer.asymmetric_inputs
    )
    constant = graph.constant(kernel, name="kernel", quantization=quantization)
    graph.operator("BATCH_MATMUL", [inputs[0], constant], [output], options)


def emit_embedding(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """EMBEDDING_LOOKUP: ids `(n,)`, table `(rows, ...)`."""
    quantization = Quantization.symmetric(to_numpy(layer.table_scale), 0)
    table = graph.constant(
        to_numpy(layer.table), name="table", quantization=quantization, dtype=layer.table_dtype
    )
    graph.operator("EMBEDDING_LOOKUP", [inputs[0], table], [output])
