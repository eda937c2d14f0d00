"""Taking a float ReLU into the operator before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.graph import NO_TENSOR, Graph

_ACTIVATIONS = {
    "RELU": schema.ActivationFunctionType.RELU,
    "RELU6": schema.ActivationFunctionType.RELU6,
    "RELU_N1_TO_1": schema.ActivationFunctionType.RELU_N1_TO_1,
}
_FUSING = frozenset(
    [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "TRANSPOSE_CONV",
        "FULLY_CONNECTED",
        "CONV_3D",
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
    ]
)


def fuse_activations(graph: Graph, outputs: Sequence[int]) -> None:
    """Replace `operator -> RELU` by an operator with a fused activation, in place.

    Only where the tensor between is float32, read once and not an output of the model. Integer
    operators are left alone: fusing would change where they round.
    """
    readers = Counter(graph.resolve(i) for i in outputs)
    readers.update(graph.resolve(i) for op in graph.operators for i in op.inputs)
    makers = {output: op for op in graph.operators for output in op.outputs}
    kept = []
    for operator in graph.operators:
        source = graph.resolve(operator.inputs[0]) if operator.code in _ACTIVATIONS else NO_TENSOR
        maker = makers.get(source)
        if (
            maker is not None
            and maker.code in _FUSING
            and graph.dtype(source) == "float32"
            and readers[source] == 1
            and maker.options.fusedActivationFunction == schema.ActivationFunctionType.NONE
        ):
            maker.options.fusedActivationFunction = _ACTIVATIONS[operator.code]
            maker.outputs = list(operator.outputs)
            makers[operator.outputs[0]] = maker
        else:
            kept.append(operator)
    graph.operators = kept
