"""Layers with int8 weights: an exact integer sum of products, a bias, one requantization.

`y = clip(rne(float32(sum((q - zi) * w) + bias) * (si * sw / so)) + zo)`.

That is XNNPACK's arithmetic. The few layers it does not take requantize in fixed point, as LiteRT's
built-in kernels do.

The sum runs in float32 because that is the fast kernel on every backend. It is exact, in any order,
if every sum of some of the products of one output lies within 2**24 of 0; a kernel for which one
might not is cut into pieces whose int32 sums are added. Where the bias fits too, it is added in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_octet.arithmetic import (
    activation_bounds,
    chunk_bounds,
    exact_pieces,
    fits_float32,
    requantize_multiplier,
)
from keras_octet.builtin_kernels import clipping_bounds
from keras_octet.gemmlowp import quantize_multiplier
from keras_octet.layers import fixed_point
from keras_octet.layers.base import (
    QuantizedLayer,
    Shape,
    exact_matmul,
    register,
    requantize,
    saturate,
    shifted,
)
from keras_octet.layers.ordering import not_before
from keras_octet.qparams import QParams


class QuantizedLinear(QuantizedLayer):
    """int8 kernel, int32 bias, per-channel float32 scales; base of the layers below.

    Variables:
        kernel: int8, in the layout of the Keras layer of the same name.
        bias: int32 `(channels,)`, scale `input_scale * kernel_scale`.
        kernel_scale: float32 `(channels,)`, or `(1,)` for one scale.

    Args:
        activation: `None`, `"relu"`, `"relu6"` or `"hard_tanh"`, fused into the bounds.
        per_tensor: one scale for all channels of the kernel.
        builtin: requantize as LiteRT's built-in kernel.
        kernel_dtype: `"int8"` or `"int4"`: how a `.tflite` file stores the kernel. int4 values lie
            in [-8, 7].
    """

    config_keys: tuple[str, ...] = ("activation", "per_tensor", "builtin", "kernel_dtype")
    # Channels that the built-in kernel requantizes at once, and otherwise than those left over.
    builtin_block: int = 1
    kernel_dtypes: tuple[str, ...] = ("int8", "int4")
    kernel_zero_point: int = 0

    def __init__(
        self,
        *,
        activation: str | None = None,
        per_tensor: bool = False,
        builtin: bool = False,
        kernel_dtype: str = "int8",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kernel_dtype not in self.kernel_dtypes:
            raise ValueError(
                f"kernel_dtype must be one of {', '.join(self.kernel_dtypes)}. "
                f"Received: kernel_dtype={kernel_dtype!r}"
            )
        self.activation = activation
        self.per_tensor, self.builtin = per_tensor, builtin
        self.kernel_dtype = kernel_dtype
        self._pieces: tuple[int, int] | None = None
        self._adds_in_float32 = False
        self._multiplier: np.ndarray | None = None
        self._fixed_point: np.ndarray | None = None

    def _build_weights(self, kernel_shape: Sequence[int], channels: int) -> None:
        self.kernel = self._add_integer_weight("kernel", kernel_shape, "int8")
        self.bias = self._add_integer_weight("bias", (channels,), "int32")
        scales = 1 if self.per_tensor else channels
        self.kernel_scale = self._add_integer_weight("kernel_scale", (scales,), "float32")

    def assign_weights(self, kernel: np.ndarray, bias: np.ndarray, scale: np.ndarray) -> None:
        """Set the three variables: int8, int32 and float32 arrays of the variables' shapes."""
        self.kernel.assign(kernel)
        self.bias.assign(bias)
        self.kernel_scale.assign(scale)
        self.prepare()

    def set_weights(self, weights: list[np.ndarray]) -> None:
        super().set_weights(weights)
        self.prepare()

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        self.prepare()

    def prepare(self) -> None:
        """Work out, from the weights as they are now, what every call needs.

        The multiplier is computed here in NumPy: a compiler may turn the division into a product
        with the reciprocal, which rounds differently.
        """
        kernel = ops.convert_to_numpy(self.kernel)
        bias = ops.convert_to_numpy(self.bias)
        self._adds_in_float32 = not self.builtin and fits_float32(
            self._columns(kernel), bias, self._input_range
        )
        self._pieces = (1, 1) if self._adds_in_float32 else self._count_pieces(kernel)
        scale = ops.convert_to_numpy(self.kernel_scale)
        source, target = self.input_qparams[0].scale, self.output_qparams.scale
        self._multiplier = requantize_multiplier(source, scale, target)
        if self.builtin:
            ratios = self._products_of_scales(source, scale) / target
            self._fixed_point = np.array([quantize_multiplier(ratio) for ratio in ratios])

    def _products_of_scales(self, source: float, scale: np.ndarray) -> np.ndarray:
        """float64 `source * scale`, as the built-in kernel rounds it."""
        return source * scale.astype(np.float64)

    def _count_pieces(self, kernel: np.ndarray) -> tuple[int, int]:
        """Pieces of the input channels and of the window; see `exact_pieces`."""
        return exact_pieces(self._columns(kernel), self._input_range)

    def _columns(self, kernel: np.ndarray) -> np.ndarray:
        """The integers of the kernel, shape `(*window, inputs, outputs)`."""
        return kernel

    @property
    def _input_range(self) -> tuple[int, int]:
        """Lowest and highest `q - zero_point`."""
        zero_point = self.input_qparams[0].zero_point
        return -128 - zero_point, 127 - zero_point

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        """Float32 `inputs` with float32 `kernel`; the layer's own linear operation."""
        raise NotImplementedError

    def _sum(self, values: Any) -> Any:
        """Integers in float32, zero point 0, to int32 sums of products."""
        return self._accumulate(values, self._centred_kernel(values))

    def _accumulate(self, inputs: Any, kernel: Any) -> Any:
        """int32 sums of products; `kernel` as `_sum_of_products` takes it."""
        # The largest weights there are, while the actual ones are not known yet.
        largest = -128 if self.kernel_zero_point >= 0 else 127
        channels, windows = self._pieces or self._count_pieces(
            np.full(self.kernel.shape, largest, np.int8)
        )
        total = None
        for low, high in chunk_bounds(inputs.shape[-1], channels):
            part = inputs if channels == 1 else inputs[..., low:high]
            weights = kernel if channels == 1 else self._of_inputs(kernel, low, high)
            for mask in _window_masks(kernel.shape[:-2], windows):
                products = self._sum_of_products(part, weights if mask is None else weights * mask)
                added = ops.cast(products, "int32")
                total = added if total is None else total + added
        return total

    def _of_inputs(self, kernel: Any, low: int, high: int) -> Any:
        """The part of a kernel that multiplies input channels `low` to `high`."""
        return kernel[..., low:high, :]

    def _arrange(self, inputs: Any) -> Any:
        """The inputs in the shape that the kernel multiplies."""
        return inputs

    def call(self, inputs: Any) -> Any:
        values = shifted(self._arrange(inputs), self.input_qparams[0], "float32")
        bias = ops.convert_to_tensor(self.bias)
        if not self._adds_in_float32:
            return self._requantize(self._sum(values) + bias)
        sums = self._sum_of_products(values, self._centred_kernel(values))
        return self._requantize(sums + ops.cast(bias, "float32"))

    def _centred_kernel(self, values: Any) -> Any:
        """float32, 0 for a weight of 0; made when the `values` that it multiplies are there."""
        return not_before(values, ops.cast(self.kernel, "float32"))

    def _requantize(self, accumulator: Any) -> Any:
        if self.builtin:
            return self._requantize_in_fixed_point(accumulator)
        target = self.output_qparams
        multiplier = self._multiplier
        if multiplier is None:
            product = ops.convert_to_tensor(self.kernel_scale) * self.input_qparams[0].scale
            multiplier = product / target.scale
        return requantize(
            accumulator, multiplier, target, activation_bounds(self.activation, target)
        )

    def _requantize_in_fixed_point(self, accumulator: Any) -> Any:
        """gemmlowp's products; ties of whole blocks of channels go up, of the rest away from 0."""
        target = self.output_qparams
        # One, while the weights are not known yet.
        pairs = np.array([[1 << 30, 1]]) if self._fixed_point is None else self._fixed_point
        channels = self.bias.shape[0]
        multiplier, exponent = (np.broadcast_to(x, channels).astype(np.int32) for x in pairs.T)
        whole = self._in_blocks(channels)
        parts = [
            fixed_point.scaled(
                accumulator[..., low:high],
                multiplier[low:high],
                exponent[low:high],
                half_up=half_up,
            )
            for low, high, half_up in ((0, whole, True), (whole, channels, False))
            if low < high
        ]
        steps = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
        return saturate(steps + target.zero_point, *clipping_bounds(self.activation, target))

    def _in_blocks(self, channels: int) -> int:
        """How many of the channels the built-in kernel takes in whole blocks."""
        return channels - channels % self.builtin_block


