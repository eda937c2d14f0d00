"""Between float and int8, and between two int8 scales."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.graph import Graph


def emit_quantize(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """QUANTIZE: float32 to int8, and int8 to int8 of another scale."""
    graph.operator("QUANTIZE", inputs, [output], schema.QuantizeOptionsT())


def emit_dequantize(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """DEQUANTIZE: int8 to float32."""
    graph.operator("DEQUANTIZE", inputs, [output], schema.DequantizeOptionsT())
