"""SVDF: a dense layer over the last time steps, factored into features and time.

Reference: Nakkiran et al.: "Compressing Deep Neural Networks using a Rank-Constrained Topology"
(2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet.gemmlowp import quantize_multiplier
from keras_octet.layers import fixed_point
from keras_octet.layers.base import Shape, register, saturate
from keras_octet.layers.recurrent import (
    ACTIVATIONS,
    HybridRecurrent,
    QuantizedRecurrent,
    RecurrentOperator,
    integer_products,
)
from keras_octet.qparams import QParams, as_qparams

F32 = np.float32


class RankedMemory(RecurrentOperator):
    """Mixin: each of `units * rank` filters keeps its last values, and weighs them over time.

    Each call, of one time step `(batch, features)`, appends `kernel x` to what the filters keep,
    drops the oldest, and gives `activation(sum of kept * time over time and rank + bias)`.

    Variables: `kernel` `(units * rank, features)`, `time` `(units * rank, memory)`, `bias`
    `(units,)` if there is one, and the state `memory_state` `(batch, memory * units * rank)`.

    Args:
        units, rank, memory, features, batch_size: sizes.
        use_bias: whether there is a bias.
        activation: `None`, `"relu"`, `"relu6"`, `"hard_tanh"` or `"tanh"`.
    """

    recurrent_keys = (
        "units",
        "rank",
        "memory",
        "features",
        "batch_size",
        "use_bias",
        "activation",
    )

    def __init__(
        self,
        *,
        units: int,
        rank: int,
        memory: int,
        features: int,
        batch_size: int,
        use_bias: bool = True,
        activation: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.rank, self.memory = units, rank, memory
        self.features, self.batch_size = features, batch_size
        self.use_bias, self.activation = use_bias, activation

    def part_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        filters = self.units * self.rank
        yield "kernel", (filters, self.features)
        yield "time", (filters, self.memory)
        if self.use_bias:
            yield "bias", (self.units,)

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        return {"memory_state": (self.batch_size, self.memory * self.units * self.rank)}

    def call(self, inputs: Any) -> Any:
        (variable,) = self.states
        filters = self.units * self.rank
        newest = ops.expand_dims(self._features(inputs), -1)
        kept = ops.reshape(ops.convert_to_tensor(variable), (-1, filters, self.memory))
        kept = ops.concatenate([ops.cast(kept, newest.dtype)[:, :, 1:], newest], axis=-1)
        variable.assign(
            ops.reshape(ops.cast(kept, variable.dtype), (self.batch_size, filters * self.memory))
        )
        total = ops.reshape(ops.sum(kept * self._time(), axis=-1), (-1, self.units, self.rank))
        total = ops.sum(total, axis=-1)
        if self.use_bias:
            total = total + ops.convert_to_tensor(self.parts["bias"])
        return self._finish(total)

    def _features(self, inputs: Any) -> Any:
        return self.multiply("kernel", inputs)

    def _time(self) -> Any:
        return ops.convert_to_tensor(self.parts["time"])

    def _finish(self, total: Any) -> Any:
        return ACTIVATIONS[self.activation](total)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (input_shape[0], self.units)


@register
class HybridSVDF(RankedMemory, HybridRecurrent):
    """SVDF on float32 with int8 weights. See `RankedMemory`, `HybridRecurrent`."""

    def _time(self) -> Any:
        return self.dequantized("time")


@register
class QuantizedSVDF(RankedMemory, QuantizedRecurrent):
    """SVDF on int8: int8 `kernel`, int16 `time` and state, int32 `bias`. See `RankedMemory`.

    The activation is a ReLU, which the parameters of the output make: it only saturates.

    Args:
        state_qparams: one, of the state.
    """

    state_dtypes = ("int16",)

    def __init__(self, *, state_qparams: Sequence[QParams | dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_qparams = tuple(as_qparams(value) for value in state_qparams)

    def get_config(self) -> dict[str, Any]:
        states = [value.get_config() for value in self.state_qparams]
        return {**super().get_config(), "state_qparams": states}

    def part_dtype(self, name: str) -> str:
        return {"kernel": "int8", "time": "int16", "bias": "int32"}[name]

    def _features(self, inputs: Any) -> Any:
        source = self.input_qparams[0]
        sums = integer_products(inputs, source.zero_point, self.parts["kernel"])
        scale = F32(source.scale) * F32(self.scales["kernel"]) / F32(self.state_qparams[0].scale)
        values = fixed_point.scaled(sums, *quantize_multiplier(float(scale)))
        return ops.clip(values, -(2**15), 2**15 - 1)

    def _time(self) -> Any:
        return ops.cast(self.parts["time"], "int32")

    def _finish(self, total: Any) -> Any:
        target = self.output_qparams
        product = F32(self.state_qparams[0].scale) * F32(self.scales["time"])
        multiplier = quantize_multiplier(float(product / F32(target.scale)))
        return saturate(fixed_point.scaled(total, *multiplier) + target.zero_point)
