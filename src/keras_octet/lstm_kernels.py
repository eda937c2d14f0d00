"""Integer arithmetic of LiteRT's LSTM kernels: int8 activations and weights, int16 cell state.

Gates are int16 with 12 fractional bits before their activation and 15 after it; sigmoid and tanh
are those of gemmlowp on 16-bit fixed point, given here as tables. Reference: `lstm_eval.cc` of
LiteRT and `fixedpoint.h` of gemmlowp.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

INT16_MAX = 2**15 - 1
INT16_MIN = -(2**15)
# Integer bits of what the activation of a gate reads.
GATE_BITS = 3
GATE_FRACTION_BITS = 15 - GATE_BITS
# exp(-2**k) for k = -2, -1, ... 4, with 31 fractional bits.
_EXPONENTIALS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


@cache
def sigmoid_table() -> np.ndarray:
    """int32 `(65536,)`: sigmoid of each int16 with 3 integer bits, with 15 fractional bits."""
    raw = np.arange(INT16_MIN, INT16_MAX + 1)
    one = _one_over_one_plus(_exp_of_negative(_wrapped(-np.abs(raw)), GATE_BITS))
    result = np.where(raw > 0, one, INT16_MAX - one)
    return np.where(raw == 0, 2**14, result).astype(np.int32)


@cache
def tanh_table(integer_bits: int) -> np.ndarray:
    """int32 `(65536,)`: tanh of each int16 with that many integer bits, 0 to 6."""
    raw = np.arange(INT16_MIN, INT16_MAX + 1)
    # The same integers with one integer bit more are twice as large.
    negative = _exp_of_negative(_wrapped(-np.abs(raw)), integer_bits + 1)
    magnitude = _one_minus_over_one_plus(negative)
    return (np.sign(raw) * magnitude).astype(np.int32)


def cell_bits(scale: float) -> int | None:
    """Integer bits of a cell state with this scale; None if it is not a power of 2 that LiteRT has
    a tanh for.
    """
    exponent = math.log2(scale) if scale > 0 else math.nan
    if not abs(exponent - round(exponent)) < 1e-3 if math.isfinite(exponent) else True:
        return None
    bits = 15 + round(exponent)
    return bits if 0 <= bits <= 6 else None


def clipping_steps(clip: float, scale: float, largest: int) -> int:
    """`clip / scale` as the kernel truncates it; 0 does not clip."""
    if clip <= 0:
        return 0
    return int(min(np.float32(clip) / np.float32(scale), np.float32(largest)))


def _wrapped(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.int64).astype(np.int16).astype(np.int64)


def _saturated(values: np.ndarray) -> np.ndarray:
    return np.clip(values, INT16_MIN, INT16_MAX)


def _multiply(first: np.ndarray, second: np.ndarray | int) -> np.ndarray:
    """The high half of twice the product, ties up; -1 times -1 saturates."""
    return np.minimum((first * second + 2**14) >> 15, INT16_MAX)


def _constant(value: int) -> int:
    """31 fractional bits to 15."""
    return (value + 2**15) >> 16


def _halved(values: np.ndarray, bits: int) -> np.ndarray:
    """`values / 2**bits`, ties away from zero."""
    half = 1 << (bits - 1)
    return np.sign(values) * ((np.abs(values) + half) >> bits)


def _exp_of_negative(raw: np.ndarray, integer_bits: int) -> np.ndarray:
    """exp of int16 that are not positive, with 15 fractional bits."""
    fraction_bits = 15 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    within = (raw & (quarter - 1)) - quarter
    result = _exp_near_zero(_saturated(within << integer_bits))
    remainder = within - raw
    for exponent, factor in zip(range(-2, integer_bits), _EXPONENTIALS, strict=False):
        bit = remainder & (1 << (fraction_bits + exponent))
        result = np.where(bit != 0, _multiply(result, _constant(factor)), result)
    if integer_bits > 5:
        result = np.where(raw < -(1 << (20 - integer_bits)), 0, result)
    return np.where(raw == 0, INT16_MAX, result)


def _exp_near_zero(a: np.ndarray) -> np.ndarray:
    """exp on [-1/4, 0): the Taylor series around -1/8."""
    at_centre = _constant(1895147668)
    x = a + 2**12
    x2 = _multiply(x, x)
    x3, x4 = _multiply(x2, x), _multiply(x2, x2)
    series = _halved(_multiply(_halved(x4, 2) + x3, _constant(715827883)) + x2, 1)
    return _saturated(at_centre + _multiply(x + series, at_centre))


def _reciprocal_of_half_sum(a: np.ndarray) -> np.ndarray:
    """`2 / (1 + a)` with 13 fractional bits for `a` in [0, 1): Newton's division."""
    half = (a + INT16_MAX + 1) // 2
    x = _constant(1515870810) + _multiply(half, _constant(-1010580540))
    for _ in range(3):
        error = 2**13 - _multiply(half, x)
        x = x + _saturated(_multiply(x, error) << 2)
    return x


def _one_over_one_plus(a: np.ndarray) -> np.ndarray:
    return _saturated(_reciprocal_of_half_sum(a) << 1)


def _one_minus_over_one_plus(a: np.ndarray) -> np.ndarray:
    return _saturated((_reciprocal_of_half_sum(a) - 2**13) << 2)
