"""Files of one fused LSTM with any of its options, which no converter writes all of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.qparams import QParams
from keras_octet.tflite.emit.codes import LSTM_INPUTS
from keras_octet.tflite.emit.stateful import ACTIVATIONS
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import NO_TENSOR, Graph, Quantization

GATES = ("input", "forget", "cell", "output")


@dataclass(frozen=True, kw_only=True)
class LSTM:
    """What a file holds; see `keras_octet.layers.lstm.SequenceLSTM`.

    Attributes:
        kind: `"float"`, `"hybrid"` or `"int8"`.
        gain: size of the weights.
    """

    kind: str = "float"
    batch: int = 2
    time: int = 4
    features: int = 5
    units: int = 6
    output_size: int = 0
    input_gate: bool = True
    peephole: bool = False
    layer_norm: bool = False
    projection: bool = False
    projection_bias: bool = False
    sequence: bool = True
    time_major: bool = False
    activation: str | None = "tanh"
    cell_clip: float = 0.0
    proj_clip: float = 0.0
    asymmetric: bool = False
    cell_exponent: int = -11
    gain: float = 0.5
    seed: int = 0


def lstm_file(lstm: LSTM) -> bytes:
    """The bytes of the file."""
    return _Writer(lstm).file()


def bidirectional_file(lstm: LSTM, *, merge: bool) -> bytes:
    """The bytes of a file of the operator for both directions, float or hybrid."""
    return _BidirectionalWriter(lstm).file(merge=merge)


def random_inputs(lstm: LSTM, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = _shape(lstm, lstm.features)
    if lstm.kind == "int8":
        return rng.integers(-128, 128, shape).astype(np.int8)
    return rng.uniform(-1.5, 1.5, shape).astype(np.float32)


def _shape(lstm: LSTM, size: int) -> tuple[int, ...]:
    if not lstm.sequence:
        return (lstm.batch, size)
    lead = (lstm.time, lstm.batch) if lstm.time_major else (lstm.batch, lstm.time)
    return (*lead, size)


class _Writer:
    """Draws the weights, and writes the file."""

    def __init__(self, lstm: LSTM) -> None:
        self._lstm = lstm
        self._graph = Graph()
        self._rng = np.random.default_rng(lstm.seed)
        self._output_size = lstm.output_size or lstm.units
        self._integer = lstm.kind == "int8"
        draw = self._rng.uniform
        self._input = self._activations(draw(0.005, 0.02))
        self._hidden = self._activations(draw(0.003, 0.008))
        self._state = self._activations(draw(0.003, 0.008)) if lstm.projection else self._hidden
        self._cell = QParams(scale=2.0**lstm.cell_exponent, zero_point=0, dtype="int16")
        self._gates = [QParams(scale=draw(1e-4, 1e-3), zero_point=0, dtype="int16") for _ in GATES]
        self._scales: dict[str, float] = {}

    def _activations(self, scale: float) -> QParams:
        zero_point = int(self._rng.integers(-60, 60))
        return QParams(scale=float(np.float32(scale)), zero_point=zero_point, dtype="int8")

    def file(self) -> bytes:
        lstm, graph = self._lstm, self._graph
        dtype = "int8" if self._integer else "float32"
        source = graph.tensor("x", _shape(lstm, lstm.features), dtype, self._known(self._input))
        output = graph.tensor("y", _shape(lstm, self._output_size), dtype, self._known(self._state))
        operands = [source, *(self._operand(name) for name in LSTM_INPUTS[1:])]
        common = {
            "fusedActivationFunction": ACTIVATIONS[lstm.activation],
            "cellClip": lstm.cell_clip,
            "projClip": lstm.proj_clip,
            "asymmetricQuantizeInputs": lstm.asymmetric,
        }
        code, options = "LSTM", schema.LSTMOptionsT(**common)
        if lstm.sequence:
            code = "UNIDIRECTIONAL_SEQUENCE_LSTM"
            options = schema.UnidirectionalSequenceLSTMOptionsT(timeMajor=lstm.time_major, **common)
        graph.operator(code, operands, [output], options, self._intermediates())
        return pack(graph, [source], [output], ["x"], ["y"], name="main")

    def _known(self, qparams: QParams) -> Quantization | None:
        return Quantization.of(qparams) if self._integer else None

    def _operand(self, name: str) -> int:
        if name in ("output_state", "cell_state"):
            return self._state_tensor(name)
        lstm, integer = self._lstm, self._integer
        kind, _, gate = name.partition("_")
        there = {
            "kernel": True,
            "recurrent": True,
            "bias": True,
            "peephole": lstm.peephole,
            "norm": lstm.layer_norm,
            "projection": lstm.projection,
        }[kind]
        if name == "projection_bias":
            there = lstm.projection_bias
        if not there or (gate == "input" and not lstm.input_gate):
            return NO_TENSOR
        shape: tuple[int, ...] = {
            "kernel": (lstm.units, lstm.features),
            "recurrent": (lstm.units, self._output_size),
            "projection": (self._output_size, lstm.units),
        }.get(name if name == "projection" else kind, (lstm.units,))
        if name == "projection_bias":
            shape = (self._output_size,)
        values = self._rng.normal(0, lstm.gain, shape)
        if "bias" in name:
            scale = self._bias_scale(name) if integer else None
            return self._constant(name, values, scale, np.int32)
        if kind == "norm":
            values = np.abs(values) + 0.5
            scale = float(np.float32(np.abs(values).max() / 32767)) if integer else None
            return self._constant(name, values, scale, np.int16)
        if lstm.kind == "float":
            return self._constant(name, values, None, np.int8)
        wide = integer and kind == "peephole"
        scale = float(np.float32(np.abs(values).max() / (32767 if wide else 127)))
        return self._constant(name, values, scale, np.int16 if wide else np.int8)

    def _bias_scale(self, name: str) -> float:
        if name == "projection_bias":
            return float(np.float32(self._scales["projection"] * self._hidden.scale))
        if self._lstm.layer_norm:
            return 1e-4
        return float(np.float32(self._scales[name.replace("bias", "kernel")] * self._input.scale))

    def _constant(self, name: str, values: np.ndarray, scale: float | None, dtype: Any) -> int:
        if scale is None:
            return self._graph.constant(values.astype(np.float32), name=name)
        self._scales[name] = scale
        limits = np.iinfo(dtype)
        integers = np.clip(np.rint(values / scale), -limits.max, limits.max).astype(dtype)
        quantization = Quantization.symmetric(np.array([scale], np.float32), 0)
        return self._graph.constant(integers, name=name, quantization=quantization)

    def _state_tensor(self, name: str) -> int:
        lstm = self._lstm
        size, qparams, dtype = self._output_size, self._state, "int8"
        if name == "cell_state":
            size, qparams, dtype = lstm.units, self._cell, "int16"
        index = self._graph.tensor(
            name,
            (lstm.batch, size),
            dtype if self._integer else "float32",
            self._known(qparams),
        )
        self._graph.tensors[index].is_variable = True
        return index

    def _intermediates(self) -> list[int]:
        if not self._integer:
            return []
        gates = self._gates if self._lstm.layer_norm else [None] * 4
        return [
            self._graph.tensor(
                f"intermediate_{i}",
                (0,),
                qparams.dtype if qparams else "float32",
                Quantization.of(qparams),
            )
            for i, qparams in enumerate([*gates, self._hidden])
        ]


class _BidirectionalWriter(_Writer):
    def file(self, *, merge: bool = False) -> bytes:
        lstm, graph, size = self._lstm, self._graph, self._output_size
        source = graph.tensor("x", _shape(lstm, lstm.features), "float32")
        sizes = [2 * size] if merge else [size, size]
        outputs = [graph.tensor("y", _shape(lstm, x), "float32") for x in sizes]
        weights = [self._operand(name) for _ in range(2) for name in LSTM_INPUTS[1:18]]
        states = [self._operand(name) for _ in range(2) for name in LSTM_INPUTS[18:20]]
        options = schema.BidirectionalSequenceLSTMOptionsT(
            fusedActivationFunction=ACTIVATIONS[lstm.activation],
            cellClip=lstm.cell_clip,
            projClip=lstm.proj_clip,
            timeMajor=lstm.time_major,
            mergeOutputs=merge,
            asymmetricQuantizeInputs=lstm.asymmetric,
        )
        operands = [source, *weights, *states, *[NO_TENSOR] * 9]
        graph.operator("BIDIRECTIONAL_SEQUENCE_LSTM", operands, outputs, options)
        names = [graph.tensors[i].name for i in outputs]
        return pack(graph, [source], outputs, ["x"], names, name="main")
