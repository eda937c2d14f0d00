"""int8 pooling windows and reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet.arithmetic import mean_constants
from keras_octet.layers.base import QuantizedLayer, Shape, register, saturate
from keras_octet.windows import output_length, same_padding


class QuantizedPooling2D(QuantizedLayer):
    """Input and output share their parameters."""

    config_keys = ("pool_size", "strides", "padding")

    def __init__(
        self,
        *,
        pool_size: Sequence[int],
        strides: Sequence[int],
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = tuple(pool_size)
        self.strides = tuple(strides)
        self.padding = padding

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
        return ops.cast(pooled, "int8")


@register
class QuantizedAveragePooling2D(QuantizedPooling2D):
    """`trunc((sum + sign * (n // 2)) / n)` over the `n` values of the window inside the image."""

    def call(self, inputs: Any) -> Any:
        values = ops.cast(inputs, "float32")
        sums = ops.cast(ops.round(self._window_sum(values)), "int32")
        ones = ops.ones_like(values[:1, :, :, :1])
        count = ops.cast(ops.round(self._window_sum(ones)), "int32")
        magnitude = ops.floor_divide(ops.abs(sums) + ops.floor_divide(count, 2), count)
        return saturate(ops.sign(sums) * magnitude)

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


@register
class QuantizedMean(QuantizedLayer):
    """`clip(rne(float32(sum q) * m + z))`: product and sum each rounded to float32."""

    config_keys = ("axis", "keepdims")

    def __init__(
        self, *, axis: Sequence[int] = (1, 2), keepdims: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = tuple(axis)
        self.keepdims = keepdims

    def call(self, inputs: Any) -> Any:
        total = ops.sum(ops.cast(inputs, "int32"), axis=self.axis, keepdims=self.keepdims)
        sizes = [inputs.shape[axis] for axis in self.axis]
        multiplier, offset = mean_constants(
            int(np.prod(sizes)), self.input_qparams[0], self.output_qparams
        )
        # The clip keeps compilers from contracting product and sum into one rounding.
        product = ops.maximum(ops.cast(total, "float32") * float(multiplier), -1e30)
        return saturate(ops.round(product + float(offset)))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        if self.keepdims:
            return tuple(1 if i in self.axis else size for i, size in enumerate(input_shape))
        return tuple(size for i, size in enumerate(input_shape) if i not in self.axis)


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
