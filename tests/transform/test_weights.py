"""Scales of channels and the layout of kernels."""

from __future__ import annotations

import numpy as np
import pytest

from keras_octet import layers
from keras_octet.qparams import QParams, round_half_away
from keras_octet.recipe import Scheme
from keras_octet.transform.weights import LARGEST_BIAS, quantize_linear

INPUT, OUTPUT = QParams.from_range(0.0, 2.0), QParams.from_range(-4.0, 4.0)
NEAREST = Scheme(weight_rounding="nearest")

# Class, arguments, shape of the kernel, axes of the output channels.
KERNELS = {
    "dense": (layers.QuantizedDense, {"units": 4}, (6, 4), (1,)),
    "convolution": (
        layers.QuantizedConv2D,
        {"filters": 4, "kernel_size": (3, 2)},
        (3, 2, 5, 4),
        (3,),
    ),
    "depthwise": (
        layers.QuantizedDepthwiseConv2D,
        {"kernel_size": (3, 2), "depth_multiplier": 2},
        (3, 2, 5, 2),
        (2, 3),
    ),
    "transposed": (
        layers.QuantizedConv2DTranspose,
        {"filters": 4, "kernel_size": (3, 2)},
        (3, 2, 4, 5),
        (2,),
    ),
    "scale": (layers.QuantizedScale, {}, (5,), (0,)),
}


def make(name: str):
    kind, arguments, shape, axes = KERNELS[name]
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    layer = kind(input_qparams=[INPUT], output_qparams=OUTPUT, **arguments)
    return layer, kernel, axes


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_each_channel_has_its_scale(name, bits, granularity) -> None:
    layer, kernel, axes = make(name)
    highest = 2 ** (bits - 1) - 1
    others = tuple(axis for axis in range(kernel.ndim) if axis not in axes)
    largest = np.abs(kernel).max(axis=others if granularity == "per_channel" else None)
    channels = np.prod([kernel.shape[axis] for axis in axes])
    scheme = Scheme(weight_bits=bits, weight_granularity=granularity, weight_rounding="nearest")
    integers, _, scale = quantize_linear(kernel, np.zeros(channels, np.float32), layer, scheme)
    expected = np.broadcast_to(largest / np.float32(highest), [kernel.shape[a] for a in axes])
    np.testing.assert_array_equal(scale, expected.ravel())
    spread = np.expand_dims(expected, others)
    np.testing.assert_array_equal(integers, round_half_away(kernel / spread))


@pytest.mark.parametrize("name", list(KERNELS))
def test_squant_balances_the_channels_of_every_layout(name) -> None:
    layer, kernel, axes = make(name)
    channels = np.prod([kernel.shape[axis] for axis in axes])
    integers, _, scale = quantize_linear(kernel, np.zeros(channels, np.float32), layer, Scheme())
    others = tuple(axis for axis in range(kernel.ndim) if axis not in axes)
    shape = [kernel.shape[axis] for axis in axes]
    errors = integers - kernel / np.expand_dims(scale.reshape(shape), others)
    assert np.abs(errors.sum(axis=others)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_a_channel_of_zeros(granularity) -> None:
    layer, kernel, _ = make("dense")
    kernel[:, 1] = 0
    scheme = Scheme(weight_granularity=granularity)
    integers, _, scale = quantize_linear(kernel, np.zeros(4, np.float32), layer, scheme)
    assert not integers[:, 1].any()
    assert np.abs(integers).max() == 127
    if granularity == "per_tensor":
        assert scale[1] == np.abs(kernel).max() / np.float32(127)
    assert np.isfinite(scale).all()
    assert (scale > 0).all()


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_a_scale_grows_with_a_bias_that_would_not_fit(granularity) -> None:
    layer, kernel, _ = make("dense")
    kernel *= 1e-9
    bias = np.array([0, 0, 1000.0, 0], np.float32)
    scheme = Scheme(weight_granularity=granularity)
    _, received, scale = quantize_linear(kernel, bias, layer, scheme)
    assert np.abs(received).max() <= LARGEST_BIAS
    np.testing.assert_allclose(received[2] * scale[2] * INPUT.scale, 1000.0, rtol=1e-6)
    assert (scale[0] == scale[2]) == (granularity == "per_tensor")
