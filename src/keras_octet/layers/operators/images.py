"""Resizing with every way of placing samples, and pooling by the root mean square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer, check_sizes


@register
class ResizeImage(OperatorLayer):
    """Images `(b, h, w, c)` in another size.

    Args:
        height, width: of the result.
        interpolation: `"nearest"` or `"bilinear"`.
        align_corners: the centres of the corner pixels stay where they are.
        half_pixel_centers: samples lie at pixel centres; else at their upper left corners.
    """

    config_keys = ("height", "width", "interpolation", "align_corners", "half_pixel_centers")

    def __init__(
        self,
        *,
        height: int,
        width: int,
        interpolation: str,
        align_corners: bool = False,
        half_pixel_centers: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.height, self.width, self.interpolation = int(height), int(width), interpolation
        self.align_corners, self.half_pixel_centers = align_corners, half_pixel_centers

    def call(self, inputs: Any) -> Any:
        resize = self._nearest if self.interpolation == "nearest" else self._bilinear
        return resize(resize(inputs, 1, self.height), 2, self.width)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        batch, *image, channels = inputs.shape
        _require_sizes(image)
        return self._like(inputs, shape=(batch, self.height, self.width, channels))

    def _scale(self, size: int, target: int) -> np.float32:
        if self.align_corners and target > 1:
            return np.float32(size - 1) / np.float32(target - 1)
        return np.float32(size) / np.float32(target)

    def _nearest(self, x: Any, axis: int, target: int) -> Any:
        size = x.shape[axis]
        offset = np.float32(0.5 if self.half_pixel_centers else 0)
        place = (np.arange(target, dtype=np.float32) + offset) * self._scale(size, target)
        # Halves are rounded up.
        place = np.floor(place + np.float32(0.5)) if self.align_corners else np.floor(place)
        return ops.take(x, np.clip(place.astype(np.int32), 0, size - 1), axis=axis)

    def _bilinear(self, x: Any, axis: int, target: int) -> Any:
        size, scale = x.shape[axis], self._scale(x.shape[axis], target)
        place = np.arange(target, dtype=np.float32)
        half = np.float32(0.5)
        place = (place + half) * scale - half if self.half_pixel_centers else place * scale
        below = np.floor(place)
        weight = (place - below).reshape((-1,) + (1,) * (3 - axis))
        low, high = (
            ops.take(x, np.clip(below + step, 0, size - 1).astype(np.int32), axis=axis)
            for step in (0, 1)
        )
        return ops.add(low, ops.multiply(ops.subtract(high, low), weight))


def _require_sizes(image: Sequence[int | None]) -> None:
    if None in image:
        raise ValueError(f"Images of a fixed height and width are needed. Received: {list(image)}")


class _Pooling(OperatorLayer):
    """Windows as in the pooling layers of Keras; padding does not count."""

    config_keys = ("pool_size", "strides", "padding")

    def __init__(self, *, pool_size: Any, strides: Any, padding: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size, self.strides, self.padding = tuple(pool_size), tuple(strides), padding

    def _mean(self, inputs: Any) -> Any:
        """Mean of each window.

        Keras on PyTorch counts the padding where it differs between the two sides, so the sum over
        windows with padding is divided by how many values each has.
        """
        if self.padding == "valid":
            return self._pool(inputs)
        widths, shares = [(0, 0)], []
        for axis in (0, 1):
            length, window, stride = (
                inputs.shape[1 + axis],
                self.pool_size[axis],
                self.strides[axis],
            )
            count = -(-length // stride)
            total = max((count - 1) * stride + window - length, 0)
            widths.append((total // 2, total - total // 2))
            starts = np.arange(count) * stride - total // 2
            inside = np.minimum(starts + window, length) - np.maximum(starts, 0)
            shares.append(np.float32(window) / inside.astype(np.float32))
        mean = self._pool(ops.pad(inputs, (*widths, (0, 0))))
        return ops.multiply(mean, (shares[0][:, None] * shares[1])[None, :, :, None])

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        shape = ops.average_pool(
            self._like(inputs), self.pool_size, self.strides, self.padding, "channels_last"
        ).shape
        if self.padding == "same":
            _require_sizes(inputs.shape[1:3])
            check_sizes(*shape[1:3])
        return self._like(inputs, shape=shape)

    def _pool(self, inputs: Any) -> Any:
        return ops.average_pool(
            inputs, self.pool_size, self.strides, "valid", data_format="channels_last"
        )


@register
class AveragePooling2D(_Pooling):
    """Mean of each window; padding does not count, on PyTorch neither."""

    def call(self, inputs: Any) -> Any:
        return self._mean(inputs)


@register
class L2Pooling2D(_Pooling):
    """Root of the mean of squares in each window; padding does not count."""

    def call(self, inputs: Any) -> Any:
        return ops.sqrt(self._mean(ops.square(inputs)))
