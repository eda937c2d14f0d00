"""Layers with int8 weights: an exact integer sum of products, a bias, one requantization.

`y = clip(rne(float32(sum((q - zi) * w) + bias) * (si * sw / so)) + zo)`.

The sum runs in float32 because that is the fast kernel on every backend. It is exact while the
magnitudes of the products of one output add up to at most 2**24; a kernel for which they could
add up to more is cut into pieces whose int32 sums are added.
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
    requantize_multiplier,
)
from keras_octet.layers.base import QuantizedLayer, Shape, register, requantize, shifted
from keras_octet.qparams import QParams


class QuantizedLinear(QuantizedLayer):
    """int8 kernel, int32 bias, per-channel float32 scales; base of the layers below.

    Variables:
        kernel: int8, in the layout of the Keras layer of the same name.
        bias: int32 `(channels,)`, scale `input_scale * kernel_scale`.
        kernel_scale: float32 `(channels,)`.

    Args:
        activation: `None`, `"relu"` or `"relu6"`, fused into the clipping bounds.
    """

    config_keys: tuple[str, ...] = ("activation",)

    def __init__(self, *, activation: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation
        self._pieces: tuple[int, int] | None = None
        self._multiplier: np.ndarray | None = None

    def _build_weights(self, kernel_shape: Sequence[int], channels: int) -> None:
        self.kernel = self._add_integer_weight("kernel", kernel_shape, "int8")
        self.bias = self._add_integer_weight("bias", (channels,), "int32")
        self.kernel_scale = self._add_integer_weight("kernel_scale", (channels,), "float32")

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
        self._pieces = self._count_pieces(ops.convert_to_numpy(self.kernel))
        self._multiplier = requantize_multiplier(
            self.input_qparams[0].scale,
            ops.convert_to_numpy(self.kernel_scale),
            self.output_qparams.scale,
        )

    def _count_pieces(self, kernel: np.ndarray) -> tuple[int, int]:
        """Pieces of the input channels and of the window; see `exact_pieces`."""
        return exact_pieces(kernel, self._largest_input)

    @property
    def _largest_input(self) -> int:
        zero_point = self.input_qparams[0].zero_point
        return max(127 - zero_point, zero_point + 128)

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        """Float32 `inputs` with float32 `kernel`; the layer's own linear operation."""
        raise NotImplementedError

    def _accumulate(self, inputs: Any, kernel: Any) -> Any:
        """int32 sums of products; the last axes of `kernel` are input and output channels."""
        # The largest weights there are, while the actual ones are not known yet.
        channels, windows = self._pieces or self._count_pieces(
            np.full(self.kernel.shape, 127, np.int8)
        )
        total = None
        for low, high in chunk_bounds(inputs.shape[-1], channels):
            part = inputs if channels == 1 else inputs[..., low:high]
            weights = kernel if channels == 1 else kernel[..., low:high, :]
            for mask in _window_masks(kernel.shape[:-2], windows):
                products = self._sum_of_products(part, weights if mask is None else weights * mask)
                added = ops.cast(products, "int32")
                total = added if total is None else total + added
        return total

    def call(self, inputs: Any) -> Any:
        centred = shifted(inputs, self.input_qparams[0], "float32")
        kernel = ops.cast(self.kernel, "float32")
        bias = ops.convert_to_tensor(self.bias)
        accumulator = self._accumulate(centred, kernel) + bias
        return self._requantize(accumulator)

    def _requantize(self, accumulator: Any) -> Any:
        target = self.output_qparams
        multiplier = self._multiplier
        if multiplier is None:
            product = ops.convert_to_tensor(self.kernel_scale) * self.input_qparams[0].scale
            multiplier = product / target.scale
        return requantize(
            accumulator, multiplier, target, activation_bounds(self.activation, target)
        )


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
    """int8 `Dense`: input `(..., in)`, kernel `(in, units)`, output `(..., units)`."""

    config_keys = ("units", "activation")

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Shape) -> None:
        self._build_weights((input_shape[-1], self.units), self.units)

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        return ops.matmul(inputs, kernel)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)


@register
class QuantizedScale(QuantizedLinear):
    """int8 `y = scale * x + offset` per channel of the last axis; kernel `(channels,)`.

    What remains of a BatchNormalization, Rescaling or Normalization that no neighbour could take.
    """

    def build(self, input_shape: Shape) -> None:
        self._build_weights((input_shape[-1],), input_shape[-1])

    def _count_pieces(self, kernel: np.ndarray) -> tuple[int, int]:
        return 1, 1

    def _accumulate(self, inputs: Any, kernel: Any) -> Any:
        return ops.cast(inputs * kernel, "int32")


@register
class QuantizedMatmul(QuantizedLayer):
    """int8 batched matrix product `(..., m, k) x (..., k, n)`.

    The second operand is symmetric (zero point 0), as XNNPACK requires:
    `y = clip(rne(float32(sum((a - za) * b)) * (sa * sb / so)) + zo)`.
    """

    def call(self, inputs: Any) -> Any:
        first, second = inputs
        a, b = self.input_qparams
        left, right = shifted(first, a, "float32"), ops.cast(second, "float32")
        size = right.shape[-2]
        largest = max(127 - a.zero_point, a.zero_point + 128) * 128
        chunks = max(1, -(-size * largest // 2**24))
        accumulator: Any = 0
        for low, high in chunk_bounds(size, chunks):
            part = ops.matmul(left[..., low:high], right[..., low:high, :])
            accumulator = accumulator + ops.cast(part, "int32")
        multiplier = requantize_multiplier(a.scale, b.scale, self.output_qparams.scale)
        return requantize(accumulator, multiplier, self.output_qparams)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return keras.ops.matmul(
            keras.KerasTensor(input_shape[0]), keras.KerasTensor(input_shape[1])
        ).shape


def qparams_of_bias(layer: QuantizedLinear) -> np.ndarray:
    """float32 scales of the bias: `input_scale * kernel_scale`, shape `(channels,)`."""
    scale = keras.ops.convert_to_numpy(layer.kernel_scale)
    source: QParams = layer.input_qparams[0]
    return (np.float32(source.scale) * scale).astype(np.float32)
