"""Integers of 48 bits and their products, in int32: JAX has no 64-bit integers by default.

A wide integer is a pair of int32 tensors, `high * 2**16 + low` with `low` in [0, 2**16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet.gemmlowp import quantize_multiplier

Wide = tuple[Any, Any]
_DIGIT = 12
_WORD = 30


def split(values: np.ndarray) -> np.ndarray:
    """int64 values of at most 48 bits as int32 `(high, low)`, stacked on a new first axis."""
    wide = np.asarray(values, np.int64)
    return np.stack([wide >> 16, wide & 0xFFFF]).astype(np.int32)


def join(pair: np.ndarray) -> np.ndarray:
    """What `split` split, as int64."""
    high, low = np.asarray(pair, np.int64)
    return high * 2**16 + low


def add(*terms: Wide) -> Wide:
    """The sum of at most 2**15 wide integers."""
    low = sum(term[1] for term in terms)
    return sum(term[0] for term in terms) + ops.right_shift(low, 16), ops.bitwise_and(low, 0xFFFF)


def shifted_left(values: Any, bits: int) -> Wide:
    """int32 `values * 2**bits`, `bits` from 0 to 16."""
    low = ops.bitwise_and(values, (1 << (16 - bits)) - 1)
    return ops.right_shift(values, 16 - bits), ops.left_shift(low, bits)


def scaled_half_up(values: Wide, ratio: np.ndarray) -> Any:
    """`floor(values * m / 2**s + 1/2)`, where `m / 2**s` is `ratio` with 15 bits, as int32.

    What LiteRT's built-in kernels make of 64-bit accumulators. Magnitudes above 2**30 become that.

    Args:
        values: wide integers.
        ratio: positive float64, for all or along the last axis.
    """
    pairs = [_fifteen_bits(float(x)) for x in np.atleast_1d(ratio)]
    multiplier, shift = (np.array(x, np.int64) for x in zip(*pairs, strict=True))
    negative, digits = _magnitude(values)
    product = _multiply(digits, multiplier, 2)
    whole = _integer_part(product, shift)
    half = _bits(product, shift - 1, 1) > 0
    below = _bits(product, shift - 31, _WORD) + _bits(product, shift - 61, _WORD)
    # A half goes up: towards zero if the value is negative.
    up = ops.logical_and(half, ops.logical_or(ops.logical_not(negative), below != 0))
    return _signed(negative, whole + ops.cast(up, "int32"))


def scaled_in_float64(values: Wide, ratio: np.ndarray) -> Any:
    """`round_half_away(float64(values) * ratio)` with a float64 product, as int32.

    A half is reached where the product, rounded to 53 bits, is a half: where less than half a unit
    of the 53rd bit is missing. Magnitudes above 2**15 are not exact.

    Args:
        values: wide integers.
        ratio: positive float64, for all or along the last axis.
    """
    fractions, exponents = np.frexp(np.atleast_1d(np.asarray(ratio, np.float64)))
    multiplier, shift = (fractions * 2.0**53).astype(np.int64), 53 - exponents.astype(np.int64)
    negative, digits = _magnitude(values)
    product = _multiply(digits, multiplier, 5)
    whole = _integer_part(product, shift)
    half = _bits(product, shift - 1, 1) > 0
    first, second = _bits(product, shift - 31, _WORD), _bits(product, shift - 61, _WORD)
    # Below the half a float64 has 53 bits less those of `whole`; below 0.5 it has one more. If all
    # of them are set, and so all of `first` and but the last few of `second`, it rounds up to it.
    unset = ops.where(whole == 0, 6, 7 + _bit_length(whole))
    ones = ops.right_shift(2**_WORD - 1 - second, unset) == 0
    nearly = ops.logical_and(first == 2**_WORD - 1, ones)
    return _signed(negative, whole + ops.cast(ops.logical_or(half, nearly), "int32"))


def _fifteen_bits(ratio: float) -> tuple[int, int]:
    """`(m, s)` with `m / 2**s` near `ratio`, `m` below 2**15."""
    multiplier, exponent = quantize_multiplier(ratio)
    rounded = min((multiplier + 2**15) >> 16, 2**15 - 1)
    return rounded, 15 - exponent


def _bit_length(values: Any) -> Any:
    """Bits of integers from 0 to 2**17 - 1, more of larger ones."""
    return sum(ops.cast(values >= 2**k, "int32") for k in range(17))


def _magnitude(values: Wide) -> tuple[Any, list[Any]]:
    """Whether it is negative; its magnitude as four digits, lowest first."""
    high, low = values
    negative = high < 0
    high = ops.where(negative, -high - ops.cast(low > 0, "int32"), high)
    low = ops.where(negative, ops.bitwise_and(-low, 0xFFFF), low)
    return negative, [
        ops.bitwise_and(low, 0xFFF),
        ops.right_shift(low, 12) + ops.left_shift(ops.bitwise_and(high, 0xFF), 4),
        ops.bitwise_and(ops.right_shift(high, 8), 0xFFF),
        ops.right_shift(high, 20),
    ]


def _multiply(digits: Sequence[Any], multiplier: np.ndarray, count: int) -> list[Any]:
    """Digits of the product with positive integers of `count` digits, which run along the last
    axis.
    """
    factors = [
        ops.convert_to_tensor((multiplier >> (_DIGIT * k) & 0xFFF).astype(np.int32))
        for k in range(count)
    ]
    product, carry = [], 0
    for column in range(len(digits) + count - 1):
        pairs = ((i, column - i) for i in range(len(digits)) if 0 <= column - i < count)
        total = sum(digits[i] * factors[j] for i, j in pairs) + carry
        product.append(ops.bitwise_and(total, 0xFFF))
        carry = ops.right_shift(total, _DIGIT)
    return [*product, carry]


def _bits(digits: Sequence[Any], start: np.ndarray, width: int) -> Any:
    """`width` bits, at most 30, from bit `start`, which may be negative, along the last axis."""
    total: Any = 0
    for k, digit in enumerate(digits):
        offset = _DIGIT * k - start
        inside = (offset > -_DIGIT) & (offset < width)
        if not inside.any():
            continue
        left, right, mask = (
            ops.convert_to_tensor(x.astype(np.int32))
            for x in (np.clip(offset, 0, 31), np.clip(-offset, 0, 31), inside)
        )
        part = ops.left_shift(ops.right_shift(digit, right), left)
        total = total + (part if inside.all() else part * mask)
    return ops.bitwise_and(total, 2**width - 1)


def _integer_part(digits: Sequence[Any], shift: np.ndarray) -> Any:
    """The number without its lowest `shift` bits; 2**30 if it is larger."""
    above = ops.bitwise_or(
        _bits(digits, shift + _WORD, _WORD), _bits(digits, shift + 2 * _WORD, _WORD)
    )
    return ops.where(above != 0, 2**_WORD, _bits(digits, shift, _WORD))


def _signed(negative: Any, magnitude: Any) -> Any:
    return ops.where(negative, -magnitude, magnitude)
