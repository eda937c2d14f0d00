"""Kernels are cut where float32 could not add up their products, and not elsewhere."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_octet import layers
from keras_octet.arithmetic import exact_pieces, fits_float32
from keras_octet.qparams import QParams
from tests.litert import assert_same_bits, model_of

UNSIGNED, SIGNED = (0, 255), (-128, 127)
# 2**24 is 518 times 255 * 127 and a remainder, and so many times the mean of 127 and 128 by 127.
MOST_OF_ONE_SIGN, REMAINDER = divmod(2**24, 255 * 127)
MOST_OF_BOTH_SIGNS = 2 * MOST_OF_ONE_SIGN


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


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bias_counts(sign: int) -> None:
    kernel = column(*[127 * sign] * MOST_OF_ONE_SIGN)
    for bias in (REMAINDER, -REMAINDER):
        assert fits_float32(kernel, np.array([bias], np.int32), UNSIGNED)
        assert not fits_float32(kernel, np.array([bias + np.sign(bias)], np.int32), UNSIGNED)


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_as_far_as_a_whole_kernel_can_reach(zero_point: int) -> None:
    """Inputs that take the sums of a kernel of both signs to 2**24, and to -2**24."""
    layer = layers.QuantizedDense(
        2,
        input_qparams=[QParams(scale=0.5, zero_point=zero_point)],
        output_qparams=QParams(scale=1.0, zero_point=0),
    )
    model = model_of(layer, (MOST_OF_BOTH_SIGNS,))
    weights = np.resize(np.array([127, -127], np.int8), MOST_OF_BOTH_SIGNS)
    kernel = np.stack([weights, -weights], axis=1)
    up = np.where(weights > 0, 127, -128)
    sums = (up - zero_point) @ kernel.astype(np.int64)
    # A step of the output is 97 of the sums, from which one of 50 steps is left.
    bias = (4850 - sums).astype(np.int32)
    layer.assign_weights(kernel, bias, np.full(2, 0.0206, np.float32))
    assert layer._pieces == (1, 1)
    inputs = np.resize(np.stack([up, -1 - up]), (64, MOST_OF_BOTH_SIGNS))
    rng = np.random.default_rng(0)
    noise = rng.random(inputs.shape) < np.linspace(0, 0.002, 64)[:, None]
    assert_same_bits(model, np.where(noise, -1 - inputs, inputs).astype(np.int8))


@pytest.mark.parametrize(("zero_point", "pieces"), [(-128, 2), (0, 1), (127, 2)])
def test_the_zero_point_counts(zero_point: int, pieces: int) -> None:
    qparams = QParams(scale=0.5, zero_point=zero_point)
    layer = layers.QuantizedDense(1, input_qparams=[qparams], output_qparams=qparams)
    size = 2**24 // (128 * 127)
    layer.build((None, size))
    layer.assign_weights(column(*[127] * size), np.zeros(1, np.int32), np.ones(1, np.float32))
    assert layer._pieces == (pieces, 1)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="about XLA as JAX has it")
def test_float_kernels_are_not_all_there_at_once() -> None:
    import jax

    size, depth = 512, 12
    x = inputs = keras.Input((size,), dtype="int8")
    qparams = QParams(scale=0.5, zero_point=-128)
    for _ in range(depth):
        x = layers.QuantizedDense(size, input_qparams=[qparams], output_qparams=qparams)(x)
    model = keras.Model(inputs, x)
    weights = [variable.value for variable in model.non_trainable_variables]
    function = jax.jit(lambda *args: model.stateless_call([], *args)[0])
    compiled = function.lower(weights, np.zeros((1, size), np.int8)).compile()
    one_kernel = 4 * size * size
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * one_kernel
