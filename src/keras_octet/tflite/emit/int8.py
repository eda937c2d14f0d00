"""Operators of int8 layers that have no float layer of the same meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.arithmetic import binary, matmul, reduce, strided_slice, unary
from keras_octet.tflite.emit.common import NO_ACTIVATION, EmitFunction, fused_activation
from keras_octet.tflite.graph import Graph

_FUNCTIONS = {
    "abs": "ABS",
    "exp": "EXP",
    "log": "LOG",
    "negative": "NEG",
    "rsqrt": "RSQRT",
    "sqrt": "SQRT",
}


_CLIPPED = {
    (0.0, None): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}


def emit_relu(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """RELU, RELU6, RELU_N1_TO_1 or RELU_0_TO_1."""
    bounds = layer.min_value, layer.max_value
    if bounds not in _CLIPPED:
        raise ExportError(f"clips to {bounds}; an int8 ReLU clips to one of {list(_CLIPPED)}.")
    unary(graph, _CLIPPED[bounds], inputs[0], output)


def emit_function(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """The operator of a function by name."""
    unary(graph, _FUNCTIONS[layer.function], inputs[0], output)


def emit_comparison(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """EQUAL, LESS and so on."""
    binary(graph, layer.comparison.upper(), inputs[0], inputs[1], output)


def emit_pair(code: str) -> EmitFunction:
    """The emit function of an operator of two tensors."""

    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        binary(graph, code, inputs[0], inputs[1], output, fused_activation(layer))

    return emit


def emit_matmul(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """BATCH_MATMUL."""
    matmul(
        graph,
        inputs[0],
        inputs[1],
        graph.shape(output),
        output,
        transpose_first=layer.transpose_first,
        transpose_second=layer.transpose_second,
    )


def emit_reduction(code: str) -> EmitFunction:
    """The emit function of a reduction over `layer.axis`."""

    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        reduce(graph, code, inputs[0], layer.axis, bool(layer.keepdims), output)

    return emit


def emit_softmax(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """SOFTMAX over the last axis."""
    graph.operator("SOFTMAX", inputs, [output], schema.SoftmaxOptionsT(beta=layer.beta))


def emit_log_softmax(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """LOG_SOFTMAX over the last axis."""
    unary(graph, "LOG_SOFTMAX", inputs[0], output)


def emit_l2_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """L2_NORMALIZATION over the last axis."""
    options = schema.L2NormOptionsT(fusedActivationFunction=NO_ACTIVATION)
    graph.operator("L2_NORMALIZATION", inputs, [output], options)


def emit_strided_slice(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """STRIDED_SLICE."""
    bounds = layer.begin, layer.end, layer.strides
    masks = {key: getattr(layer, key) for key in layer.mask_keys}
    strided_slice(graph, inputs[0], output, *bounds, **masks)


def emit_pad(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """PAD with the zero point, PADV2 with another value."""
    paddings = graph.constant(np.array(layer.paddings, np.int32), name="paddings")
    quantization = graph.tensors[output].quantization
    if layer.value == (0 if quantization is None else quantization.zero_point[0]):
        graph.operator("PAD", [inputs[0], paddings], [output], schema.PadOptionsT())
        return
    value = np.array(layer.value, graph.dtype(inputs[0]))
    constant = graph.constant(value, name="value", quantization=quantization)
    graph.operator("PADV2", [inputs[0], paddings, constant], [output], schema.PadV2OptionsT())
