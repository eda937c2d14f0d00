"""Arithmetic of per-channel affine maps and the linear layers that absorb them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_octet.capture.canonical import make_layer, to_numpy, with_weights
from keras_octet.capture.origin import copy_origin
from keras_octet.windows import same_padding


@dataclass(frozen=True)
class Affine:
    """`scale * x + offset` over the last axis; float64 vectors of one length, 1 or channels."""

    scale: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, layer: keras.layers.Rescaling) -> Affine:
        """The map of a Rescaling layer."""
        return cls.make(layer.scale, layer.offset)

    @classmethod
    def make(cls, scale: Any, offset: Any) -> Affine:
        """Broadcast scale and offset to one length."""
        arrays = np.broadcast_arrays(
            np.asarray(scale, np.float64).reshape(-1), np.asarray(offset, np.float64).reshape(-1)
        )
        return cls(arrays[0], arrays[1])

    @property
    def has_offset(self) -> bool:
        return bool(np.any(self.offset))

    @property
    def is_increasing(self) -> bool:
        return bool(np.all(self.scale > 0))

    @property
    def is_uniform(self) -> bool:
        """Whether all channels have the same map."""
        same_scale = np.all(self.scale == self.scale[0])
        return bool(same_scale and np.all(self.offset == self.offset[0]))

    @property
    def is_identity(self) -> bool:
        return bool(np.all(self.scale == 1) and not self.has_offset)

    def after(self, first: Affine) -> Affine:
        """The map `self(first(x))`."""
        return Affine.make(self.scale * first.scale, self.scale * first.offset + self.offset)

    def tiled(self, size: int) -> Affine | None:
        """The same map for a last axis of `size` that holds the channels again and again."""
        if self.scale.size == 1 or self.scale.size == size:
            return self
        if self.is_uniform:
            return Affine(self.scale[:1], self.offset[:1])
        if size % self.scale.size:
            return None
        times = size // self.scale.size
        return Affine(np.tile(self.scale, times), np.tile(self.offset, times))

    def part(self, start: int, stop: int) -> Affine:
        """The map of the channels from `start` to `stop`."""
        if self.scale.size == 1:
            return self
        return Affine(self.scale[start:stop], self.offset[start:stop])

    def layer(self, like: keras.layers.Rescaling, suffix: str = "") -> keras.layers.Rescaling:
        """A Rescaling layer that computes the map, named as `like` is and of its origin."""

        def setting(values: np.ndarray) -> float | np.ndarray:
            if np.all(values == values[0]):
                return float(values[0])
            return values.astype(np.float32)

        made = make_layer(
            keras.layers.Rescaling,
            like.name + suffix,
            scale=setting(self.scale),
            offset=setting(self.offset),
        )
        return copy_origin(like, made)


def fold_after(layer: Any, input_shape: Any, affine: Affine) -> Any:
    """A linear layer that computes `affine(layer(x))`: always exact.

    `W' = W * scale` along the output channels, `b' = b * scale + offset`.
    """
    kernel = to_numpy(layer.kernel).astype(np.float64)
    bias = to_numpy(layer.bias).astype(np.float64) * affine.scale + affine.offset
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        scale = np.broadcast_to(affine.scale, bias.shape).reshape(kernel.shape[2:])
    elif isinstance(layer, keras.layers.Conv2DTranspose):
        scale = affine.scale[:, None]
    else:
        scale = affine.scale
    return with_weights(layer, input_shape, kernel=kernel * scale, bias=bias)


def can_fold_before(layer: Any, input_shape: Any, affine: Affine) -> bool:
    """Whether `layer(affine(x))` is a layer of the same kind: padding must not see the offset."""
    if isinstance(layer, keras.layers.Dense):
        return True
    if not affine.has_offset:
        return True
    return not isinstance(layer, keras.layers.Conv2DTranspose) and not _pads(layer, input_shape)


def fold_before(layer: Any, input_shape: Any, affine: Affine) -> Any:
    """A linear layer that computes `layer(affine(x))`, given that `can_fold_before`.

    `W' = W * scale` along the input channels, `b' = b + sum(W * offset)`.
    """
    kernel = to_numpy(layer.kernel).astype(np.float64)
    bias = to_numpy(layer.bias).astype(np.float64)
    channels = input_shape[-1]
    scale = np.broadcast_to(affine.scale, (channels,))
    offset = np.broadcast_to(affine.offset, (channels,))
    if isinstance(layer, keras.layers.Dense):
        bias = bias + offset @ kernel
        kernel = kernel * scale[:, None]
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        bias = bias + (kernel * offset[:, None]).sum(axis=(0, 1)).reshape(-1)
        kernel = kernel * scale[:, None]
    elif isinstance(layer, keras.layers.Conv2DTranspose):
        kernel = kernel * scale
    else:
        bias = bias + (kernel * _by_group(offset, layer)).sum(axis=(0, 1, 2))
        kernel = kernel * _by_group(scale, layer)
    return with_weights(layer, input_shape, kernel=kernel, bias=bias)


def _by_group(vector: np.ndarray, layer: keras.layers.Conv2D) -> np.ndarray:
    """Values of the input channels as (channels / groups, filters)."""
    groups = vector.reshape(layer.groups, -1)
    return np.repeat(groups, layer.filters // layer.groups, axis=0).T


def _pads(layer: Any, input_shape: Any) -> bool:
    if layer.padding == "valid":
        return False
    settings = zip(
        input_shape[1:3], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    )
    return any(same_padding(*setting) != (0, 0) for setting in settings)
