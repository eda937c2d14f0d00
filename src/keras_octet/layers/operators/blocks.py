"""Operators that move blocks of an image into channels or the batch, and the other way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_octet.layers.base import pad_integers, register
from keras_octet.layers.operators.base import OperatorLayer


def _known(size: int | None) -> int:
    return -1 if size is None else size


@register
class SpaceToDepth(OperatorLayer):
    """`(b, h, w, c)` to `(b, h / n, w / n, n * n * c)`."""

    config_keys = ("block_size",)

    def __init__(self, *, block_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size = int(block_size)

    def call(self, inputs: Any) -> Any:
        n = self.block_size
        _, height, width, channels = inputs.shape
        x = ops.reshape(inputs, (-1, height // n, n, width // n, n, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height // n, width // n, n * n * channels))


@register
class DepthToSpace(OperatorLayer):
    """`(b, h, w, n * n * c)` to `(b, h * n, w * n, c)`."""

    config_keys = ("block_size",)

    def __init__(self, *, block_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size = int(block_size)

    def call(self, inputs: Any) -> Any:
        n = self.block_size
        _, height, width, channels = inputs.shape
        x = ops.reshape(inputs, (-1, height, width, n, n, channels // (n * n)))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height * n, width * n, channels // (n * n)))


@register
class SpaceToBatch(OperatorLayer):
    """Pads, then moves each block of the axes after the batch into the batch.

    Args:
        block_shape: size of a block along each of these axes.
        paddings: `(before, after)` for each of them.
        value: that is padded with: 0, or the zero point of a quantized tensor.
    """

    config_keys = ("block_shape", "paddings", "value")

    def __init__(
        self,
        *,
        block_shape: Sequence[int],
        paddings: Sequence[Sequence[int]],
        value: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.value = value
        self.block_shape = tuple(block_shape)
        self.paddings = tuple((int(before), int(after)) for before, after in paddings)

    def call(self, inputs: Any) -> Any:
        count = len(self.block_shape)
        rest = len(inputs.shape) - 1 - count
        widths = ((0, 0), *self.paddings, *((0, 0),) * rest)
        narrow = keras.backend.standardize_dtype(inputs.dtype) in ("int8", "uint8", "int16")
        x = pad_integers(inputs, widths, self.value) if narrow else ops.pad(inputs, widths)
        split = [-1]
        for size, block in zip(x.shape[1 : count + 1], self.block_shape, strict=True):
            split += [size // block, block]
        x = ops.reshape(x, (*split, *x.shape[count + 1 :]))
        blocks = [2 + 2 * i for i in range(count)]
        places = [1 + 2 * i for i in range(count)]
        x = ops.transpose(x, (*blocks, 0, *places, *range(2 * count + 1, len(x.shape))))
        return ops.reshape(x, (-1, *x.shape[count + 1 :]))


@register
class BatchToSpace(OperatorLayer):
    """The inverse of `SpaceToBatch`; the padding is cropped.

    Args:
        block_shape: size of a block along each axis after the batch.
        crops: `(before, after)` for each of them.
    """

    config_keys = ("block_shape", "crops")

    def __init__(
        self, *, block_shape: Sequence[int], crops: Sequence[Sequence[int]], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.block_shape = tuple(block_shape)
        self.crops = tuple((int(before), int(after)) for before, after in crops)

    def call(self, inputs: Any) -> Any:
        count = len(self.block_shape)
        shape = inputs.shape[1:]
        x = ops.reshape(inputs, (*self.block_shape, -1, *shape))
        order = [count]
        for i in range(count):
            order += [count + 1 + i, i]
        x = ops.transpose(x, (*order, *range(2 * count + 1, len(x.shape))))
        merged = [size * block for size, block in zip(shape[:count], self.block_shape, strict=True)]
        x = ops.reshape(x, (-1, *merged, *shape[count:]))
        key = [
            slice(before, size - after)
            for (before, after), size in zip(self.crops, merged, strict=True)
        ]
        return x[(slice(None), *key)]
