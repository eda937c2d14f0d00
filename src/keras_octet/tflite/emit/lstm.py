"""UNIDIRECTIONAL_SEQUENCE_LSTM, whose states are variable tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.layers import HybridLSTM, QuantizedLSTM
from keras_octet.layers.operators import FusedLSTM
from keras_octet.tflite.emit.codes import LSTM_INPUTS
from keras_octet.tflite.emit.common import EmitFunction
from keras_octet.tflite.graph import NO_TENSOR, Graph, Quantization, to_numpy

ACTIVATIONS: dict[str | None, int] = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "hard_tanh": schema.ActivationFunctionType.RELU_N1_TO_1,
    "tanh": schema.ActivationFunctionType.TANH,
}
# What the kernel reads the parameters of, where gates are normalized, and of the hidden values.
_INTERMEDIATES = ("input", "forget", "cell", "output", "hidden")


def emit_lstm(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """The operator of a fused LSTM layer."""
    options = schema.UnidirectionalSequenceLSTMOptionsT(
        fusedActivationFunction=ACTIVATIONS[layer.activation],
        cellClip=layer.cell_clip,
        projClip=layer.proj_clip,
        timeMajor=layer.time_major,
        asymmetricQuantizeInputs=getattr(layer, "asymmetric_inputs", False),
    )
    operands = [inputs[0], *(_operand(layer, graph, name) for name in LSTM_INPUTS[1:])]
    intermediates = _intermediates(layer, graph)
    graph.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [output], options, intermediates=intermediates
    )


def _operand(layer: Any, graph: Graph, name: str) -> int:
    """A weight, a state, or no tensor."""
    if name in ("output_state", "cell_state"):
        position = ("output_state", "cell_state").index(name)
        parameters = getattr(layer, "state_qparams", (None, None))[position]
        return graph.state(layer.states[position], Quantization.of(parameters))
    if name not in layer.parts:
        return NO_TENSOR
    scale = getattr(layer, "scales", {}).get(name)
    quantization = None
    if scale is not None:
        quantization = Quantization.symmetric(np.array([scale], np.float32), 0)
    return graph.constant(to_numpy(layer.parts[name]), name=name, quantization=quantization)


def _intermediates(layer: Any, graph: Graph) -> list[int]:
    """Tensors of no elements that say how values inside the operator are quantized."""
    if not isinstance(layer, QuantizedLSTM):
        return []
    parameters = [*(layer.gate_qparams or [None] * 4), layer.hidden_qparams]
    return [
        graph.tensor(
            f"{layer.name}/{name}",
            (0,),
            qparams.dtype if qparams is not None else "float32",
            Quantization.of(qparams),
        )
        for name, qparams in zip(_INTERMEDIATES, parameters, strict=True)
    ]


LSTM_LAYERS: dict[type, EmitFunction] = {
    FusedLSTM: emit_lstm,
    HybridLSTM: emit_lstm,
    QuantizedLSTM: emit_lstm,
}
