"""Recurrent operators with weights, whose states are variable tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.layers import (
    HybridLSTM,
    HybridRNN,
    HybridSVDF,
    QuantizedLSTM,
    QuantizedSVDF,
    operators,
)
from keras_octet.tflite.emit.codes import LSTM_INPUTS, RNN_INPUTS, SVDF_INPUTS
from keras_octet.tflite.emit.common import EmitFunction
from keras_octet.tflite.graph import NO_TENSOR, Graph, Quantization, to_numpy

ACTIVATIONS: dict[str | None, int] = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "hard_tanh": schema.ActivationFunctionType.RELU_N1_TO_1,
    "tanh": schema.ActivationFunctionType.TANH,
}
# What the LSTM kernel reads the parameters of: gates that are normalized, and hidden values.
_INTERMEDIATES = ("input", "forget", "cell", "output", "hidden")


def _emitter(
    names: Sequence[str], describe: Callable[[Any], tuple[str, dict[str, Any], Any]]
) -> EmitFunction:
    """The emit function of layers whose weights and states are called `names`.

    `describe(layer)` gives the operator, its options, and their class.
    """

    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        code, options, cls = describe(layer)
        operands = [inputs[0], *(_operand(layer, graph, name) for name in names[1:])]
        settings = cls(
            fusedActivationFunction=ACTIVATIONS[layer.activation],
            asymmetricQuantizeInputs=getattr(layer, "asymmetric_inputs", False),
            **options,
        )
        graph.operator(code, operands, [output], settings, _intermediates(layer, graph))

    return emit


def _operand(layer: Any, graph: Graph, name: str) -> int:
    """A weight, a state, or no tensor."""
    states = list(layer.state_shapes())
    if name in states:
        position = states.index(name)
        parameters = getattr(layer, "state_qparams", [None] * len(states))[position]
        return graph.state(layer.states[position], Quantization.of(parameters))
    if name not in layer.parts:
        return NO_TENSOR
    scale = layer.scales.get(name)
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


def _lstm(layer: Any) -> tuple[str, dict[str, Any], Any]:
    options = {"cellClip": layer.cell_clip, "projClip": layer.proj_clip}
    if not layer.sequence:
        return "LSTM", options, schema.LSTMOptionsT
    options["timeMajor"] = layer.time_major
    return "UNIDIRECTIONAL_SEQUENCE_LSTM", options, schema.UnidirectionalSequenceLSTMOptionsT


def _rnn(layer: Any) -> tuple[str, dict[str, Any], Any]:
    if not layer.sequence:
        return "RNN", {}, schema.RNNOptionsT
    options = {"timeMajor": layer.time_major}
    return "UNIDIRECTIONAL_SEQUENCE_RNN", options, schema.SequenceRNNOptionsT


def _svdf(layer: Any) -> tuple[str, dict[str, Any], Any]:
    return "SVDF", {"rank": layer.rank}, schema.SVDFOptionsT


STATEFUL_LAYERS: dict[type, EmitFunction] = {
    **dict.fromkeys((operators.FusedLSTM, HybridLSTM, QuantizedLSTM), _emitter(LSTM_INPUTS, _lstm)),
    **dict.fromkeys((operators.FusedRNN, HybridRNN), _emitter(RNN_INPUTS, _rnn)),
    **dict.fromkeys((operators.SVDF, HybridSVDF, QuantizedSVDF), _emitter(SVDF_INPUTS, _svdf)),
}
