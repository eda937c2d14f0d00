"""16x8 layers: every bit is that of LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_octet import layers
from keras_octet.gemmlowp import quantize_multiplier
from keras_octet.layers import wide
from keras_octet.qparams import QParams
from tests.layers.test_hybrid import compiled
from tests.litert import assert_same_bits
from tests.strategies import GAPS

ALL = np.arange(-(2**15), 2**15).astype(np.int16)
seeds = pytest.mark.parametrize("seed", range(3))


def int16(scale: float) -> QParams:
    return QParams(scale=scale, zero_point=0, dtype="int16")


def scale_of(rng: np.random.Generator, low: float = -5, high: float = -3) -> float:
    return float(10 ** rng.uniform(low, high))


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """int16 over the whole range, the ends included."""
    values = rng.integers(-(2**15), 2**15, shape)
    values.reshape(-1)[:2] = -(2**15), 2**15 - 1
    return values.astype(np.int16)


def model_of(layer: Any, *shapes: tuple[int, ...]) -> keras.Model:
    inputs = [keras.Input(shape, dtype="int16") for shape in shapes]
    return keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))


def check_linear(make: Callable[..., Any], seed: int, *shape: int, bias_dtype: str) -> None:
    """A layer whose sums need more than 32 bits, and whose outputs fill and overflow 16."""
    rng = np.random.default_rng(seed)
    source = int16(scale_of(rng))
    layer = make(input_qparams=[source], output_qparams=int16(scale_of(rng)), bias_dtype=bias_dtype)
    model = model_of(layer, shape)
    kernel = rng.integers(-127, 128, layer.kernel.shape).astype(np.int8)
    largest = 2**22 if bias_dtype == "int32" else 2**35
    bias = wide.split(rng.integers(-largest, largest, layer.bias.shape[1]))
    scale = rng.uniform(0.001, 0.02, layer.kernel_scale.shape).astype(np.float32)
    if seed == 2:  # exact ties
        layer.input_qparams = (int16(2.0**-12),)
        scale = (2.0 ** -rng.integers(5, 9, scale.shape)).astype(np.float32)
    layer.assign_weights(kernel, bias, scale)
    spread = 2.0**29 if bias_dtype == "int32" else 2.0**36
    real = layer.input_qparams[0].scale * float(scale.mean()) * spread / 2**15
    layer.output_qparams = int16(2.0 ** np.round(np.log2(real)) if seed == 2 else real)
    layer.prepare()
    assert_same_bits(model, integers(rng, 2, *shape))


both_widths = pytest.mark.parametrize("bias_dtype", ["int64", "int32"])
activations = pytest.mark.parametrize("activation", [None, "relu", "relu6"])


@seeds
@both_widths
@activations
def test_dense(seed: int, bias_dtype: str, activation: str | None) -> None:
    def make(**kwargs: Any) -> Any:
        return layers.Int16Dense(units=9, activation=activation, per_tensor=seed == 1, **kwargs)

    check_linear(make, seed, *([3] if seed else []), 40 + seed, bias_dtype=bias_dtype)


def test_dense_beyond_what_float32_adds_exactly() -> None:
    check_linear(lambda **kw: layers.Int16Dense(units=3, **kw), 0, 2000, bias_dtype="int64")


@seeds
@both_widths
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv2d(seed: int, bias_dtype: str, padding: str) -> None:
    def make(**kwargs: Any) -> Any:
        return layers.Int16Conv2D(
            filters=11,
            kernel_size=(3, 2),
            strides=(2, 2) if seed else (1, 1),
            padding=padding,
            activation="relu" if seed == 1 else None,
            per_tensor=seed == 1,
            **kwargs,
        )

    check_linear(make, seed, 6, 5, 4, bias_dtype=bias_dtype)


@seeds
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_depthwise_conv2d(seed: int, padding: str) -> None:
    def make(**kwargs: Any) -> Any:
        return layers.Int16DepthwiseConv2D(
            kernel_size=(3, 3), padding=padding, depth_multiplier=1 + seed % 2, **kwargs
        )

    check_linear(make, seed, 6, 5, 5, bias_dtype="int64")


@seeds
@both_widths
def test_conv2d_transpose(seed: int, bias_dtype: str) -> None:
    def make(**kwargs: Any) -> Any:
        return layers.Int16Conv2DTranspose(
            filters=11, kernel_size=(3, 3), strides=(2, 2), padding="same", **kwargs
        )

    check_linear(make, seed, 4, 3, 6, bias_dtype=bias_dtype)


@pytest.mark.parametrize("window", GAPS)
def test_conv2d_transpose_with_gaps(window: dict[str, Any]) -> None:
    def make(**kwargs: Any) -> Any:
        return layers.Int16Conv2DTranspose(**window, **kwargs)

    check_linear(make, 0, 5, 4, 6, bias_dtype="int64")


@seeds
def test_matmul(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = int16(scale_of(rng)), int16(scale_of(rng))
    layer = layers.Int16Matmul(
        transpose_first=seed == 1,
        transpose_second=seed > 0,
        input_qparams=[a, b],
        output_qparams=int16(a.scale * b.scale * 2**20),
    )
    first = (300, 4) if seed == 1 else (4, 300)
    second = (5, 300) if seed else (300, 5)
    model = model_of(layer, first, second)
    assert_same_bits(model, integers(rng, 2, *first), integers(rng, 2, *second))


@seeds
@activations
@pytest.mark.parametrize("name", ["Add", "Subtract", "Multiply"])
def test_binary(seed: int, activation: str | None, name: str) -> None:
    rng = np.random.default_rng(seed)
    a, b = int16(scale_of(rng)), int16(2.0**-12 if seed == 2 else scale_of(rng))
    target = a.scale * b.scale * 2**14 if name == "Multiply" else max(a.scale, b.scale) * 1.3
    layer = getattr(layers, f"Int16{name}")(
        activation=activation, input_qparams=[a, b], output_qparams=int16(target)
    )
    # Many values, because some roundings differ once in 100,000; a multiple of 16 and 5 more.
    second = (1, 3) if seed == 1 else (20_007, 3)
    model = model_of(layer, (20_007, 3), second)
    for batch in (1, 3):
        first = integers(rng, batch, 20_007, 3)
        assert_same_bits(model, first, integers(rng, batch, *second))


UNARY: dict[str, Callable[..., Any]] = {
    "relu": layers.Int16ReLU,
    "relu6": lambda **kwargs: layers.Int16ReLU(max_value=6.0, **kwargs),
    "leaky_relu": lambda **kwargs: layers.Int16LeakyReLU(negative_slope=0.3, **kwargs),
    "sigmoid": lambda **kwargs: layers.Int16Activation(activation="sigmoid", **kwargs),
    "tanh": lambda **kwargs: layers.Int16Activation(activation="tanh", **kwargs),
    "gelu": lambda **kwargs: layers.Int16Activation(activation="gelu", **kwargs),
    "gelu_tanh": lambda **kwargs: layers.Int16Activation(activation="gelu_tanh", **kwargs),
    **{
        name: lambda name=name, **kwargs: layers.Int16Function(function=name, **kwargs)
        for name in ("abs", "exp", "log", "negative", "rsqrt")
    },
    "requantize": layers.Int16Requantize,
}


@seeds
@pytest.mark.parametrize("name", UNARY)
def test_every_value(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    source = int16(2.0**-14 if seed == 2 else scale_of(rng, -5.5, -3))
    target = int16(source.scale * 2.0**-3 if seed == 2 else source.scale * rng.uniform(0.2, 3))
    if name in ("sigmoid", "tanh"):
        target = int16(2.0**-15)
    if name == "abs" and seed == 1:
        target = source
    layer = UNARY[name](input_qparams=[source], output_qparams=target)
    # LiteRT takes no root of a negative number.
    assert_same_bits(
        model_of(layer, (2**16,)), np.maximum(ALL, 0 if name == "rsqrt" else -(2**15))[None]
    )


def test_every_value_between_8_and_16_bits() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        narrow = QParams(scale=scale_of(rng, -3, -1), zero_point=int(rng.integers(-128, 128)))
        wider = int16(scale_of(rng))
        down = layers.Int16Requantize(input_qparams=[wider], output_qparams=narrow)
        assert_same_bits(model_of(down, (2**16,)), ALL[None])
        inputs = keras.Input((256,), dtype="int8")
        up = layers.Int16Requantize(input_qparams=[narrow], output_qparams=wider)
        assert_same_bits(keras.Model(inputs, up(inputs)), np.arange(-128, 128, dtype=np.int8)[None])


@pytest.mark.parametrize(
    ("name", "scale"), [("sigmoid", 2.0**-12), ("tanh", 2.0**-11), ("tanh", 2.0**-12)]
)
def test_scales_in_fixed_point(name: str, scale: float) -> None:
    layer = layers.Int16Activation(
        activation=name, input_qparams=[int16(scale)], output_qparams=int16(2.0**-15)
    )
    assert_same_bits(model_of(layer, (2**16,)), ALL[None])
    assert_same_bits(
        model_of(layer, (7,)), np.random.default_rng(0).permutation(ALL)[:700].reshape(-1, 7)
    )


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_gelu_at_many_scales(activation: str) -> None:
    """The C library's float functions decide an entry of the table now and then."""
    rng = np.random.default_rng(0)
    inputs = [keras.Input((2**16,), dtype="int16") for _ in range(100)]
    outputs = [
        layers.Int16Activation(
            activation=activation,
            input_qparams=[int16(scale_of(rng, -4.7, -3))],
            output_qparams=int16(scale_of(rng, -4.7, -3)),
        )(x)
        for x in inputs
    ]
    assert_same_bits(keras.Model(inputs, outputs), *[ALL[None]] * len(inputs))


