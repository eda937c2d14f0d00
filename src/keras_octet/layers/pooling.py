"""int8 pooling windows and reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet.arithmetic import activation_bounds, reduction_constants
from keras_octet.builtin_kernels import clipping_bounds
from keras_octet.layers.base import QuantizedLayer, Shape, register, saturate
from keras_octet.windows import output_length, same_padding


class QuantizedPooling2D(QuantizedLayer):
    """Input and output share their parameters; optional fused activation."""

    config_keys = ("pool_size", "strides", "padding", "activation")

    def __init__(
        self,
        *,
        pool_size: Sequence[int],
        strides: Sequence[int],
        padding: str = "valid",
        activation: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = tuple(pool_size)
        self.strides = tuple(strides)
        self.padding = padding
        self.activation = activation

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        sizes = (
            output_length(input_shape[1 + i], self.pool_size[i], self.strides[i], self.padding)
            for i in (0, 1)
        )
        return (input_shape[0], *sizes, input_shape[3])


@register
class QuantizedMaxPooling2D(QuantizedPooling2D):
    """Largest int8 value inside the window; padding never wins."""

    def call(self, inputs: Any) -> Any:
        pooled = ops.max_pool(
            ops.cast(inputs, "float32"),
            self.pool_size,
            strides=self.strides,
            padding=self.padding,
            data_format="channels_last",
        )
        return saturate(pooled, *self._bounds())

    def _bounds(self) -> tuple[int, int]:
        """XNNPACK takes windows that overlap or touch."""
        delegated = all(s <= p for s, p in zip(self.strides, self.pool_size, strict=True))
        bounds = activation_bounds if delegated else clipping_bounds
        return bounds(self.activation, self.output_qparams)


@register
class QuantizedAveragePooling2D(QuantizedPooling2D):
    """`trunc((sum + sign * (n // 2)) / n)` over the `n` values of the window inside the image."""

    def call(self, inputs: Any) -> Any:
        values = ops.cast(inputs, "float32")
        sums = ops.cast(ops.round(self._window_sum(values)), "int32")
        ones = ops.ones_like(values[:1, :, :, :1])
        count = ops.cast(ops.round(self._window_sum(ones)), "int32")
        magnitude = ops.floor_divide(ops.abs(sums) + ops.floor_divide(count, 2), count)
        bounds = clipping_bounds(self.activation, self.output_qparams)
        return saturate(ops.sign(sums) * magnitude, *bounds)

    def _window_sum(self, values: Any) -> Any:
        """Sum over each window, zeros outside; exact after rounding since |sum| < 2**22."""
        padded = values
        if self.padding == "same":
            pads = [
                same_padding(values.shape[1 + i], self.pool_size[i], self.strides[i])
                for i in (0, 1)
            ]
            padded = ops.pad(values, ((0, 0), *pads, (0, 0)))
        mean = ops.average_pool(
            padded,
            self.pool_size,
            strides=self.strides,
            padding="valid",
            data_format="channels_last",
        )
        return mean * float(np.prod(self.pool_size))


class QuantizedReduction(QuantizedLayer):
    """A reduction over `axis`, counted from 0, the batch included."""

    config_keys = ("axis", "keepdims")

    def __init__(
        self, *, axis: Sequence[int] = (1, 2), keepdims: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = tuple(axis)
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        if self.keepdims:
            return tuple(1 if i in self.axis else size for i, size in enumerate(input_shape))
        return tuple(size for i, size in enumerate(input_shape) if i not in self.axis)


@register
class QuantizedSum(QuantizedReduction):
    """`clip(rne(float32(sum q) * m + z))`: product and sum each rounded to float32.

    `m = si / so`, and `z = zo - n * zi * m` for `n` values.
    """

    def call(self, inputs: Any) -> Any:
        total = ops.sum(ops.cast(inputs, "int32"), axis=self.axis, keepdims=self.keepdims)
        sizes = ops.shape(inputs)
        multiplier, offset = self._constants(math.prod(sizes[axis] for axis in self.axis))
        # The maximum keeps compilers from contracting product and sum into one rounding.
        product = ops.maximum(ops.cast(total, "float32") * multiplier, -1e30)
        return saturate(ops.round(product + offset))

    def _constants(self, count: Any) -> tuple[Any, Any]:
        """`m` and `z`; `count` is a tensor where a size is known only when the model runs."""
        source, target = self.input_qparams[0], self.output_qparams
        if isinstance(count, int):
            multiplier, offset = reduction_constants(source, target, count, self._share(count))
            return float(multiplier), float(offset)
        ratio = float(np.float32(source.scale) / np.float32(target.scale))
        multiplier = ratio * self._share(count)
        shift = ops.maximum(ops.cast(count * source.zero_point, "float32") * multiplier, -1e30)
        return multiplier, float(target.zero_point) - shift

    def _share(self, count: Any) -> Any:
        """The weight of each value, a float32 number or tensor."""
        return np.float32(1)


@register
class QuantizedMean(QuantizedSum):
    """As `QuantizedSum`, with `m = si / so * (1 / n)`."""

    def _share(self, count: Any) -> Any:
        if isinstance(count, int):
            return np.float32(1) / np.float32(count)
        # In float64, because of a float32 quotient of 1 TensorFlow makes an approximate reciprocal.
        return ops.cast(1.0 / ops.cast(count, "float64"), "float32")


@register
class QuantizedMax(QuantizedReduction):
    """Largest int8 value; input and output share their parameters."""

    def call(self, inputs: Any) -> Any:
        return ops.max(inputs, axis=self.axis, keepdims=self.keepdims)


@register
class QuantizedMin(QuantizedReduction):
    """Smallest int8 value; input and output share their parameters."""

    def call(self, inputs: Any) -> Any:
        return ops.min(inputs, axis=self.axis, keepdims=self.keepdims)


@register
class QuantizedGlobalMaxPooling2D(QuantizedLayer):
    """Largest int8 value of each channel; input and output share their parameters."""

    config_keys = ("keepdims",)

    def __init__(self, *, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keepdims = keepdims

    def call(self, inputs: Any) -> Any:
        return ops.max(inputs, axis=(1, 2), keepdims=self.keepdims)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        if self.keepdims:
            return (input_shape[0], 1, 1, input_shape[3])
        return (input_shape[0], input_shape[3])
