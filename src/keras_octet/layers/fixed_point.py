"""gemmlowp's fixed-point products on int32 tensors, without wider integers.

LiteRT's built-in kernels multiply int32 accumulators by 31-bit multipliers in 64 bits. JAX has no
64-bit integers by default, so products are put together from 11-bit digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

_DIGIT = 11


def _digits(values: Any) -> tuple[Any, Any, Any]:
    """`values = high * 2**22 + middle * 2**11 + low`, the lower two in [0, 2**11)."""
    mask = (1 << _DIGIT) - 1
    if isinstance(values, (int, np.integer, np.ndarray)):
        wide = np.asarray(values, np.int64)
        parts = (wide >> (2 * _DIGIT), (wide >> _DIGIT) & mask, wide & mask)
        high, middle, low = (ops.convert_to_tensor(part.astype(np.int32)) for part in parts)
        return high, middle, low
    shifted = ops.right_shift(values, _DIGIT)
    return (
        ops.right_shift(values, 2 * _DIGIT),
        ops.bitwise_and(shifted, mask),
        ops.bitwise_and(values, mask),
    )


def multiply_high(values: Any, multiplier: Any) -> Any:
    """`floor((values * multiplier + 2**30) / 2**31)`; both int32, tensors or NumPy."""
    a2, a1, a0 = _digits(values)
    b2, b1, b0 = _digits(multiplier)
    # Columns of the long multiplication, lowest first; 2**30 is 2**8 in the third.
    carry = ops.right_shift(a0 * b0, _DIGIT)
    carry = ops.right_shift(a1 * b0 + a0 * b1 + carry, _DIGIT)
    third = a2 * b0 + a1 * b1 + a0 * b2 + (1 << 8) + carry
    fourth, fifth = a2 * b1 + a1 * b2, a2 * b2
    return ops.left_shift(fifth, 13) + ops.left_shift(fourth, 2) + ops.right_shift(third, 9)


def shift_half_away(values: Any, exponent: Any) -> Any:
    """`values / 2**exponent`, ties away from zero; `exponent` int32 in [0, 31)."""
    exponent = ops.convert_to_tensor(exponent, "int32")
    mask = ops.left_shift(ops.ones_like(exponent), exponent) - 1
    threshold = ops.right_shift(mask, 1) + ops.cast(values < 0, "int32")
    above = ops.cast(ops.bitwise_and(values, mask) > threshold, "int32")
    return ops.right_shift(values, exponent) + above


def shift_half_up(values: Any, exponent: Any) -> Any:
    """`floor(values / 2**exponent + 1/2)`; `exponent` int32 in [0, 31]."""
    exponent = ops.convert_to_tensor(exponent, "int32")
    last = ops.bitwise_and(ops.right_shift(values, ops.maximum(exponent - 1, 0)), 1)
    return ops.right_shift(values, exponent) + ops.where(exponent > 0, last, 0)


def scaled(values: Any, multiplier: Any, exponent: Any, *, half_up: bool = False) -> Any:
    """`values * multiplier * 2**(exponent - 31)`, rounded in the product and in the shift.

    Args:
        values: int32.
        multiplier, exponent: int32; of `gemmlowp.quantize_multiplier`, per tensor or along the
            last axis, or tensors.
        half_up: round ties of the shift up, as ruy's matrix products do, not away from zero.
    """
    exponent = ops.convert_to_tensor(exponent, "int32")
    left = ops.left_shift(values, ops.maximum(exponent, 0))
    shift = shift_half_up if half_up else shift_half_away
    return shift(multiply_high(left, multiplier), ops.maximum(-exponent, 0))


def inverse_square_root(values: Any) -> tuple[Any, Any]:
    """`(m, e)` with `1 / sqrt(value) = m * 2**(e - 31)`; see `gemmlowp.inverse_square_root`."""
    x = ops.maximum(values, 1)
    large = ops.cast(x >= 1 << 29, "int32")
    x, shift = ops.right_shift(x, 2 * large), large + 11
    pairs = ops.right_shift(28 - _highest_bit(x), 1)
    shift, x = shift - pairs, ops.left_shift(x, 2 * pairs)
    half = shift_half_away(ops.right_shift(x, 1), 1)
    estimate = ops.zeros_like(x) + (1 << 28)
    for _ in range(5):
        cube = ops.left_shift(multiply_high(multiply_high(estimate, estimate), estimate), 6)
        step = multiply_high(estimate, (1 << 28) + (1 << 27)) - multiply_high(half, cube)
        estimate = ops.left_shift(step, 3)
    multiplier = multiply_high(estimate, 1518500250)
    multiplier = ops.left_shift(multiplier, ops.maximum(-shift, 0))
    trivial = values <= 1
    return (
        ops.where(trivial, (1 << 31) - 1, multiplier),
        ops.where(trivial, 0, -ops.maximum(shift, 0)),
    )


def _highest_bit(values: Any) -> Any:
    """Position of the highest bit that is set in a positive int32."""
    found = ops.zeros_like(values)
    for bits in (16, 8, 4, 2, 1):
        step = bits * ops.cast(ops.right_shift(values, bits) > 0, "int32")
        found, values = found + step, ops.right_shift(values, step)
    return found
