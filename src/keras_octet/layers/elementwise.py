"""int8 arithmetic of two tensors; either may broadcast against the other."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_octet.arithmetic import activation_bounds, addition_constants, requantize_multiplier
from keras_octet.layers.base import QuantizedLayer, register, requantize, saturate, shifted


class QuantizedBinary(QuantizedLayer):
    """Two int8 inputs in a list, one int8 output; optional fused activation."""

    config_keys: tuple[str, ...] = ("activation",)

    def __init__(self, *, activation: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        first, second = (keras.KerasTensor(shape) for shape in input_shape)
        return keras.ops.add(first, second).shape


@register
class QuantizedAdd(QuantizedBinary):
    """`clip(floor((A*(a-za) + B*(b-zb) + 2**(s-1)) / 2**s) + zo)` in int32."""

    sign = 1

    def call(self, inputs: Any) -> Any:
        a, b = self.input_qparams
        target = self.output_qparams
        first, second, shift = addition_constants(a.scale, b.scale, target.scale)
        total = first * shifted(inputs[0], a) + self.sign * second * shifted(inputs[1], b)
        rounded = ops.right_shift(total + (1 << (shift - 1)), shift)
        return saturate(rounded + target.zero_point, *activation_bounds(self.activation, target))


@register
class QuantizedSubtract(QuantizedAdd):
    """As `QuantizedAdd`, the second operand negated."""

    sign = -1


@register
class QuantizedMultiply(QuantizedBinary):
    """`clip(rne((a-za) * (b-zb) * (sa * sb / so)) + zo)`."""

    def call(self, inputs: Any) -> Any:
        a, b = self.input_qparams
        product = shifted(inputs[0], a) * shifted(inputs[1], b)
        target = self.output_qparams
        multiplier = requantize_multiplier(a.scale, b.scale, target.scale)
        return requantize(product, multiplier, target, activation_bounds(self.activation, target))


@register
class QuantizedMaximum(QuantizedBinary):
    """Larger of two int8 tensors that share their parameters with the output."""

    config_keys = ()

    def call(self, inputs: Any) -> Any:
        return ops.maximum(inputs[0], inputs[1])


@register
class QuantizedMinimum(QuantizedBinary):
    """Smaller of two int8 tensors that share their parameters with the output."""

    config_keys = ()

    def call(self, inputs: Any) -> Any:
        return ops.minimum(inputs[0], inputs[1])
