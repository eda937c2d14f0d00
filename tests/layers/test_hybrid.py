"""Layers on float activations with integer weights: every bit is that of LiteRT."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_octet import layers
from keras_octet.engines.litert import LiteRTProgram
from keras_octet.layers.dynamic import zero_point_in_float64
from keras_octet.layers.rounding import fused_multiply_add
from keras_octet.tflite.write import to_tflite
from tests.litert import keras_outputs
from tests.strategies import GAPS

f32 = np.float32


def values(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Float32 data of one of the kinds that make rounding hard."""
    if kind == "symmetric":  # the zero point is a tie
        x = rng.uniform(-1, 1, shape)
        x.reshape(shape[0], -1)[:, :2] = -1, 1
        return (x * rng.uniform(0.1, 20)).astype(f32)
    if kind == "integers":  # and so are the values
        x = rng.integers(-255, 256, shape) / 2
        return (x * 2.0 ** rng.integers(-6, 6)).astype(f32)
    x = rng.normal(0, 10 ** rng.uniform(-2, 2), shape)
    if kind == "empty":
        x[0] = 0
    if kind == "positive":
        x = np.abs(x)
    return x.astype(f32)


KINDS = ("normal", "symmetric", "integers", "empty", "positive")


def fill(layer: Any, rng: np.random.Generator) -> None:
    highest = 127 if layer.kernel_dtype == "int8" else 7
    kernel = rng.integers(-highest, highest + 1, layer.kernel.shape)
    bias = rng.normal(0, 1, layer.bias.shape) if getattr(layer, "use_bias", True) else 0.0
    layer.assign_weights(
        kernel.astype(np.int8),
        np.broadcast_to(bias, layer.bias.shape).astype(f32),
        rng.uniform(0.001, 0.02, layer.kernel_scale.shape).astype(f32),
    )


