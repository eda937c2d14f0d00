"""The fused LSTM in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet import lstm_kernels
from keras_octet.gemmlowp import quantize_multiplier
from keras_octet.layers import fixed_point
from keras_octet.layers.base import register
from keras_octet.layers.lstm import GATES, PEEPHOLES, SequenceLSTM
from keras_octet.layers.recurrent import QuantizedRecurrent, integer_products
from keras_octet.lstm_kernels import (
    GATE_BITS,
    GATE_FRACTION_BITS,
    INT16_MAX,
    INT16_MIN,
    clipping_steps,
)
from keras_octet.qparams import QParams, as_qparams

F32 = np.float32
# Scale of a gate before its activation.
_GATE_SCALE = F32(2.0**-12)
_DIGIT = 15


@register
class QuantizedLSTM(SequenceLSTM, QuantizedRecurrent):
    """LiteRT's fused LSTM on int8: int8 weights, int16 cell state. See `SequenceLSTM`.

    The activation is tanh whatever `activation` says, which a file keeps.

    Args:
        state_qparams: of the output state, int8, and of the cell state, int16, whose scale is a
            power of two from 2**-15 to 2**-9.
        hidden_qparams: of what the projection multiplies; without one of the output.
        gate_qparams: of the gates before they are normalized, with `layer_norm`.
    """

    state_dtypes = ("int8", "int16")

    def __init__(
        self,
        *,
        state_qparams: Sequence[QParams | dict[str, Any]],
        hidden_qparams: QParams | dict[str, Any],
        gate_qparams: Sequence[QParams | dict[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.state_qparams = tuple(as_qparams(value) for value in state_qparams)
        self.hidden_qparams = as_qparams(hidden_qparams)
        self.gate_qparams = tuple(as_qparams(value) for value in gate_qparams)
        bits = lstm_kernels.cell_bits(self.state_qparams[1].scale)
        if bits is None or self.state_qparams[1].zero_point:
            raise ValueError(
                "The cell state must have zero point 0 and as scale a power of two from 2**-15 to "
                f"2**-9. Received: {self.state_qparams[1]}"
            )
        self._cell_bits = bits

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "state_qparams": [value.get_config() for value in self.state_qparams],
            "hidden_qparams": self.hidden_qparams.get_config(),
            "gate_qparams": [value.get_config() for value in self.gate_qparams],
        }

    def part_dtype(self, name: str) -> str:
        if "bias" in name:
            return "int32"
        return "int16" if name.startswith(("peephole", "norm")) else "int8"

    def initial_states(self) -> dict[str, int]:
        return {"output_state": int(self.state_qparams[0].zero_point)}

    # Fixed-point multipliers, from float32 scales as the kernel multiplies them

    def _multipliers(self, kind: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Of the sums of products of each gate."""
        pairs = [
            quantize_multiplier(
                float(F32(self.scales[f"{kind}_{gate}"]) * F32(scale) / self._gate_scale(gate))
            )
            for gate in self.gates
        ]
        repeated = np.repeat(np.array(pairs, np.int32), self.units, axis=0)
        return repeated[:, 0], repeated[:, 1]

    def _gate_scale(self, gate: str) -> np.float32:
        return F32(self.gate_qparams[GATES.index(gate)].scale) if self.layer_norm else _GATE_SCALE

    def _peephole_multiplier(self, gate: str) -> tuple[int, int]:
        scale = 2.0 ** (self._cell_bits - 15) * float(F32(self.scales[f"peephole_{gate}"]))
        return quantize_multiplier(float(F32(scale / float(self._gate_scale(gate)))))

    def _hidden_multiplier(self) -> tuple[int, int]:
        return quantize_multiplier(
            float(F32(2.0**-15 / float(F32(self.hidden_qparams.scale)) * 2.0**-15))
        )

    def _projection_multiplier(self) -> tuple[int, int]:
        product = F32(self.scales["projection"]) * F32(self.hidden_qparams.scale)
        return quantize_multiplier(float(product / F32(self.state_qparams[0].scale)))

    # The layer

    def _input_terms(self, sequence: Any) -> Any:
        source = self.input_qparams[0]
        sums = integer_products(sequence, source.zero_point, self.stacked("kernel"))
        if not self.layer_norm:
            sums = sums + self.stacked("bias")
        scaled = fixed_point.scaled(sums, *self._multipliers("kernel", source.scale))
        return _int16(scaled)

    def _step(self, terms: Any, output: Any, cell: Any) -> tuple[Any, Any]:
        state = self.state_qparams[0]
        sums = integer_products(output, state.zero_point, self.stacked("recurrent"))
        scaled = fixed_point.scaled(sums, *self._multipliers("recurrent", state.scale))
        gates = self.split(_int16(scaled + terms))
        forget = self._activated("forget", gates, cell)
        entry = self._activated("input", gates, cell) if self.input_gate else INT16_MAX - forget
        update = entry * self._activated("cell", gates, cell)
        kept = fixed_point.shift_half_away(forget * cell, 15)
        cell = _int16(kept + fixed_point.shift_half_away(update, 15 + self._cell_bits))
        steps = clipping_steps(self.cell_clip, self.state_qparams[1].scale, INT16_MAX)
        if steps:
            cell = ops.clip(cell, -steps, steps)
        shown = _looked_up(lstm_kernels.tanh_table(self._cell_bits), cell)
        hidden = fixed_point.scaled(
            self._activated("output", gates, cell) * shown, *self._hidden_multiplier()
        )
        zero_point = self.hidden_qparams.zero_point
        if not self.projection:
            return _int8(hidden + zero_point), cell
        return self._projected(_int8(hidden - zero_point) + zero_point), cell

    def _activated(self, gate: str, gates: dict[str, Any], cell: Any) -> Any:
        value = gates[gate]
        if self.peephole and gate in PEEPHOLES:
            seen = self._peephole(gate) * cell
            value = _int16(value + fixed_point.scaled(seen, *self._peephole_multiplier(gate)))
        if self.layer_norm:
            value = self._normalized(gate, value)
        table = (
            lstm_kernels.tanh_table(GATE_BITS) if gate == "cell" else lstm_kernels.sigmoid_table()
        )
        return _looked_up(table, value)

    def _peephole(self, gate: str) -> Any:
        """The weights for each value of the cell state, int32.

        The kernel walks through the state in rows as long as the output. Where that is shorter
        than the state, some values meet weights of another unit, and the last ones none.
        """
        weights = ops.cast(self.parts[f"peephole_{gate}"], "int32")
        if self.output_size == self.units:
            return weights
        rows = self.batch_size if self.time_major or not self.sequence else 1
        place = np.arange(rows * self.units)
        met = (place < rows * self.output_size).astype(np.int32)
        found = ops.take(weights, place % self.output_size, axis=0) * ops.convert_to_tensor(met)
        return ops.reshape(found, (rows, self.units))

    def _normalized(self, gate: str, value: Any) -> Any:
        scale = self.scales[f"norm_{gate}"]
        guard = max(1, int(F32(10000) * F32(scale)))
        rescaled = normalized(value, guard)
        norm, bias = (ops.cast(self.parts[f"{kind}_{gate}"], "int32") for kind in ("norm", "bias"))
        product = rescaled * norm + bias
        steps = ops.sign(product) * ops.right_shift(ops.abs(product) + 512, 10)
        multiplier, exponent = quantize_multiplier(float(F32(scale)))
        return _int16(fixed_point.scaled(steps, multiplier, exponent + GATE_FRACTION_BITS))

    def _projected(self, hidden: Any) -> Any:
        state = self.state_qparams[0]
        sums = integer_products(hidden, 0, self.parts["projection"])
        if self.projection_bias:
            sums = sums + ops.convert_to_tensor(self.parts["projection_bias"])
        values = _int8(fixed_point.scaled(sums, *self._projection_multiplier()) + state.zero_point)
        steps = clipping_steps(self.proj_clip, self.output_qparams.scale, 127)
        return ops.clip(values, -steps, steps) if steps else values


