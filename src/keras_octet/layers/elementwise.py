"""int8 arithmetic of two tensors; either may broadcast against the other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_octet import builtin_kernels
from keras_octet.arithmetic import (
    activation_bounds,
    addition_constants,
    addition_is_delegated,
    multiplication_is_delegated,
    requantize_multiplier,
)
from keras_octet.layers.base import (
    QuantizedLayer,
    apply_table,
    apply_table_of_pairs,
    register,
    requantize,
    saturate,
    shifted,
)


class QuantizedBinary(QuantizedLayer):
    """Two int8 inputs in a list, one int8 output; optional fused activation."""

    config_keys: tuple[str, ...] = ("activation",)

    def __init__(self, *, activation: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        first, second = (keras.KerasTensor(shape) for shape in input_shape)
        return keras.ops.add(first, second).shape


class QuantizedTableOfPairs(QuantizedBinary):
    """An operator for which LiteRT runs its built-in kernel: a table of 65,536 entries."""

    def _table(self) -> np.ndarray:
        """int8 `(256, 256)`, indexed by `[first + 128, second + 128]`."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        return apply_table_of_pairs(self._table(), *inputs)


@register
class QuantizedAdd(QuantizedTableOfPairs):
    """`clip(floor((A*(a-za) + B*(b-zb) + 2**(s-1)) / 2**s) + zo)` in int32.

    A table where a scale is too far from that of the output for XNNPACK.
    """

    sign = 1

    def call(self, inputs: Any) -> Any:
        a, b = self.input_qparams
        target = self.output_qparams
        if not addition_is_delegated(a, b, target):
            return super().call(inputs)
        first, second, shift = addition_constants(a.scale, b.scale, target.scale)
        second *= self.sign
        total = first * ops.cast(inputs[0], "int32") + second * ops.cast(inputs[1], "int32")
        constant = (1 << (shift - 1)) - first * a.zero_point - second * b.zero_point
        rounded = ops.right_shift(total + constant, shift)
        return saturate(rounded + target.zero_point, *activation_bounds(self.activation, target))

    def _table(self) -> np.ndarray:
        return builtin_kernels.add_table(
            *self.input_qparams, self.output_qparams, self.sign, self.activation
        )


@register
class QuantizedSubtract(QuantizedAdd):
    """As `QuantizedAdd`, the second operand negated."""

    sign = -1


@register
class QuantizedMultiply(QuantizedTableOfPairs):
    """`clip(rne((a-za) * (b-zb) * (sa * sb / so)) + zo)`.

    A table where the scale of the product is too far from that of the output for XNNPACK.
    """

    def call(self, inputs: Any) -> Any:
        a, b = self.input_qparams
        target = self.output_qparams
        if not multiplication_is_delegated(a, b, target):
            return super().call(inputs)
        product = shifted(inputs[0], a) * shifted(inputs[1], b)
        multiplier = requantize_multiplier(a.scale, b.scale, target.scale)
        return requantize(product, multiplier, target, activation_bounds(self.activation, target))

    def _table(self) -> np.ndarray:
        return builtin_kernels.multiply_table(
            *self.input_qparams, self.output_qparams, self.activation
        )


@register
class QuantizedDivide(QuantizedTableOfPairs):
    """`a / b` in fixed point."""

    def _table(self) -> np.ndarray:
        return builtin_kernels.divide_table(
            *self.input_qparams, self.output_qparams, self.activation
        )


@register
class QuantizedSquaredDifference(QuantizedTableOfPairs):
    """`(a - b) ** 2` in fixed point."""

    config_keys = ()

    def _table(self) -> np.ndarray:
        return builtin_kernels.squared_difference_table(*self.input_qparams, self.output_qparams)


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


@register
class QuantizedComparison(QuantizedBinary):
    """Two int8 tensors, each in its own scale, to bool.

    Args:
        comparison: `"equal"`, `"not_equal"`, `"less"`, `"less_equal"`, `"greater"` or
            `"greater_equal"`.
    """

    config_keys = ("comparison",)
    output_dtype = "bool"

    def __init__(self, *, comparison: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.comparison = comparison

    def call(self, inputs: Any) -> Any:
        first, second = (
            apply_table(builtin_kernels.comparison_table(qparams), x)
            for x, qparams in zip(inputs, self.input_qparams, strict=True)
        )
        return getattr(ops, self.comparison)(first, second)
