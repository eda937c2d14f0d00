"""Kernels are cut where float32 could not add up their products, and not elsewhere."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_octet import layers
from keras_octet.arithmetic import exact_pieces, fits_float32
from keras_octet.engines.litert import LiteRTProgram
from keras_octet.layers import linear, wide
from keras_octet.layers.ordering import not_before
from keras_octet.qparams import QParams
from keras_octet.tflite.write import to_tflite
from tests.litert import assert_same_bits, model_of

UNSIGNED, SIGNED = (0, 255), (-128, 127)
# So many products of 255 and 127 stay within 2**24.
MOST_OF_ONE_SIGN, REMAINDER = divmod(2**24, 255 * 127)
MOST_OF_BOTH_SIGNS = 2 * MOST_OF_ONE_SIGN
# Of one sign, of signed inputs.
MOST_OF_SIGNED = 2**24 // (128 * 127)


def column(*values: int) -> np.ndarray:
    return np.array(values, np.int8)[:, None]


@pytest.mark.parametrize(
    ("input_range", "values", "most"),
    [
        (UNSIGNED, (127, 127), MOST_OF_ONE_SIGN),
        (UNSIGNED, (-127, -127), MOST_OF_ONE_SIGN),
        (UNSIGNED, (127, -127), MOST_OF_BOTH_SIGNS),
        (SIGNED, (127, -127), MOST_OF_BOTH_SIGNS),
        ((-255, 0), (127, -127), MOST_OF_BOTH_SIGNS),
        ((-28, 227), (127, -60), 2 * (2**24 // (227 * 127 + 28 * 60))),
        ((-28, 227), (60, -127), 2 * (2**24 // (227 * 127 + 28 * 60))),
    ],
)
def test_as_few_pieces_as_are_exact(
    input_range: tuple[int, int], values: tuple[int, int], most: int
) -> None:
    for size, pieces in [(most, 1), (most + 2, 2), (2 * most, 2), (2 * most + 4, 3)]:
        kernel = np.resize(column(*values), (size, 1))
        assert exact_pieces(kernel, input_range) == (pieces, 1)


def test_each_output_counts_and_the_window_is_cut_last() -> None:
    kernel = np.zeros((4, 1, 2), np.int8)
    assert exact_pieces(kernel, UNSIGNED) == (1, 1)
    large = np.full((MOST_OF_ONE_SIGN + 1, 1, 2), 127, np.int8)
    large[..., 0] = 0
    assert exact_pieces(large, UNSIGNED) == (1, 2)
    assert exact_pieces(large.transpose(1, 0, 2), UNSIGNED) == (2, 1)
    assert exact_pieces(large.repeat(3, axis=1), UNSIGNED) == (3, 2)
    lowest = np.full((2**24 // (255 * 128), 1), -128, np.int8)
    assert exact_pieces(lowest, UNSIGNED) == (1, 1)
    assert exact_pieces(np.resize(lowest, (len(lowest) + 1, 1)), UNSIGNED) == (2, 1)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bias_counts_in_its_direction(sign: int) -> None:
    kernel = column(*[127 * sign] * MOST_OF_ONE_SIGN)
    for bias, fits in [(REMAINDER, True), (REMAINDER + 1, False), (-(2**24), True)]:
        assert fits_float32(kernel, np.array([sign * bias], np.int32), UNSIGNED) == fits
    assert not fits_float32(kernel, np.array([-sign * (2**24 + 1)], np.int32), UNSIGNED)


def dense(zero_point: int, weights: np.ndarray, bias: np.ndarray) -> keras.Model:
    """Sums, the bias added, as they are; the kernel `(inputs, 2)` is `weights` and `-weights`."""
    source = QParams(scale=0.5, zero_point=zero_point)
    target = QParams(scale=1.0, zero_point=0)
    layer = layers.QuantizedDense(2, input_qparams=[source], output_qparams=target)
    model = model_of(layer, weights.shape)
    kernel = np.stack([weights, -weights], axis=1).astype(np.int8)
    layer.assign_weights(kernel, bias.astype(np.int32), np.full(2, 2.0, np.float32))
    assert layer._pieces == (1, 1)
    return model


def with_less_of_one(inputs: np.ndarray) -> np.ndarray:
    """int8 `inputs`, and rows in which one of them is nearer to 0 by one."""
    rows = np.tile(inputs, (9, 1))
    columns = np.linspace(0, inputs.size - 1, 8).astype(int)
    rows[np.arange(1, 9), columns] -= np.sign(inputs[columns])
    return rows.astype(np.int8)


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_sums_as_far_as_a_whole_kernel_can_reach(zero_point: int) -> None:
    weights = np.resize([127, -127], MOST_OF_BOTH_SIGNS)
    inputs = np.where(weights > 0, 127, -128)
    total = (inputs - zero_point) @ weights
    model = dense(zero_point, weights, np.array([50 - total, 50 + total]))
    assert abs(total) > 2**24 - 2000
    assert_same_bits(model, with_less_of_one(inputs))


@pytest.mark.parametrize(("zero_point", "end"), [(-128, 127), (127, -128), (0, 127), (0, -128)])
def test_sums_that_go_as_far_and_come_back(zero_point: int, end: int) -> None:
    weights = np.repeat([127, -127], MOST_OF_ONE_SIGN)
    model = dense(zero_point, weights, np.array([50, -50]))
    assert model.layers[-1]._adds_in_float32
    assert_same_bits(model, with_less_of_one(np.full(weights.shape, end)))


def test_inputs_quantized_on_the_way() -> None:
    rng = np.random.default_rng(0)
    layer = layers.HybridDense(2)
    model = keras.Model(inputs := keras.Input((MOST_OF_SIGNED,)), layer(inputs))
    kernel = np.full(layer.kernel.shape, 127, np.int8)
    kernel[::2, 1] = -127
    layer.assign_weights(kernel, np.zeros(2, np.float32), np.ones(2, np.float32))
    assert layer._pieces == (2, 1)
    x = np.abs(rng.normal(0, 1, (16, MOST_OF_SIGNED))).astype(np.float32)
    x[8:] = 1 - x[8:] / 1000
    (expected,) = LiteRTProgram(to_tflite(model))([x])
    np.testing.assert_array_equal(keras.Model.predict_on_batch(model, x), expected)


def test_one_sample_that_is_not_a_number_leaves_the_others() -> None:
    layer = layers.HybridDense(4096)
    model = keras.Model(inputs := keras.Input((8,)), layer(inputs))
    kernel = np.resize(np.arange(-127, 128), layer.kernel.shape).astype(np.int8)
    layer.assign_weights(kernel, np.zeros(4096, np.float32), np.ones(4096, np.float32))
    x = np.random.default_rng(0).normal(0, 1, (4, 8)).astype(np.float32)
    expected = keras.Model.predict_on_batch(model, x)
    x[0] = np.nan
    np.testing.assert_array_equal(keras.Model.predict_on_batch(model, x)[1:], expected[1:])


def test_small_kernels_are_not_kept_back() -> None:
    kernel = np.zeros((127, 256), np.float32)
    assert not_before(np.zeros((1, 127), np.float32), kernel) is kernel


@pytest.mark.parametrize("bias_dtype", ["int32", "int64"])
def test_bytes_of_int16(bias_dtype: str) -> None:
    """Of -1 the low byte is 255, of all inputs a sum beyond 2**24."""
    qparams = QParams(scale=1.0, zero_point=0, dtype="int16")
    layer = layers.Int16Dense(
        units=1, input_qparams=[qparams], output_qparams=qparams, bias_dtype=bias_dtype
    )
    model = keras.Model(inputs := keras.Input((MOST_OF_SIGNED,), dtype="int16"), layer(inputs))
    kernel = np.full(layer.kernel.shape, 127, np.int8)
    bias = wide.split(np.array([127 * MOST_OF_SIGNED]))
    layer.assign_weights(kernel, bias, np.ones(1, np.float32))
    assert layer._pieces == (2, 1)
    x = np.random.default_rng(0).choice([-1, -1, -1, -2], (32, MOST_OF_SIGNED))
    assert_same_bits(model, x.astype(np.int16))


@pytest.mark.parametrize(("zero_point", "pieces"), [(-128, 2), (0, 1), (127, 2)])
def test_the_zero_point_counts(zero_point: int, pieces: int) -> None:
    qparams = QParams(scale=0.5, zero_point=zero_point)
    layer = layers.QuantizedDense(1, input_qparams=[qparams], output_qparams=qparams)
    layer.build((None, MOST_OF_SIGNED))
    layer.assign_weights(
        column(*[127] * MOST_OF_SIGNED), np.zeros(1, np.int32), np.ones(1, np.float32)
    )
    assert layer._pieces == (pieces, 1)


@pytest.mark.parametrize("kernel_zero_point", [0, 127, -128])
def test_unknown_weights_may_be_the_largest(
    kernel_zero_point: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 255, and of 128: more of 127 would not need to be cut."""
    qparams = QParams(scale=0.5, zero_point=-128)
    layer = layers.QuantizedDense(
        1, kernel_zero_point=kernel_zero_point, input_qparams=[qparams], output_qparams=qparams
    )
    size = 2**24 // (255 * (255 if kernel_zero_point else 128)) + 1
    layer.build((None, size))
    products = []
    whole = layer._sum_of_products

    def counted(inputs: Any, kernel: Any) -> Any:
        products.append(inputs.shape[-1])
        return whole(inputs, kernel)

    monkeypatch.setattr(layer, "_sum_of_products", counted)
    layer(np.zeros((1, size), np.int8))
    assert products == [size // 2, size - size // 2]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="about XLA as JAX has it")
@pytest.mark.parametrize("kind", ["dense", "convolution", "dynamic"])
def test_float_kernels_are_not_all_there_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jax

    size, depth = 512, 12
    qparams = QParams(scale=0.5, zero_point=-128)
    shape: tuple[int, ...] = (1, 1, size) if kind == "convolution" else (size,)
    x = inputs = keras.Input(shape, dtype="float32" if kind == "dynamic" else "int8")
    for _ in range(depth):
        if kind == "dense":
            layer = layers.QuantizedDense(size, input_qparams=[qparams], output_qparams=qparams)
        elif kind == "convolution":
            layer = layers.QuantizedConv2D(
                filters=size, kernel_size=(1, 1), input_qparams=[qparams], output_qparams=qparams
            )
        else:
            layer = layers.HybridDense(size)
        x = layer(x)
        layer.prepare()
    model = keras.Model(inputs, x)
    weights = [variable.value for variable in model.non_trainable_variables]

    def kernels_at_once(batch: int, each: bool = False) -> float:
        def call(weights: Any, x: Any) -> Any:
            return model.stateless_call([], weights, x)[0]

        def call_one(weights: Any, x: Any) -> Any:
            return call(weights, x[None])

        function = jax.jit(jax.vmap(call_one, in_axes=(None, 0)) if each else call)
        compiled = function.lower(weights, np.zeros((batch, *shape), inputs.dtype)).compile()
        return compiled.memory_analysis().temp_size_in_bytes / (4 * size * size)

    assert kernels_at_once(1) < 3
    # `jax.vmap` shares the kernels.
    assert kernels_at_once(8, each=True) < 4
    monkeypatch.setattr(linear, "not_before", lambda values, constant: constant)
    assert kernels_at_once(1) > depth / 2