def _window_masks(window: Sequence[int], pieces: int) -> Iterator[Any]:
    """float32 kernels of ones in one piece of the window and zeros elsewhere; None for the whole.

    They have the rank of a kernel: `(*window, 1, 1)`.
    """
    if pieces == 1:
        yield None
        return
    positions = np.arange(math.prod(window)).reshape(*window, 1, 1)
    for low, high in chunk_bounds(positions.size, pieces):
        inside = (low <= positions) & (positions < high)
        yield ops.convert_to_tensor(inside.astype(np.float32))


@register
class QuantizedDense(QuantizedLinear):
    """int8 `Dense`: input `(..., in)`, kernel `(in, units)`, output `(..., units)`.

    Args:
        units: outputs.
        input_size: the input is first cut into rows of this size, so that the output has two axes;
            by default its last axis is what the kernel multiplies, and the others stay.
        kernel_zero_point: of the kernel; what it stands for is `scale * (q - zero_point)`.
    """

    config_keys = ("units", "input_size", "kernel_zero_point", *QuantizedLinear.config_keys)

    def __init__(
        self,
        units: int,
        *,
        input_size: int | None = None,
        kernel_zero_point: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.input_size = input_size
        self.kernel_zero_point = kernel_zero_point

    def build(self, input_shape: Shape) -> None:
        self._build_weights((self.input_size or input_shape[-1], self.units), self.units)

    def _arrange(self, inputs: Any) -> Any:
        return inputs if self.input_size is None else ops.reshape(inputs, (-1, self.input_size))

    def _products_of_scales(self, source: float, scale: np.ndarray) -> np.ndarray:
        if self.per_tensor:
            return (np.float32(source) * scale).astype(np.float64)
        return super()._products_of_scales(source, scale)

    def _centred_kernel(self, values: Any) -> Any:
        return super()._centred_kernel(values) - float(self.kernel_zero_point)

    def _columns(self, kernel: np.ndarray) -> np.ndarray:
        return kernel.astype(np.int32) - self.kernel_zero_point

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        return ops.matmul(inputs, kernel)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        if self.input_size is None:
            return (*input_shape[:-1], self.units)
        if None in input_shape:
            return (None, self.units)
        return (math.prod(input_shape) // self.input_size, self.units)


@register
class QuantizedScale(QuantizedLinear):
    """int8 `y = scale * x + offset` per channel of the last axis; kernel `(channels,)`.

    What remains of a BatchNormalization, Rescaling or Normalization that no neighbour could take.
    """

    def build(self, input_shape: Shape) -> None:
        self._build_weights((input_shape[-1],), input_shape[-1])

    def _columns(self, kernel: np.ndarray) -> np.ndarray:
        return kernel[None]

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        return inputs * kernel


@register
class QuantizedMatmul(QuantizedLayer):
    """int8 batched matrix product `(..., m, k) x (..., k, n)`.

    `y = clip(rne(float32(sum((a - za) * (b - zb))) * (sa * sb / so)) + zo)`. XNNPACK takes only a
    symmetric second operand; with another one the product is requantized in fixed point.

    Args:
        transpose_first, transpose_second: swap the last two axes of an operand first.
    """

    config_keys = ("transpose_first", "transpose_second")

    def __init__(
        self, *, transpose_first: bool = False, transpose_second: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.transpose_first = transpose_first
        self.transpose_second = transpose_second

    def call(self, inputs: Any) -> Any:
        a, b = self.input_qparams
        left, right = (shifted(x, q, "float32") for x, q in zip(inputs, (a, b), strict=True))
        if self.transpose_first:
            left = ops.swapaxes(left, -1, -2)
        if self.transpose_second:
            right = ops.swapaxes(right, -1, -2)
        largest = math.prod(max(127 - q.zero_point, q.zero_point + 128) for q in (a, b))
        accumulator = exact_matmul(left, right, largest)
        target = self.output_qparams
        if b.zero_point == 0:
            multiplier = requantize_multiplier(a.scale, b.scale, target.scale)
            return requantize(accumulator, multiplier, target)
        product = float(np.float32(a.scale) * np.float32(b.scale))
        pair = quantize_multiplier(product / target.scale)
        return saturate(fixed_point.scaled(accumulator, *pair) + target.zero_point)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        first, second = (
            (*shape[:-2], shape[-1], shape[-2]) if transposed else tuple(shape)
            for shape, transposed in zip(
                input_shape, (self.transpose_first, self.transpose_second), strict=True
            )
        )
        return keras.ops.matmul(keras.KerasTensor(first), keras.KerasTensor(second)).shape


def qparams_of_bias(layer: QuantizedLinear) -> np.ndarray:
    """float32 scales of the bias: `input_scale * kernel_scale`, shape `(channels,)`."""
    scale = keras.ops.convert_to_numpy(layer.kernel_scale)
    source: QParams = layer.input_qparams[0]
    return (np.float32(source.scale) * scale).astype(np.float32)
