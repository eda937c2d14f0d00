"""The mean effect of the weights' errors, and what the padding leaves of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_octet import layers
from keras_octet.qparams import QParams
from keras_octet.recipe import Scheme
from keras_octet.transform.bias_correction import tap_coverage
from keras_octet.transform.weights import quantize_linear

L = keras.layers
INPUT = QParams.from_range(0.0, 2.0)
OUTPUT = QParams.from_range(-4.0, 4.0)
CONV = {"kernel_size": (3, 3)}

# Quantized class, its arguments, the float layer, the shape of its input.
CASES: dict[str, tuple[type, dict[str, Any], Any, tuple[int, ...]]] = {
    "dense": (layers.QuantizedDense, {"units": 5}, L.Dense(5), (7, 6)),
    "same": (
        layers.QuantizedConv2D,
        CONV | {"filters": 5, "padding": "same"},
        L.Conv2D(5, 3, padding="same"),
        (4, 5, 6),
    ),
    "valid, strides": (
        layers.QuantizedConv2D,
        CONV | {"filters": 5, "strides": (2, 2)},
        L.Conv2D(5, 3, strides=2),
        (7, 6, 6),
    ),
    "same, strides": (
        layers.QuantizedConv2D,
        CONV | {"filters": 5, "strides": (2, 2), "padding": "same"},
        L.Conv2D(5, 3, strides=2, padding="same"),
        (6, 7, 6),
    ),
    "same, dilation": (
        layers.QuantizedConv2D,
        CONV | {"filters": 5, "dilation_rate": (2, 2), "padding": "same"},
        L.Conv2D(5, 3, dilation_rate=2, padding="same"),
        (5, 6, 6),
    ),
    "groups": (
        layers.QuantizedConv2D,
        CONV | {"filters": 4, "groups": 2, "padding": "same"},
        L.Conv2D(4, 3, groups=2, padding="same"),
        (5, 6, 6),
    ),
    "depthwise": (
        layers.QuantizedDepthwiseConv2D,
        CONV | {"depth_multiplier": 2, "padding": "same"},
        L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        (5, 6, 6),
    ),
    "transposed": (
        layers.QuantizedConv2DTranspose,
        {"kernel_size": (2, 2), "filters": 5, "strides": (2, 2)},
        L.Conv2DTranspose(5, 2, strides=2),
        (4, 3, 6),
    ),
}


def quantized_layer(kind: type, arguments: dict[str, Any], shape: tuple[int, ...]) -> Any:
    layer = kind(input_qparams=[INPUT], output_qparams=OUTPUT, **arguments)
    layer.build((None, *shape))
    return layer


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("rounding", ["nearest", "squant"])
def test_no_channel_is_shifted_on_average(name, rounding) -> None:
    """With 3 bits, so that the errors are large, on inputs of a mean that differs by channel.

    An image is constant over each sample: then the mean of what a tap meets is the mean of the
    channel, and the correction is exact. (A transposed convolution's is exact without overlap.)
    """
    kind, arguments, float_layer, shape = CASES[name]
    rng = np.random.default_rng(0)
    x = np.broadcast_to(
        rng.uniform(0, 2, (50, *[1] * (len(shape) - 1), shape[-1])), (50, *shape)
    ).astype(np.float32)
    exact = keras.ops.convert_to_numpy(float_layer(x))
    kernel = rng.normal(size=tuple(float_layer.kernel.shape)).astype(np.float32)
    float_layer.kernel.assign(kernel)
    exact = keras.ops.convert_to_numpy(float_layer(x))
    layer = quantized_layer(kind, arguments, shape)
    channels = exact.shape[-1]
    mean = x.mean(axis=tuple(range(x.ndim - 1)))
    shifts = []
    for correction in (False, True):
        scheme = Scheme(weight_bits=3, weight_rounding=rounding, bias_correction=correction)
        integers, bias, scale = quantize_linear(
            kernel,
            np.zeros(channels, np.float32),
            layer,
            scheme,
            input_mean=mean,
            input_shape=(None, *shape),
        )
        spread = scale[:, None] if kind is layers.QuantizedConv2DTranspose else scale
        if kind is layers.QuantizedDepthwiseConv2D:
            spread = scale.reshape(kernel.shape[2:])
        float_layer.kernel.assign(integers * spread)
        received = keras.ops.convert_to_numpy(float_layer(x)) + bias * scale * INPUT.scale
        shifts.append(np.abs((received - exact).mean(axis=tuple(range(exact.ndim - 1)))))
    np.testing.assert_array_less(shifts[1], 2e-2 * np.abs(kernel).max())
    assert shifts[1].max() < 0.2 * shifts[0].max()


def test_coverage_of_taps() -> None:
    kind, arguments, _, shape = CASES["same"]
    coverage = tap_coverage(quantized_layer(kind, arguments, shape), (None, *shape))
    rows, columns = [3 / 4, 1, 3 / 4], [4 / 5, 1, 4 / 5]
    np.testing.assert_allclose(coverage, np.outer(rows, columns).ravel())


def test_unknown_sizes_count_every_tap() -> None:
    kind, arguments, _, shape = CASES["same"]
    layer = quantized_layer(kind, arguments, shape)
    np.testing.assert_array_equal(tap_coverage(layer, (None, None, None, 6)), np.ones(9))


def test_without_means_the_bias_stays() -> None:
    kind, arguments, _, shape = CASES["dense"]
    layer = quantized_layer(kind, arguments, shape)
    bias = np.arange(5, dtype=np.float32)
    kernel = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    _, received, scale = quantize_linear(kernel, bias, layer, Scheme())
    np.testing.assert_array_equal(received, np.rint(bias / (np.float32(INPUT.scale) * scale)))
