"""Layers with integer weights and float activations: LiteRT's dynamic range quantization.

Each call quantizes its input to int8, sums exact integer products, and scales the sums back to
float32: `y = activation(float32(sum) * input_scale * kernel_scale + bias)`. How often an input gets
a scale of its own and where products are rounded differs by kernel, and follows the kernel that
LiteRT's default interpreter runs: XNNPACK's unless the layer says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import ml_dtypes
import numpy as np
from keras import ops

from keras_octet.arithmetic import PACKED_BITS
from keras_octet.layers.base import QuantizedLayer, Shape, register
from keras_octet.layers.convolution import (
    QuantizedConv2D,
    QuantizedConv2DTranspose,
    QuantizedDepthwiseConv2D,
)
from keras_octet.layers.dynamic import (
    Quantized,
    quantize_affine,
    quantize_symmetric,
    quantize_xnnpack,
)
from keras_octet.layers.linear import QuantizedDense, QuantizedLinear
from keras_octet.layers.rounding import fused_multiply_add, rounded

IMAGE = (1, 2, 3)
ROW = (-1,)


class HybridLinear(QuantizedLinear):
    """int8 kernel, float32 bias, float32 input and output; base of the layers below.

    Variables:
        kernel: int8, in the layout of the Keras layer of the same name.
        bias: float32 `(channels,)`.
        kernel_scale: float32 `(channels,)`, or `(1,)` for one scale.

    Args:
        activation, kernel_dtype, per_tensor: as of `QuantizedLinear`.
    """

    output_dtype = "float32"
    # What a layer adds to the arguments of the int8 layer.
    hybrid_keys: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{key: getattr(self, key) for key in self.hybrid_keys}}

    def _build_weights(self, kernel_shape: Sequence[int], channels: int) -> None:
        scales = self._scale_shape(kernel_shape, channels)
        self.kernel = self._add_integer_weight("kernel", kernel_shape, "int8")
        self.bias = self._add_integer_weight("bias", (channels,), "float32")
        self.bias.assign(np.zeros(channels, np.float32))
        self.kernel_scale = self._add_integer_weight("kernel_scale", scales, "float32")

    def _scale_shape(self, kernel_shape: Sequence[int], channels: int) -> tuple[int, ...]:
        return (1,) if self.per_tensor else (channels,)

    def prepare(self) -> None:
        self._pieces = self._count_pieces(ops.convert_to_numpy(self.kernel))

    @property
    def _input_range(self) -> tuple[int, int]:
        # `q - zero_point` is one of 256 consecutive integers, 0 among them; of all such ranges this
        # one reaches furthest.
        return 0, 255

    def _quantize(self, inputs: Any) -> Quantized:
        """Integers `q - zero_point` in float32, and their scale."""
        return quantize_xnnpack(inputs, IMAGE)

    def _dequantize(self, sums: Any, scale: Any) -> Any:
        """Sums, float32, to real numbers, the bias added: XNNPACK adds it in the last product."""
        kernel_scale = ops.convert_to_tensor(self.kernel_scale)
        bias = ops.convert_to_tensor(self.bias)
        return fused_multiply_add(rounded(sums * scale), kernel_scale, bias)

    def call(self, inputs: Any) -> Any:
        quantized, scale = self._quantize(self._arrange(inputs))
        sums = ops.cast(self._sum(quantized), "float32")
        return clip_activation(self._dequantize(sums, scale), self.activation)


def clip_activation(values: Any, activation: str | None) -> Any:
    """ReLU, ReLU6, hard tanh or nothing."""
    if activation is None:
        return values
    if activation == "relu":
        return ops.maximum(values, 0.0)
    low, high = (0.0, 6.0) if activation == "relu6" else (-1.0, 1.0)
    return ops.minimum(ops.maximum(values, low), high)


def _scaled_together(layer: HybridLinear, sums: Any, scale: Any) -> Any:
    """`sums * (scale * kernel_scale) + bias`, each step rounded."""
    factor = rounded(scale * ops.convert_to_tensor(layer.kernel_scale))
    return rounded(sums * factor) + ops.convert_to_tensor(layer.bias)


def _scaled_by_kernel_first(layer: HybridLinear, sums: Any, scale: Any) -> Any:
    """`sums * kernel_scale * scale + bias`, each step rounded."""
    product = rounded(rounded(sums * ops.convert_to_tensor(layer.kernel_scale)) * scale)
    return product + ops.convert_to_tensor(layer.bias)


def _scaled_by_input_first(layer: HybridLinear, sums: Any, scale: Any) -> Any:
    """`sums * scale * kernel_scale + bias`, each step rounded."""
    product = rounded(rounded(sums * scale) * ops.convert_to_tensor(layer.kernel_scale))
    return product + ops.convert_to_tensor(layer.bias)


@register
class HybridDense(HybridLinear, QuantizedDense):
    """`Dense` on float inputs `(..., in)` with an integer kernel `(in, units)`; a scale a row.

    Args:
        asymmetric_inputs: whether the built-in kernel uses a zero point. XNNPACK always uses one;
            it takes all but a kernel whose rows do not end with a byte, and int2 with one scale.
        kernel_dtype: as of `QuantizedLinear`, or `"int2"`: values in [-2, 1].
    """

    hybrid_keys: tuple[str, ...] = (*HybridLinear.hybrid_keys, "asymmetric_inputs")
    kernel_dtypes: tuple[str, ...] = ("int8", "int4", "int2")

    def __init__(self, units: int, *, asymmetric_inputs: bool = False, **kwargs: Any) -> None:
        super().__init__(units=units, **kwargs)
        self.asymmetric_inputs = asymmetric_inputs

    @property
    def _delegated(self) -> bool:
        whole_bytes = self.kernel.shape[0] * PACKED_BITS.get(self.kernel_dtype, 8) % 8 == 0
        return whole_bytes and not (self.kernel_dtype == "int2" and self.per_tensor)

    def _quantize(self, inputs: Any) -> Quantized:
        if self._delegated:
            return quantize_xnnpack(inputs, ROW)
        quantize = quantize_affine if self.asymmetric_inputs else quantize_symmetric
        return quantize(inputs, ROW)

    def _dequantize(self, sums: Any, scale: Any) -> Any:
        if self._delegated:
            return super()._dequantize(sums, scale)
        return _scaled_together(self, sums, scale)


@register
class HybridBlockDense(HybridDense):
    """`HybridDense` with an int4 kernel and a scale for each `block_size` inputs of a unit.

    `y = activation(input_scale * sum_b(kernel_scale_b * sum_i(q_i * w_i)) + bias)`, the scales of
    the kernel rounded to bfloat16. The inner sums are exact. XNNPACK adds the outer one, and the
    part of the zero point, in an order that depends on the processor, so that outputs differ by
    float32 rounding: with `n` blocks, by at most `(n + 4) * 2**-24` of
    `128 * input_scale * sum_i(|kernel_scale * w_i|)`.

    Variables:
        kernel_scale: float32 `(units, in / block_size)`, values of float16.

    Args:
        block_size: inputs that share a scale: a multiple of 32, which is what XNNPACK takes, of at
            most `MAX_BLOCK`.

    Raises:
        ValueError: `block_size` is not such a number, or does not divide the number of inputs.
    """

    hybrid_keys = (*HybridDense.hybrid_keys, "block_size")
    kernel_dtypes = ("int4",)
    # 255 * 8 times as many are at most 2**24.
    MAX_BLOCK = 8192

    def __init__(
        self, units: int, *, block_size: int, kernel_dtype: str = "int4", **kwargs: Any
    ) -> None:
        super().__init__(units=units, kernel_dtype=kernel_dtype, **kwargs)
        if block_size % 32 or not 0 < block_size <= self.MAX_BLOCK:
            raise ValueError(
                f"block_size must be a multiple of 32 of at most {self.MAX_BLOCK}. "
                f"Received: block_size={block_size}"
            )
        self.block_size = block_size
        self._scales: np.ndarray | None = None

    def _scale_shape(self, kernel_shape: Sequence[int], channels: int) -> tuple[int, ...]:
        if kernel_shape[0] % self.block_size:
            raise ValueError(
                f"block_size must divide the number of inputs, {kernel_shape[0]}. "
                f"Received: block_size={self.block_size}"
            )
        return (channels, kernel_shape[0] // self.block_size)

    def prepare(self) -> None:
        """Round the scales in NumPy: a compiler may leave out that float32 becomes bfloat16."""
        scale = ops.convert_to_numpy(self.kernel_scale)
        self._scales = scale.astype(ml_dtypes.bfloat16).astype(np.float32)

    def _quantize(self, inputs: Any) -> Quantized:
        return quantize_xnnpack(inputs, ROW)

    def call(self, inputs: Any) -> Any:
        quantized, scale = self._quantize(self._arrange(inputs))
        # Not rounded, while they are not known yet.
        scales = ops.convert_to_tensor(self.kernel_scale if self._scales is None else self._scales)
        blocks = (scales.shape[1], self.block_size)
        rows = ops.transpose(ops.reshape(quantized, (-1, *blocks)), (1, 0, 2))
        kernel = ops.reshape(self._centred_kernel(quantized), (*blocks, self.units))
        sums = ops.matmul(rows, kernel)
        total = ops.sum(sums * ops.expand_dims(ops.transpose(scales), 1), axis=0)
        total = ops.reshape(total, (*ops.shape(quantized)[:-1], self.units))
        outputs = total * scale + ops.convert_to_tensor(self.bias)
        return clip_activation(outputs, self.activation)


@register
class HybridConv2D(HybridLinear, QuantizedConv2D):
    """`Conv2D` on float images; a scale an image.

    XNNPACK runs a 1x1 kernel as a matrix product, with a scale for each pixel. An int4 kernel runs
    on the built-in kernels, symmetric if it has one scale.
    """

    def _quantize(self, inputs: Any) -> Quantized:
        if self.kernel_dtype == "int4":
            quantize = quantize_symmetric if self.per_tensor else quantize_affine
            return quantize(inputs, IMAGE)
        unit = self.kernel_size == self.strides == (1, 1) and self.groups == 1
        return quantize_xnnpack(inputs, ROW if unit else IMAGE)

    def _dequantize(self, sums: Any, scale: Any) -> Any:
        if self.kernel_dtype == "int8":
            return super()._dequantize(sums, scale)
        scaled = _scaled_together if self.groups == 1 else _scaled_by_kernel_first
        return scaled(self, sums, scale)


@register
class HybridConv2DTranspose(HybridLinear, QuantizedConv2DTranspose):
    """`Conv2DTranspose` on float images; a scale an image.

    Args:
        use_bias: False if the `.tflite` operator has no bias; the variable is zero then.
    """

    hybrid_keys = (*HybridLinear.hybrid_keys, "use_bias")

    def __init__(self, *, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_bias = use_bias


@register
class HybridDepthwiseConv2D(HybridLinear, QuantizedDepthwiseConv2D):
    """`DepthwiseConv2D` on float images; a scale an image. XNNPACK does not take it."""

    def _quantize(self, inputs: Any) -> Quantized:
        return quantize_affine(inputs, IMAGE)

    def _dequantize(self, sums: Any, scale: Any) -> Any:
        # Four channels at a time, then what is left over one by one.
        by_four = _scaled_by_kernel_first(self, sums, scale)
        channels = self.bias.shape[0]
        if channels % 4 == 0:
            return by_four
        left_over = np.arange(channels) >= channels - channels % 4
        return ops.where(left_over, _scaled_by_input_first(self, sums, scale), by_four)


@register
class HybridMatmul(HybridLinear):
    """Float `(..., m, k)` times a constant int8 `(..., k, n)`; a scale a row of the input.

    Args:
        kernel_shape: shape of the kernel.
        transposed: whether the `.tflite` file stores it as `(..., n, k)`.
        asymmetric_inputs: kept for the file; XNNPACK always uses a zero point.
    """

    config_keys = ("kernel_shape", "transposed", "asymmetric_inputs", *QuantizedLinear.config_keys)

    def __init__(
        self,
        *,
        kernel_shape: Sequence[int],
        transposed: bool = False,
        asymmetric_inputs: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_shape = tuple(kernel_shape)
        self.transposed = transposed
        self.asymmetric_inputs = asymmetric_inputs

    def build(self, input_shape: Shape) -> None:
        self._build_weights(self.kernel_shape, self.kernel_shape[-1])

    def _columns(self, kernel: np.ndarray) -> np.ndarray:
        """The matrices of a batch side by side."""
        return np.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1)

    def _quantize(self, inputs: Any) -> Quantized:
        return quantize_xnnpack(inputs, ROW)

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        return ops.matmul(inputs, kernel)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return keras.ops.matmul(
            keras.KerasTensor(input_shape), keras.KerasTensor(self.kernel_shape)
        ).shape


@register
class HybridEmbedding(QuantizedLayer):
    """Rows of an integer table as float32, `table[ids] * scale`: EMBEDDING_LOOKUP.

    LiteRT begins with a whole byte: of an int4 table with an odd number of values a row it reads
    every other row one value too early, and so does this layer.

    Variables:
        table: int8.
        table_scale: float32, one for each row or `(1,)`.

    Args:
        table_shape: `(rows, ...)`.
        table_dtype: `"int8"` or `"int4"`: how the table is stored in a `.tflite` file.
        per_row: whether each row has a scale.
    """

    config_keys = ("table_shape", "table_dtype", "per_row")
    output_dtype = "float32"

    def __init__(
        self,
        *,
        table_shape: Sequence[int],
        table_dtype: str = "int8",
        per_row: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table_shape = tuple(table_shape)
        self.table_dtype = table_dtype
        self.per_row = per_row

    def build(self, input_shape: Shape) -> None:
        scales = (self.table_shape[0],) if self.per_row else (1,)
        self.table = self._add_integer_weight("table", self.table_shape, "int8")
        self.table_scale = self._add_integer_weight("table_scale", scales, "float32")

    def call(self, inputs: Any) -> Any:
        rows = ops.cast(self._rows(inputs), "float32")
        scale = ops.convert_to_tensor(self.table_scale)
        if self.per_row:
            scale = ops.take(scale, inputs, axis=0)
            for _ in self.table_shape[1:]:
                scale = ops.expand_dims(scale, -1)
        return rows * scale

    def _rows(self, ids: Any) -> Any:
        table, size = ops.convert_to_tensor(self.table), math.prod(self.table_shape[1:])
        if self.table_dtype == "int8" or size % 2 == 0:
            return ops.take(table, ids, axis=0)
        first = ops.cast(ids, "int32") * size
        places = ops.expand_dims(first - first % 2, -1) + ops.arange(size, dtype="int32")
        values = ops.take(ops.reshape(table, (-1,)), places, axis=0)
        return ops.reshape(values, (*ops.shape(ids), *self.table_shape[1:]))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (*input_shape, *self.table_shape[1:])
