"""The fused LSTM with float states: what weights in float and in int8 have in common."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_octet.layers import eigen
from keras_octet.layers.base import exact_matmul, register
from keras_octet.layers.dynamic import quantize_affine, quantize_symmetric
from keras_octet.layers.lstm import PEEPHOLES, QuantizedSequenceLSTM, SequenceLSTM
from keras_octet.layers.rounding import quotient, rounded

ROW = (-1,)
# The largest product of a weight and of a quantized value less its zero point.
_LARGEST = 128 * 255
# Added to the variance of a gate before it is normalized.
_EPSILON = 1e-8


class FloatSequenceLSTM(SequenceLSTM):
    """float32 states, `kernel x + bias` in whatever order the products are added up."""

    def _bias(self) -> Any:
        """Of all gates; with normalization it comes later."""
        return 0.0 if self.layer_norm else self.stacked("bias")

    def _multiply(self, name: str, values: Any, added: Any) -> Any:
        """`added + values weights^T`; `name` of a matrix, or of what every gate has one of."""
        weights = self.parts[name] if name in self.parts else self.stacked(name)
        return ops.matmul(values, ops.transpose(ops.convert_to_tensor(weights))) + added

    def _input_terms(self, sequence: Any) -> Any:
        return self._multiply("kernel", sequence, self._bias())

    def _step(self, terms: Any, output: Any, cell: Any) -> tuple[Any, Any]:
        gates = self.split(self._multiply("recurrent", output, terms))
        forget = self._activated("forget", gates, cell)
        entry = self._activated("input", gates, cell) if self.input_gate else 1.0 - forget
        update = self._activated("cell", gates, cell)
        cell = rounded(forget * cell) + rounded(update * entry)
        if self.cell_clip > 0:
            cell = ops.clip(cell, -self.cell_clip, self.cell_clip)
        hidden = rounded(self._activated("output", gates, cell) * self._activation(cell))
        if self.projection:
            bias = self.parts["projection_bias"] if self.projection_bias else 0.0
            hidden = self._multiply("projection", hidden, ops.convert_to_tensor(bias))
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
        return ACTIVATIONS[self.activation or ""](values)


ACTIVATIONS = {
    "relu": lambda x: ops.maximum(x, 0.0),
    "relu6": lambda x: ops.minimum(ops.maximum(x, 0.0), 6.0),
    "hard_tanh": lambda x: ops.minimum(ops.maximum(x, -1.0), 1.0),
    "tanh": eigen.tanh,
}


@register
class HybridLSTM(FloatSequenceLSTM, QuantizedSequenceLSTM):
    """LiteRT's fused LSTM on float32 with int8 weights. See `SequenceLSTM`.

    Each row of the input, of the output state and of what is projected is quantized to int8 before
    it is multiplied.

    Args:
        asymmetric_inputs: whether they have a zero point.
    """

    output_dtype = "float32"

    def __init__(self, *, asymmetric_inputs: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asymmetric_inputs = asymmetric_inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "asymmetric_inputs": self.asymmetric_inputs}

    def part_dtype(self, name: str) -> str:
        return "float32" if name.startswith(("bias", "norm", "projection_bias")) else "int8"

    def _multiply(self, name: str, values: Any, added: Any) -> Any:
        quantize = quantize_affine if self.asymmetric_inputs else quantize_symmetric
        quantized, scale = quantize(values, ROW)
        total = []
        for part in self._parts_of(name):
            weights = ops.transpose(ops.cast(self.parts[part], "float32"))
            sums = ops.cast(exact_matmul(quantized, weights, _LARGEST), "float32")
            total.append(rounded(sums * rounded(scale * self.scales[part])))
        return added + (total[0] if len(total) == 1 else ops.concatenate(total, axis=-1))

    def _parts_of(self, name: str) -> list[str]:
        return [name] if name in self.parts else [f"{name}_{gate}" for gate in self.gates]

    def _peephole(self, gate: str) -> Any:
        name = f"peephole_{gate}"
        return rounded(ops.cast(self.parts[name], "float32") * self.scales[name])