def test_functions_without_exact_form() -> None:
    with pytest.raises(ValueError, match="Received: activation='hard_silu'"):
        layers.Int16Activation(activation="hard_silu")
    with pytest.raises(ValueError, match="Received: 'sqrt'"):
        layers.Int16Function(function="sqrt")


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    "placing",
    [{}, {"align_corners": True, "half_pixel_centers": False}, {"half_pixel_centers": False}],
)
@pytest.mark.parametrize("size", [(9, 4), (10, 14), (1, 3)])
def test_resizing(interpolation: str, placing: dict[str, bool], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    qparams = int16(scale_of(rng))
    layer = layers.Int16Resizing(
        height=size[0],
        width=size[1],
        interpolation=interpolation,
        input_qparams=[qparams],
        output_qparams=qparams,
        **placing,
    )
    assert_same_bits(model_of(layer, (5, 7, 3)), integers(rng, 4, 5, 7, 3))


@seeds
@pytest.mark.parametrize("axis", [(1, 2), (3,), (2, 3)])
def test_sum(seed: int, axis: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    source = int16(scale_of(rng))
    layer = layers.Int16Sum(
        axis=axis,
        keepdims=bool(seed % 2),
        input_qparams=[source],
        output_qparams=int16(source.scale * (0.5, 8.0, 2.7)[seed]),
    )
    assert_same_bits(model_of(layer, (7, 5, 6)), integers(rng, 100, 7, 5, 6))


@seeds
@pytest.mark.parametrize("length", [1, 7, 300])
def test_softmax(seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    layer = layers.Int16Softmax(
        beta=1.0 if seed else 0.7,
        input_qparams=[int16(scale_of(rng))],
        output_qparams=int16(2.0**-15),
    )
    x = integers(rng, 20, length + 1)
    x[1] = 5
    assert_same_bits(model_of(layer, (length + 1,)), x)


@seeds
@pytest.mark.parametrize("axis", [(1, 2), (3,), (2, 3)])
def test_mean(seed: int, axis: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    source = int16(scale_of(rng))
    layer = layers.Int16Mean(
        axis=axis,
        keepdims=bool(seed % 2),
        input_qparams=[source],
        output_qparams=int16(source.scale * rng.uniform(0.3, 2)),
    )
    assert_same_bits(model_of(layer, (7, 5, 6)), integers(rng, 3, 7, 5, 6))


@seeds
@activations
@pytest.mark.parametrize("name", ["Max", "Average"])
def test_pooling(seed: int, activation: str | None, name: str) -> None:
    rng = np.random.default_rng(seed)
    qparams = int16(scale_of(rng, -4, -3))
    layer = getattr(layers, f"Int16{name}Pooling2D")(
        pool_size=(3, 2),
        strides=(2, 1) if seed else (1, 1),
        padding="same" if seed == 2 else "valid",
        activation=activation,
        input_qparams=[qparams],
        output_qparams=qparams,
    )
    assert_same_bits(model_of(layer, (7, 5, 4)), integers(rng, 3, 7, 5, 4))


@pytest.mark.parametrize("scale", [2.0**-13, 1e-3, 7.3e-5])
@pytest.mark.parametrize("count", [4096, 4101])
def test_quantize_and_dequantize(scale: float, count: int) -> None:
    qparams = int16(scale)
    rng = np.random.default_rng(0)
    ties = rng.integers(-70_000, 70_000, (2, count)) * np.float32(scale) / np.float32(2)
    ties[0, :6] = np.nan, np.inf, -np.inf, 3e9 * scale, -3e9 * scale, 2e9 * scale
    ties[1, -4:] = np.nan, np.inf, 3e9 * scale, -3e9 * scale
    inputs = keras.Input((count,))
    quantized = layers.Int16Quantize(output_qparams=qparams)(inputs)
    real = layers.Dequantize(input_qparams=[qparams])(quantized)
    assert_same_bits(keras.Model(inputs, [quantized, real]), ties.astype(np.float32))


def wide_values(rng: np.random.Generator, ratio: np.ndarray) -> np.ndarray:
    """int64 values that `ratio` brings to 17 bits, half of them to ties in real numbers."""
    steps = np.round(rng.uniform(-33000, 33000, (3000, ratio.size)))
    steps[::2] += 0.5
    return np.clip(np.round(steps / ratio), -(2.0**46), 2.0**46).astype(np.int64)


RATIOS = {
    "random": lambda rng: 10.0 ** rng.uniform(-9, 0, 8),
    "powers of two": lambda rng: 2.0 ** -rng.integers(0, 30, 8).astype(np.float64),
    # Products with these are ties that float64 cannot tell from their neighbours.
    "fractions": lambda rng: np.arange(3, 11)[::-1] ** -1.0 * 2.0 ** -rng.integers(0, 20, 8),
}


@pytest.mark.parametrize("name", RATIOS)
def test_scaled_in_float64(name: str) -> None:
    rng = np.random.default_rng(0)
    ratio = RATIOS[name](rng)
    values = wide_values(rng, ratio)
    received = compiled(lambda *pair: wide.scaled_in_float64(pair, ratio), *wide.split(values))
    product = values.astype(np.float64) * ratio
    expected = np.copysign(np.floor(np.abs(product) + 0.5), product)
    np.testing.assert_array_equal(
        np.clip(received, -(2**15), 2**15), np.clip(expected, -(2**15), 2**15)
    )


@pytest.mark.parametrize("name", RATIOS)
def test_scaled_half_up(name: str) -> None:
    rng = np.random.default_rng(0)
    ratio = RATIOS[name](rng)
    values = wide_values(rng, ratio)
    received = compiled(lambda *pair: wide.scaled_half_up(pair, ratio), *wide.split(values))
    for column, part in enumerate(ratio):
        multiplier, exponent = quantize_multiplier(part)
        factor = min((multiplier + 2**15) >> 16, 2**15 - 1)
        expected = [
            (int(value) * factor + (1 << 14 - exponent)) >> (15 - exponent)
            for value in values[:, column]
        ]
        np.testing.assert_array_equal(received[:, column], expected)


def test_wide_integers_survive_splitting() -> None:
    values = np.array([0, 1, -1, 2**16, -(2**16), 2**46 + 5, -(2**46) - 5])
    np.testing.assert_array_equal(wide.join(wide.split(values)), values)
