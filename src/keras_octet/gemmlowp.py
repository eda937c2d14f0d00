"""gemmlowp's fixed-point arithmetic on NumPy integers, as LiteRT's built-in kernels use it.

A positive real number is `m * 2**(e - 31)` with a 31-bit integer `m`. Values are int32, kept in
int64. `keras_octet.layers.fixed_point` has the products for tensors.
"""

from __future__ import annotations

import math

import numpy as np

from keras_octet.qparams import round_half_away

INT32_MAX = 2**31 - 1


def quantize_multiplier(value: float) -> tuple[int, int]:
    """`value = m * 2**(e - 31)` with `m` in `[2**30, 2**31)`; values below 2**-32 give (0, 0)."""
    fraction, exponent = math.frexp(float(value))
    multiplier = int(round_half_away(fraction * 2.0**31))
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return (0, 0) if exponent < -31 else (multiplier, exponent)


def multiply_high(values: np.ndarray, multiplier: np.ndarray | int) -> np.ndarray:
    """`floor((values * multiplier + 2**30) / 2**31)` of int32 values, in int64."""
    product = np.asarray(values, np.int64) * np.asarray(multiplier, np.int64)
    return (product + np.int64(2**30)) >> np.int64(31)


def shift_half_away(values: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """`values / 2**exponent`, ties away from zero; a negative exponent shifts left."""
    exponent = np.asarray(exponent, np.int64)
    left = np.asarray(values, np.int64) << np.maximum(-exponent, 0)
    divisor = np.int64(1) << np.maximum(exponent, 0)
    return np.sign(left) * ((2 * np.abs(left) + divisor) // (2 * divisor))


def scaled(
    values: np.ndarray, multiplier: np.ndarray | int, exponent: np.ndarray | int
) -> np.ndarray:
    """`values * multiplier * 2**(exponent - 31)`, rounded in the product and in the shift."""
    exponent = np.asarray(exponent, np.int64)
    shifted = np.asarray(values, np.int64) << np.maximum(exponent, 0)
    return shift_half_away(multiply_high(shifted, multiplier), np.maximum(-exponent, 0))


def gemmlowp_requantize(values: np.ndarray, ratio: float) -> np.ndarray:
    """`values * ratio`, rounded half up in the product, half away in the shift (int64)."""
    return scaled(values, *quantize_multiplier(ratio))


def up_requantize(values: np.ndarray, ratio: float) -> np.ndarray:
    """`values * ratio`, rounded half up in the product and in the shift, as ruy rounds."""
    multiplier, exponent = quantize_multiplier(ratio)
    product = multiply_high(np.asarray(values, np.int64) << max(exponent, 0), multiplier)
    shift = max(-exponent, 0)
    return product if shift == 0 else (product + (1 << (shift - 1))) >> shift


def reciprocal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(m, bits)` with `1 / value = m * 2**(-31 - bits)` for positive int32 values."""
    leading_zeros = 31 - np.floor(np.log2(values)).astype(np.int64)
    # In [0, 1) with 31 bits: the value without its leading one.
    fraction = (np.asarray(values, np.int64) << leading_zeros) - 2**31
    half = (fraction + INT32_MAX + 1) >> 1
    estimate = 1515870810 + multiply_high(half, -1010580540)
    for _ in range(3):
        error = 2**29 - multiply_high(half, estimate)
        estimate = estimate + _shift_left(multiply_high(estimate, error), 2)
    return _shift_left(estimate, 1), 31 - leading_zeros


def _shift_left(values: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(values << bits, -(2**31), INT32_MAX)


def inverse_square_root(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(m, e)` with `1 / sqrt(value) = m * 2**(e - 31)` for positive int32 values.

    Newton's iteration in fixed point with 3 integer bits.
    """
    raw = np.asarray(values, np.int64)
    x, shift = np.maximum(raw, 1), np.full(raw.shape, 11, np.int64)
    while (large := x >= 2**29).any():
        x, shift = np.where(large, x // 4, x), shift + large
    leading_zeros = 31 - np.floor(np.log2(x)).astype(np.int64)
    pairs = (leading_zeros - 1) // 2 - 1
    shift, x = shift - pairs, x << (2 * pairs)
    half = shift_half_away(x >> 1, 1)
    estimate = np.full(raw.shape, 2**28, np.int64)
    for _ in range(5):
        cube = _shift_left(multiply_high(multiply_high(estimate, estimate), estimate), 6)
        step = multiply_high(estimate, 2**28 + 2**27) - multiply_high(half, cube)
        estimate = _shift_left(step, 3)
    multiplier = multiply_high(estimate, 1518500250) << np.maximum(-shift, 0)
    exponent = -np.maximum(shift, 0)
    return np.where(raw <= 1, INT32_MAX, multiplier), np.where(raw <= 1, 0, exponent)
