"""int16 activations, int8 weights: the 16x8 form of LiteRT. Zero points are 0.

LiteRT runs its built-in kernels: sums of products in 64 bits, here in two parts (see `wide`), and
tables of 65,536 entries for what reads one tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_octet import int16_kernels
from keras_octet.gemmlowp import quantize_multiplier
from keras_octet.layers import fixed_point, wide
from keras_octet.layers.base import QuantizedLayer, exact_matmul, register
from keras_octet.layers.convolution import (
    QuantizedConv2D,
    QuantizedConv2DTranspose,
    QuantizedDepthwiseConv2D,
)
from keras_octet.layers.linear import QuantizedDense, QuantizedLinear
from keras_octet.layers.movement import QuantizedResizing
from keras_octet.layers.pooling import (
    QuantizedAveragePooling2D,
    QuantizedPooling2D,
    QuantizedReduction,
)
from keras_octet.layers.rounding import fused_multiply_add, rounded
from keras_octet.qparams import INTEGER_RANGES, QParams

# Channels that ruy requantizes at once; it rounds those left over otherwise.
_BLOCK = 8
_SHIFT_OF_SUMS = 15


def bytes_of(values: Any) -> tuple[Any, Any]:
    """int16 as `256 * high + low`, both int32, `low` in [0, 256)."""
    wider = ops.cast(values, "int32")
    return ops.right_shift(wider, 8), ops.bitwise_and(wider, 0xFF)


def leading(values: Any, block: int) -> Any:
    """Where `values` are not left over, at the end, from blocks of so many of them."""
    shape = ops.shape(values)
    count: Any = 1
    for size in shape:
        count = count * size
    return ops.reshape(ops.arange(count) < count - count % block, shape)


def clipped(values: Any, activation: str | None, target: QParams) -> Any:
    """int32 to int16 within the bounds of a fused activation."""
    return ops.cast(ops.clip(values, *int16_kernels.bounds(activation, target)), "int16")


class Int16Linear(QuantizedLinear):
    """int8 kernel, int16 input and output; base of the layers below.

    Variables:
        kernel: int8, in the layout of the Keras layer of the same name.
        bias: int32 `(2, channels)`: an integer of up to 48 bits is `bias[0] * 2**16 + bias[1]`.
        kernel_scale: float32 `(channels,)`, or `(1,)` for one scale.

    Args:
        activation: `None`, `"relu"`, `"relu6"` or `"hard_tanh"`, fused into the bounds.
        per_tensor: one scale for all channels of the kernel.
        bias_dtype: `"int64"` or `"int32"`, as a `.tflite` file stores it; LiteRT's arithmetic
            differs.
    """

    output_dtype = "int16"

    def __init__(self, *, bias_dtype: str = "int64", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if bias_dtype not in ("int32", "int64"):
            raise ValueError(
                f"bias_dtype must be 'int32' or 'int64'. Received: bias_dtype={bias_dtype!r}"
            )
        self.bias_dtype = bias_dtype

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bias_dtype": self.bias_dtype}

    def _build_weights(self, kernel_shape: Sequence[int], channels: int) -> None:
        scales = (1,) if self.per_tensor else (channels,)
        self.kernel = self._add_integer_weight("kernel", kernel_shape, "int8")
        self.bias = self._add_integer_weight("bias", (2, channels), "int32")
        self.kernel_scale = self._add_integer_weight("kernel_scale", scales, "float32")
        self.prepare()

    def prepare(self) -> None:
        self._pieces = self._count_pieces(ops.convert_to_numpy(self.kernel))
        scale = ops.convert_to_numpy(self.kernel_scale)
        source, target = self.input_qparams[0].scale, self.output_qparams.scale
        self._ratio = source * scale.astype(np.float64) / target
        self._ratio_32_bits = self._products_of_scales(source, scale) / target

    @property
    def _input_range(self) -> tuple[int, int]:
        # Of the low bytes; the high ones, -128 to 127, reach no further.
        return 0, 255

    def call(self, inputs: Any) -> Any:
        parts = [ops.cast(part, "float32") for part in bytes_of(self._arrange(inputs))]
        kernel = self._centred_kernel(parts[0])
        high, low = (self._accumulate(part, kernel) for part in parts)
        bias = ops.convert_to_tensor(self.bias)
        if self.bias_dtype == "int32":
            narrow = ops.left_shift(bias[0], 16) + bias[1]
            steps = self._scaled_32_bits(256 * high + low + narrow)
        else:
            added = (bias[0], bias[1])
            total = wide.add(wide.shifted_left(high, 8), wide.shifted_left(low, 0), added)
            steps = self._scaled_64_bits(total)
        return clipped(steps, self.activation, self.output_qparams)

    def _scaled_64_bits(self, total: wide.Wide) -> Any:
        return wide.scaled_half_up(total, self._ratio)

    def _scaled_32_bits(self, total: Any) -> Any:
        """As ruy: ties up."""
        return self._scaled(total, half_up=True)

    def _scaled(self, total: Any, *, half_up: bool) -> Any:
        pairs = np.array([quantize_multiplier(ratio) for ratio in self._ratio_32_bits], np.int32)
        return fixed_point.scaled(total, pairs[:, 0], pairs[:, 1], half_up=half_up)


@register
class Int16Dense(Int16Linear, QuantizedDense):
    """`Dense`: input `(..., in)`, kernel `(in, units)`; products with the scale in float64."""

    def _scaled_64_bits(self, total: wide.Wide) -> Any:
        return wide.scaled_in_float64(total, self._ratio)


@register
class Int16Conv2D(Int16Linear, QuantizedConv2D):
    """`Conv2D`: kernel `(kh, kw, in / groups, filters)`."""


@register
class Int16DepthwiseConv2D(Int16Linear, QuantizedDepthwiseConv2D):
    """`DepthwiseConv2D`: kernel `(kh, kw, in, depth_multiplier)`; the bias has 64 bits."""


@register
class Int16Conv2DTranspose(Int16Linear, QuantizedConv2DTranspose):
    """`Conv2DTranspose`: kernel `(kh, kw, filters, in)`."""

    def _scaled_32_bits(self, total: Any) -> Any:
        """Ties up in whole blocks of channels, away from 0 in what is left over."""
        up, away = (self._scaled(total, half_up=half_up) for half_up in (True, False))
        channels = self.bias.shape[-1]
        return ops.where(np.arange(channels) < channels - channels % _BLOCK, up, away)


@register
class Int16Matmul(QuantizedLayer):
    """Batched product `(..., m, k) x (..., k, n)` of two int16 tensors.

    Args:
        transpose_first, transpose_second: swap the last two axes of an operand first.
    """

    config_keys = ("transpose_first", "transpose_second")
    output_dtype = "int16"

    def __init__(
        self, *, transpose_first: bool = False, transpose_second: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.transpose_first, self.transpose_second = transpose_first, transpose_second

    def call(self, inputs: Any) -> Any:
        first, second = inputs
        if self.transpose_first:
            first = ops.swapaxes(first, -1, -2)
        if self.transpose_second:
            second = ops.swapaxes(second, -1, -2)
        a_high, a_low = (ops.cast(x, "float32") for x in bytes_of(first))
        b_high, b_low = (ops.cast(x, "float32") for x in bytes_of(second))
        total = wide.add(
            wide.shifted_left(exact_matmul(a_high, b_high), 16),
            wide.shifted_left(exact_matmul(a_high, b_low), 8),
            wide.shifted_left(exact_matmul(a_low, b_high), 8),
            wide.shifted_left(exact_matmul(a_low, b_low), 0),
        )
        a, b = self.input_qparams
        ratio = float(np.float32(a.scale) * np.float32(b.scale)) / self.output_qparams.scale
        return clipped(wide.scaled_half_up(total, np.array([ratio])), None, self.output_qparams)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        transposed = (self.transpose_first, self.transpose_second)
        first, second = (
            (*shape[:-2], shape[-1], shape[-2]) if swap else tuple(shape)
            for shape, swap in zip(input_shape, transposed, strict=True)
        )
        return keras.ops.matmul(keras.KerasTensor(first), keras.KerasTensor(second)).shape


class Int16Binary(QuantizedLayer):
    """Two int16 inputs in a list, either of which may broadcast; optional fused activation."""

    config_keys: tuple[str, ...] = ("activation",)
    output_dtype = "int16"

    def __init__(self, *, activation: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        first, second = (keras.KerasTensor(shape) for shape in input_shape)
        return keras.ops.add(first, second).shape


class Int16Addition(Int16Binary):
    """Both operands in units of `2**-15` of twice the larger scale, their sum requantized."""

    sign = 1
    # LiteRT adds tensors of one shape so many values at a time, rounding once where the values
    # left over are rounded twice.
    block = 0

    def call(self, inputs: Any) -> Any:
        scales = [float(qparams.scale) for qparams in self.input_qparams]
        common, target = 2.0 * max(scales), self.output_qparams
        pairs = [quantize_multiplier(scale / common) for scale in scales]
        values = [ops.cast(x, "int32") for x in inputs]
        shift = _SHIFT_OF_SUMS
        first, second = (
            fixed_point.scaled(ops.left_shift(x, shift), *pair)
            for x, pair in zip(values, pairs, strict=True)
        )
        total = first + self.sign * second
        if self.block and values[0].shape == values[1].shape:
            first, second = (
                fixed_point.scaled(x, multiplier, exponent + shift)
                for x, (multiplier, exponent) in zip(values, pairs, strict=True)
            )
            total = ops.where(leading(total, self.block), first + self.sign * second, total)
        ratio = common / (2.0**shift * target.scale)
        scaled = fixed_point.scaled(total, *quantize_multiplier(ratio))
        return clipped(scaled, self.activation, target)


@register
class Int16Add(Int16Addition):
    """`a + b`."""

    block = 16


@register
class Int16Subtract(Int16Addition):
    """`a - b`."""

    sign = -1


@register
class Int16Multiply(Int16Binary):
    """The product requantized by `float32(float32(sa * sb) / so)`."""

    def call(self, inputs: Any) -> Any:
        a, b = self.input_qparams
        target = self.output_qparams
        product = ops.cast(inputs[0], "int32") * ops.cast(inputs[1], "int32")
        ratio = np.float32(np.float32(a.scale) * np.float32(b.scale)) / np.float32(target.scale)
        scaled = fixed_point.scaled(product, *quantize_multiplier(float(ratio)))
        return clipped(scaled, self.activation, target)


@register
class Int16Quantize(QuantizedLayer):
    """float32 to int16: `x / scale`, rounded.

    LiteRT multiplies eight values at a time by the reciprocal of the scale and rounds ties to
    even; what is left over it divides, and rounds ties away from 0. Values of 2**31 steps and more,
    and NaN, give the lowest integer.
    """

    output_dtype = "int16"
    block = 8

    def call(self, inputs: Any) -> Any:
        target = self.output_qparams
        values = ops.cast(inputs, "float32")
        scaled = rounded(values * float(np.float32(1) / np.float32(target.scale)))
        steps = ops.where(
            leading(values, self.block), ops.round(scaled), self._quotient(values, scaled)
        )
        low, high = INTEGER_RANGES["int16"]
        steps = ops.where(scaled < 2.0**31, ops.clip(steps, low, high), float(low))
        return ops.cast(steps, "int16")

    def _quotient(self, values: Any, estimate: Any) -> Any:
        """`values / scale` to the nearest integer: the exact product with the scale decides."""
        whole = ops.floor(ops.clip(ops.abs(estimate), 0.0, 2.0**16))
        scale = ops.full_like(whole, self.output_qparams.scale)
        # Positive if twice the value is more than an odd number of scales.
        excess = fused_multiply_add(2.0 * whole + 1.0, scale, -2.0 * ops.abs(values))
        return ops.sign(values) * (whole + ops.cast(excess <= 0, "float32"))


@register
class Int16Softmax(QuantizedLayer):
    """`Softmax` over the last axis; the output has scale 2**-15.

    Args:
        beta: factor of the logits.
    """

    config_keys = ("axis", "beta")
    output_dtype = "int16"

    def __init__(self, *, axis: int = -1, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.beta = axis, float(beta)

    def call(self, inputs: Any) -> Any:
        values = ops.cast(inputs, "int32")
        table = int16_kernels.exponential_table(self.input_qparams[0], self.beta)
        exponentials = ops.take(table, ops.max(values, axis=-1, keepdims=True) - values, axis=0)
        total = ops.sum(exponentials, axis=-1, keepdims=True)
        bits = sum(ops.cast(total >= 2**k, "int32") for k in range(31))
        # The leading bit of the sum is moved to bit 30, and the 16 bits after it are looked up.
        leading = ops.left_shift(total, 31 - bits)
        mantissa = ops.right_shift(leading, 14) + ops.bitwise_and(ops.right_shift(leading, 13), 1)
        fraction = ops.clip(mantissa - 2**16, 0, 2**16 - 1)
        reciprocal = ops.take(int16_kernels.reciprocal_table(), fraction, axis=0)
        shift = bits - 1
        half = ops.left_shift(ops.ones_like(shift), shift - 1)
        steps = ops.right_shift(exponentials * reciprocal + half, shift)
        return ops.cast(ops.clip(steps, 0, 2**15 - 1), "int16")


@register
class Int16Mean(QuantizedReduction):
    """Sum over `axis`, requantized by `si / (so * n)`."""

    output_dtype = "int16"

    def call(self, inputs: Any) -> Any:
        total = ops.sum(ops.cast(inputs, "int32"), axis=self.axis, keepdims=self.keepdims)
        count = math.prod(inputs.shape[axis] for axis in self.axis)
        pair = int16_kernels.mean_multiplier(count, self.input_qparams[0], self.output_qparams)
        return clipped(fixed_point.scaled(total, *pair), None, self.output_qparams)


@register
class Int16Sum(QuantizedReduction):
    """Sum over `axis` times `si / so` in float32, rounded half away from zero."""

    output_dtype = "int16"

    def call(self, inputs: Any) -> Any:
        total = ops.sum(ops.cast(inputs, "int32"), axis=self.axis, keepdims=self.keepdims)
        ratio = np.float32(self.input_qparams[0].scale) / np.float32(self.output_qparams.scale)
        product = ops.cast(total, "float32") * float(ratio)
        size = ops.abs(product)
        whole = ops.floor(size)
        rounded = whole + ops.cast(size - whole >= 0.5, "float32")
        low, high = INTEGER_RANGES["int16"]
        return ops.cast(ops.clip(ops.sign(product) * rounded, low, high), "int16")


@register
class Int16Resizing(QuantizedResizing):
    """`Resizing`; bilinear with weights of 10 bits, rounded half away from zero."""

    output_dtype = "int16"

    def _samples(self, size: int, target: int) -> Any:
        if self.interpolation == "nearest":
            return super()._samples(size, target)
        return int16_kernels.resize_coordinates(
            size,
            target,
            align_corners=self.align_corners,
            half_pixel_centers=self.half_pixel_centers,
        )

    def _bilinear(self, inputs: Any, rows: Any, columns: Any) -> Any:
        high, low = (
            self._blended(ops.cast(part, "int32"), rows, columns) for part in bytes_of(inputs)
        )
        # (256 * high + low) / 2**20, whose numerator has more than 32 bits.
        rest = ops.bitwise_and(high, 4095) * 256 + low
        whole = ops.right_shift(high, 12) + ops.right_shift(rest, 20)
        fraction = ops.bitwise_and(rest, (1 << 20) - 1)
        half = (1 << 19) + ops.cast(whole < 0, "int32")
        return ops.cast(whole + ops.cast(fraction >= half, "int32"), "int16")

    def _blended(self, values: Any, rows: Any, columns: Any) -> Any:
        (top, bottom, vertical), (left, right, horizontal) = rows, columns
        first, last = ops.take(values, left, axis=2), ops.take(values, right, axis=2)
        weight = ops.convert_to_tensor(horizontal.reshape(1, 1, -1, 1), "int32")
        across = first * (1024 - weight) + last * weight
        upper, lower = ops.take(across, top, axis=1), ops.take(across, bottom, axis=1)
        weight = ops.convert_to_tensor(vertical.reshape(1, -1, 1, 1), "int32")
        return upper * (1024 - weight) + lower * weight


@register
class Int16MaxPooling2D(QuantizedPooling2D):
    """The largest value inside the window."""

    output_dtype = "int16"

    def call(self, inputs: Any) -> Any:
        pooled = ops.max_pool(
            ops.cast(inputs, "float32"),
            self.pool_size,
            strides=self.strides,
            padding=self.padding,
            data_format="channels_last",
        )
        return clipped(ops.cast(pooled, "int32"), self.activation, self.output_qparams)


@register
class Int16AveragePooling2D(QuantizedAveragePooling2D):
    """`trunc((sum + sign * (n // 2)) / n)` over the `n` values of the window inside the image."""

    output_dtype = "int16"

    def call(self, inputs: Any) -> Any:
        high, low = (self._exact_sum(part) for part in bytes_of(inputs))
        sums, count = 256 * high + low, self._exact_sum(ops.ones_like(inputs[:1, :, :, :1]))
        magnitude = ops.floor_divide(ops.abs(sums) + ops.floor_divide(count, 2), count)
        return clipped(ops.sign(sums) * magnitude, self.activation, self.output_qparams)

    def _exact_sum(self, values: Any) -> Any:
        return ops.cast(ops.round(self._window_sum(ops.cast(values, "float32"))), "int32")
