"""Between float and int8, between two int8 scales, and constants."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.graph import Graph, to_numpy


def emit_quantize(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """QUANTIZE: float32 to int8, and int8 to int8 of another scale."""
    graph.operator("QUANTIZE", inputs, [output], schema.QuantizeOptionsT())


def emit_dequantize(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """DEQUANTIZE: int8 to float32."""
    graph.operator("DEQUANTIZE", inputs, [output], schema.DequantizeOptionsT())


def emit_constant(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """No operator: the tensor of the layer holds its value."""
    graph.tensors[output].data = to_numpy(layer.value)
