"""Operators on corresponding elements, and matrix products of two tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer, check_sizes


@register
class SquaredDifference(OperatorLayer):
    """`(a - b) ** 2` of two tensors that broadcast."""

    def call(self, inputs: Any) -> Any:
        first, second = inputs
        return ops.square(ops.subtract(first, second))


@register
class BatchMatmul(OperatorLayer):
    """Product of two stacks of matrices, each transposed or not."""

    config_keys = ("transpose_first", "transpose_second")

    def __init__(
        self, *, transpose_first: bool = False, transpose_second: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.transpose_first = transpose_first
        self.transpose_second = transpose_second

    def call(self, inputs: Any) -> Any:
        first, second = inputs
        if self.transpose_first:
            first = ops.swapaxes(first, -1, -2)
        if self.transpose_second:
            second = ops.swapaxes(second, -1, -2)
        return ops.matmul(first, second)


@register
class FullyConnected(OperatorLayer):
    """`x @ transpose(weights) + bias` with weights that are computed when the model runs.

    Inputs are x `(..., depth)`, weights `(units, depth)` and maybe bias `(units,)`.
    """

    def call(self, inputs: Any) -> Any:
        x, weights, *bias = inputs
        product = ops.matmul(x, ops.transpose(weights))
        return ops.add(product, bias[0]) if bias else product


@register
class L2Normalization(OperatorLayer):
    """`x / max(|x|, 1e-6)` along the last axis."""

    def call(self, inputs: Any) -> Any:
        norm = ops.sqrt(ops.sum(ops.square(inputs), axis=-1, keepdims=True))
        return ops.divide(inputs, ops.maximum(norm, 1e-6))


@register
class LocalResponseNormalization(OperatorLayer):
    """`x * (bias + alpha * sum(x ** 2)) ** -beta`, the sum over `radius` channels on each side.

    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks" (2012).
    """

    config_keys = ("radius", "bias", "alpha", "beta")

    def __init__(
        self, *, radius: int, bias: float, alpha: float, beta: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.radius = int(radius)
        self.bias, self.alpha, self.beta = float(bias), float(alpha), float(beta)

    def call(self, inputs: Any) -> Any:
        channels = inputs.shape[-1]
        distance = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
        window = (distance <= self.radius).astype("float32")
        total = ops.matmul(ops.square(inputs), window)
        scale = ops.power(ops.add(ops.multiply(total, self.alpha), self.bias), -self.beta)
        return ops.multiply(inputs, scale)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        check_sizes(inputs.shape[-1], inputs.shape[-1])
        return self._like(inputs)


@register
class CumulativeSum(OperatorLayer):
    """Running sum along an axis, from the end if `reverse`, without the value itself if
    `exclusive`.
    """

    config_keys = ("axis", "exclusive", "reverse")

    def __init__(
        self, *, axis: int, exclusive: bool = False, reverse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.exclusive, self.reverse = int(axis), exclusive, reverse

    def call(self, inputs: Any) -> Any:
        values = ops.flip(inputs, axis=self.axis) if self.reverse else inputs
        total = ops.cast(ops.cumsum(values, axis=self.axis), inputs.dtype)
        if self.exclusive:
            # Not `total - values`, which would round.
            axis = self.axis % len(inputs.shape)
            length = inputs.shape[axis]
            widths = [(1, 0) if i == axis else (0, 0) for i in range(len(inputs.shape))]
            key = [slice(None)] * len(inputs.shape)
            key[axis] = slice(0, length)
            total = ops.pad(total, widths)[tuple(key)]
        return ops.flip(total, axis=self.axis) if self.reverse else total


@register
class TopK(OperatorLayer):
    """The `k` largest values along the last axis, and their int32 positions."""

    config_keys = ("k",)

    def __init__(self, *, k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = int(k)

    def call(self, inputs: Any) -> Any:
        values, positions = ops.top_k(inputs, self.k)
        # PyTorch gives int64.
        return [values, ops.cast(positions, "int32")]


@register
class ArgExtremum(OperatorLayer):
    """int64 position of the largest value along an axis, or of the smallest."""

    config_keys = ("axis", "smallest")

    def __init__(self, *, axis: int, smallest: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.smallest = int(axis), smallest

    def call(self, inputs: Any) -> Any:
        find = ops.argmin if self.smallest else ops.argmax
        return ops.cast(find(inputs, axis=self.axis), "int64")
