"""float32 arithmetic in which every rounding is where it is written, on every backend.

Compilers contract `a * b + c` into one rounding, add up `a + b + c` in another order, turn a
division by a constant into a product with its reciprocal, and approximate `1 / x`. What follows
keeps them from it, and contracts on purpose where LiteRT does.
"""

from __future__ import annotations

from typing import Any

from keras import ops

# Smaller than any value here: a maximum with it changes nothing, and compilers look no further.
_LOWEST = -3e38
# Splits a float32 into two of 12 bits each.
_SPLITTER = 4097.0


def rounded(value: Any) -> Any:
    """A product or a sum, rounded to float32 before anything else is done with it."""
    return ops.maximum(value, _LOWEST)


def quotient(numerator: float, values: Any) -> Any:
    """`numerator / values`, correctly rounded; PyTorch multiplies a scalar by the reciprocal."""
    return ops.full_like(values, numerator) / values


def reciprocal(values: Any) -> Any:
    """`1 / values`, correctly rounded; `values` are positive."""
    return 0.5 * ops.maximum(quotient(2.0, values), 0.0)


def split(values: Any) -> tuple[Any, Any]:
    """`values` as a sum of two float32 of 12 significant bits, whose products are exact."""
    scaled = rounded(values * _SPLITTER)
    high = scaled - (scaled - values)
    return high, values - high


def _two_sum(first: Any, second: Any) -> tuple[Any, Any]:
    """The rounded sum and what the rounding left out, exactly (Knuth)."""
    total = first + second
    virtual = total - first
    return total, (first - (total - virtual)) + (second - virtual)


def fused_multiply_add(values: Any, factor: Any, addend: Any) -> Any:
    """`values * factor + addend`, float32, with one rounding at the end.

    The product is split into two float32 without error (Dekker), and the sum of three float32 is
    rounded correctly: two exact additions leave a value, a remainder and the remainder's own
    remainder, and only where the first remainder is exactly half a step does the last one decide.
    Reference: Boldo, Melquiond: "Emulation of FMA and correctly rounded sums" (2008). Exact unless
    the product is smaller than 2**-100.

    Args:
        values, factor, addend: float32 tensors that broadcast against one another.
    """
    high, low = split(values)
    factor_high, factor_low = split(factor)
    product = rounded(values * factor)
    # Each product here is exact, so that contracting it changes nothing.
    left_out = rounded((high * factor_high - product) + high * factor_low)
    left_out = rounded(left_out + low * factor_high) + low * factor_low
    carried, last = _two_sum(addend, left_out)
    total, remainder = _two_sum(product, carried)
    remainder, lost = _two_sum(remainder, last)
    result, half = _two_sum(total, remainder)
    neighbour = result + (half + half)
    tie = ops.logical_and(half != 0, neighbour - result == half + half)
    beyond = ops.logical_and(tie, ops.sign(lost) == ops.sign(half))
    return ops.where(beyond, neighbour, result)
