"""The fused LSTM with float states: what weights in float and in int8 have in common."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_octet.layers import eigen
from keras_octet.layers.base import register
from keras_octet.layers.lstm import PEEPHOLES, SequenceLSTM
from keras_octet.layers.recurrent import ACTIVATIONS, HybridRecurrent
from keras_octet.layers.rounding import quotient, rounded

# Added to the variance of a gate before it is normalized.
_EPSILON = 1e-8


class FloatSequenceLSTM(SequenceLSTM):
    """float32 states and gates; products of weights and values are what subclasses make of them."""

    def _input_terms(self, sequence: Any) -> Any:
        """The bias is added later if the gates are normalized."""
        sums = self._of_all_gates("kernel", sequence)
        return sums if self.layer_norm else sums + self.stacked("bias")

    def _of_all_gates(self, kind: str, values: Any) -> Any:
        parts = [self.multiply(f"{kind}_{gate}", values) for gate in self.gates]
        return ops.concatenate(parts, axis=-1)

    def _step(self, terms: Any, output: Any, cell: Any) -> tuple[Any, Any]:
        gates = self.split(terms + self._of_all_gates("recurrent", output))
        forget = self._activated("forget", gates, cell)
        entry = self._activated("input", gates, cell) if self.input_gate else 1.0 - forget
        update = self._activated("cell", gates, cell)
        cell = rounded(forget * cell) + rounded(update * entry)
        if self.cell_clip > 0:
            cell = ops.clip(cell, -self.cell_clip, self.cell_clip)
        hidden = rounded(self._activated("output", gates, cell) * self._activation(cell))
        if self.projection:
            hidden = self.multiply("projection", hidden)
            if self.projection_bias:
                hidden = hidden + ops.convert_to_tensor(self.parts["projection_bias"])
            if self.proj_clip > 0:
                hidden = ops.clip(hidden, -self.proj_clip, self.proj_clip)
        return hidden, cell

    def _activated(self, gate: str, gates: dict[str, Any], cell: Any) -> Any:
        value = gates[gate]
        if self.peephole and gate in PEEPHOLES:
            value = value + rounded(self._peephole(gate) * cell)
        if self.layer_norm:
            centred = value - ops.mean(value, axis=-1, keepdims=True)
            variance = ops.mean(centred * centred, axis=-1, keepdims=True)
            inverse = quotient(1.0, ops.sqrt(variance + _EPSILON))
            norm, bias = (
                ops.convert_to_tensor(self.parts[f"{x}_{gate}"]) for x in ("norm", "bias")
            )
            value = rounded(rounded(centred * inverse) * norm) + bias
        return self._activation(value) if gate == "cell" else eigen.sigmoid(value)

    def _peephole(self, gate: str) -> Any:
        return ops.convert_to_tensor(self.parts[f"peephole_{gate}"])

    def _activation(self, values: Any) -> Any:
        return ACTIVATIONS[self.activation](values)


@register
class HybridLSTM(FloatSequenceLSTM, HybridRecurrent):
    """LiteRT's fused LSTM on float32 with int8 weights. See `SequenceLSTM`, `HybridRecurrent`."""

    def _peephole(self, gate: str) -> Any:
        return self.dequantized(f"peephole_{gate}")