def check(layer: Any, seed: int, *shape: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    fill(layer, rng)
    program = LiteRTProgram(to_tflite(model))
    for kind in KINDS:
        x = values(rng, (3, *shape), kind)
        (expected,), (received,) = program([x]), keras_outputs(model, x)
        assert received.dtype == np.float32
        np.testing.assert_array_equal(received, expected, err_msg=kind)


seeds = pytest.mark.parametrize("seed", range(4))


@seeds
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("kernel_dtype", ["int8", "int4"])
@pytest.mark.parametrize("per_tensor", [True, False])
def test_dense(seed: int, activation: str | None, kernel_dtype: str, per_tensor: bool) -> None:
    layer = layers.HybridDense(
        9, activation=activation, kernel_dtype=kernel_dtype, per_tensor=per_tensor
    )
    check(layer, seed, *([5] if seed % 2 else []), 20 + 2 * seed)


@seeds
@pytest.mark.parametrize("asymmetric", [True, False])
def test_dense_of_an_odd_number_of_int4(seed: int, asymmetric: bool) -> None:
    layer = layers.HybridDense(
        5, kernel_dtype="int4", per_tensor=seed % 2 == 0, asymmetric_inputs=asymmetric
    )
    check(layer, seed, 9 + 2 * seed)


def test_dense_beyond_what_float32_adds_exactly() -> None:
    check(layers.HybridDense(3), 0, 3000)


@seeds
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("kernel_dtype", ["int8", "int4"])
def test_conv2d(seed: int, padding: str, kernel_size: int, kernel_dtype: str) -> None:
    groups = 2 if seed == 3 else 1
    layer = layers.HybridConv2D(
        filters=6,
        kernel_size=(kernel_size, kernel_size),
        strides=(2, 2) if seed == 1 else (1, 1),
        dilation_rate=(2, 2) if seed == 2 else (1, 1),
        padding=padding,
        groups=groups,
        activation="relu" if seed == 2 else None,
        kernel_dtype=kernel_dtype,
        per_tensor=groups == 1 and seed % 2 == 1,
    )
    check(layer, seed, 6, 7, 4)


@seeds
@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_depthwise_conv2d(seed: int, channels: int) -> None:
    layer = layers.HybridDepthwiseConv2D(
        kernel_size=(3, 2),
        strides=(2, 2) if seed == 1 else (1, 1),
        dilation_rate=(2, 2) if seed == 2 else (1, 1),
        padding="same" if seed % 2 else "valid",
        depth_multiplier=2 if seed == 3 else 1,
        activation="relu6" if seed == 2 else None,
        per_tensor=channels == 1 and seed != 3,
    )
    check(layer, seed, 6, 7, channels)


@seeds
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv2d_transpose(seed: int, padding: str) -> None:
    layer = layers.HybridConv2DTranspose(
        filters=5,
        kernel_size=(3, 2),
        strides=(2, 2) if seed % 2 else (1, 1),
        padding=padding,
        use_bias=seed < 2,
        per_tensor=seed == 3,
    )
    check(layer, seed, 4, 5, 3)


@pytest.mark.parametrize("window", GAPS)
def test_conv2d_transpose_with_gaps(window: dict[str, Any]) -> None:
    check(layers.HybridConv2DTranspose(**window), 0, 5, 4, 6)


@seeds
@pytest.mark.parametrize("batched", [True, False])
def test_matmul(seed: int, batched: bool) -> None:
    layer = layers.HybridMatmul(
        kernel_shape=(3, 8, 5) if batched else (8, 5),
        transposed=bool(seed % 2),
        per_tensor=True,
    )
    rng = np.random.default_rng(seed)
    inputs = keras.Input((4, 8), batch_size=3)
    model = keras.Model(inputs, layer(inputs))
    fill(layer, rng)
    layer.bias.assign(np.zeros(5))
    program = LiteRTProgram(to_tflite(model))
    for kind in KINDS:
        x = values(rng, (3, 4, 8), kind)
        (expected,), (received,) = program([x]), keras_outputs(model, x)
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_embedding(per_row: bool, dtype: str) -> None:
    rng = np.random.default_rng(0)
    layer = layers.HybridEmbedding(table_shape=(10, 6), table_dtype=dtype, per_row=per_row)
    inputs = keras.Input((), batch_size=7, dtype="int32")
    model = keras.Model(inputs, layer(inputs))
    low, high = (-127, 128) if dtype == "int8" else (-8, 8)
    layer.table.assign(rng.integers(low, high, (10, 6)))
    layer.table_scale.assign(rng.uniform(0.01, 1, layer.table_scale.shape))
    ids = rng.integers(0, 10, 7).astype(np.int32)
    (expected,) = LiteRTProgram(to_tflite(model))([ids])
    np.testing.assert_array_equal(keras_outputs(model, ids)[0], expected)


class Function(keras.layers.Layer):
    """A function of a list of tensors as a layer, so that a model compiles it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(*inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]


def compiled(function: Any, *arrays: np.ndarray) -> np.ndarray:
    inputs = [keras.Input(x.shape, dtype=x.dtype.name) for x in arrays]
    model = keras.Model(inputs, Function(function)(inputs))
    return keras.tree.flatten(model.predict_on_batch([x[None] for x in arrays]))[0][0]


def float64_zero_point(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """As the kernels write it."""
    scale = (high - low).astype(np.float64) / 255
    from_low, from_high = -128 - low / scale, 127 - high / scale
    nearer = 128 + np.abs(low / scale) < 127 + np.abs(high / scale)
    chosen = np.clip(np.where(nearer, from_low, from_high), -128, 127)
    return np.copysign(np.floor(np.abs(chosen) + 0.5), chosen)


def test_zero_point_of_every_tie() -> None:
    rng = np.random.default_rng(0)
    k, j = rng.integers(0, 255, 100_000), rng.integers(1, 2**14, 100_000)
    step = (2.0 ** rng.integers(-20, 10, k.size)).astype(f32)
    first, second = ((2 * k + 1) * j).astype(f32) * step, ((509 - 2 * k) * j).astype(f32) * step
    low = np.concatenate([-second, -first, -rng.uniform(0, 1, k.size).astype(f32)])
    high = np.concatenate([first, second, rng.uniform(0, 1, k.size).astype(f32)])
    received = compiled(lambda a, b: zero_point_in_float64(a, b, b - a), low, high)
    np.testing.assert_array_equal(received, float64_zero_point(low, high))


def test_fused_multiply_add() -> None:
    rng = np.random.default_rng(0)
    count = 100_000
    a, b = (rng.normal(0, 1, count).astype(f32) for _ in range(2))
    near = -(a * b) * (1 + rng.integers(-3, 4, count) * f32(2.0**-23))
    c = np.where(rng.random(count) < 0.5, near, rng.normal(0, 1, count)).astype(f32)
    # Odd products of 24 bits, and sums that end half a step from a float32.
    odd = 2 * rng.integers(2**11, 2**12, (2, count)) + 1
    a, b = np.concatenate([a, odd[0]]).astype(f32), np.concatenate([b, odd[1]]).astype(f32)
    large = rng.integers(-(2**24), 2**24, count) * 2.0 ** rng.integers(1, 4, count)
    c = np.concatenate([c, large]).astype(f32)
    exact = np.array(
        [
            round_once(float(x) * float(y), float(z))
            for x, y, z in zip(a[::50], b[::50], c[::50], strict=True)
        ]
    )
    received = compiled(fused_multiply_add, a, b, c)
    np.testing.assert_array_equal(received[::50], exact)
    assert (a[::50] * b[::50] + c[::50] != exact).any()


def round_once(product: float, addend: float) -> np.float32:
    """`float32(product + addend)` from exact fractions; the product of two float32 is exact."""
    from fractions import Fraction

    exact = Fraction(product) + Fraction(addend)
    guess = f32(float(exact))
    candidates = [np.nextafter(guess, f32(-np.inf)), guess, np.nextafter(guess, f32(np.inf))]
    # Of two equally near the one with an even last bit.
    return min(
        candidates, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(np.int32)) & 1)
    )