def normalized(values: Any, guard: int) -> Any:
    """`1024 * (values - mean) / deviation` over the last axis, in integers as the kernel.

    The sum of squares and the square of the mean have up to 50 bits: digits of 15 bits hold them.

    Args:
        values: int16 in int32.
        guard: what a variance of 0 counts as.
    """
    count = values.shape[-1]
    digit = (1 << _DIGIT) - 1
    total = ops.sum(values, axis=-1, keepdims=True)
    magnitude = ops.abs(total)
    mean = magnitude // count * 1024 + magnitude % count * 1024 // count
    squares = values * values
    low = ops.sum(ops.bitwise_and(squares, digit), axis=-1, keepdims=True)
    middle = ops.sum(ops.right_shift(squares, _DIGIT), axis=-1, keepdims=True)
    middle = middle + ops.right_shift(low, _DIGIT)
    s0, s1, s2 = (
        ops.bitwise_and(low, digit),
        ops.bitwise_and(middle, digit),
        ops.right_shift(middle, _DIGIT),
    )
    t1, t0 = divmod(2**20 // count, 1 << _DIGIT)
    m0, m1 = ops.bitwise_and(mean, digit), ops.right_shift(mean, _DIGIT)
    # Of `2**20 // count` times the sum of squares, less the square of the mean.
    first = s0 * t0 - m0 * m0
    second = s1 * t0 + s0 * t1 - 2 * m0 * m1 + ops.right_shift(first, _DIGIT)
    third = s2 * t0 + s1 * t1 - m1 * m1 + ops.right_shift(second, _DIGIT)
    rest = ops.right_shift(ops.bitwise_and(second, digit), 5)
    variance = ops.left_shift(s2 * t1, 25) + ops.left_shift(third, 10) + rest
    variance = ops.where(variance < 1, guard, variance)
    centred = 1024 * values - ops.sign(total) * mean
    return fixed_point.scaled(centred, *fixed_point.inverse_square_root(variance))


def _int16(values: Any) -> Any:
    return ops.clip(values, INT16_MIN, INT16_MAX)


def _int8(values: Any) -> Any:
    return ops.clip(values, -128, 127)


def _looked_up(table: np.ndarray, values: Any) -> Any:
    """`table` at int16 values in int32."""
    return ops.take(table, values - INT16_MIN, axis=0)
