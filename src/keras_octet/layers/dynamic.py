"""Quantizing float activations while the model runs, as LiteRT's kernels do.

Each function takes a float32 tensor and the axes that share one scale, and returns integers
`q - zero_point` in float32 with their scale, `x ~ scale * (q - zero_point)`. XNNPACK and LiteRT's
built-in kernels differ in how they choose the zero point and in how they round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_octet.layers.rounding import quotient, reciprocal, rounded, split

Axes = Sequence[int]
Quantized = tuple[Any, Any]


def _range(values: Any, axes: Axes) -> tuple[Any, Any, Any]:
    """Smallest and largest value, widened to hold 0, and their distance."""
    low = ops.minimum(ops.min(values, axis=axes, keepdims=True), 0.0)
    high = ops.maximum(ops.max(values, axis=axes, keepdims=True), 0.0)
    return low, high, high - low


def quantize_xnnpack(values: Any, axes: Axes) -> Quantized:
    """Affine, as XNNPACK: `g = 255 / (max - min)`; the zero point from the end that errs less."""
    low, high, width = _range(values, axes)
    empty = width == 0
    inverse = ops.where(empty, 1.0, quotient(255.0, ops.where(empty, 1.0, width)))
    bottom, top = rounded(low * inverse), rounded(high * inverse)
    from_low, from_high = rounded(bottom - 128.0), rounded(top + 127.0)
    zero_point = ops.where(from_low + from_high > 0, -128.0 - bottom, 127.0 - top)
    zero_point = ops.round(ops.clip(zero_point, -128.0, 127.0))
    return _between(ops.round(values * inverse), zero_point), reciprocal(inverse)


def quantize_affine(values: Any, axes: Axes) -> Quantized:
    """Affine, as the built-in kernels: `scale = (max - min) / 255`, the zero point in float64."""
    low, high, width = _range(values, axes)
    empty = width == 0
    scale = ops.where(empty, 1.0, width / ops.where(empty, 1.0, 255.0))
    zero_point = ops.where(empty, 0.0, zero_point_in_float64(low, high, width))
    nearest = _nearest(rounded(values * reciprocal(scale)), axes)
    return _between(nearest, zero_point), scale


def quantize_symmetric(values: Any, axes: Axes) -> Quantized:
    """Zero point 0 and `scale = max|x| / 127`, as the built-in kernels."""
    largest = ops.max(ops.abs(values), axis=axes, keepdims=True)
    empty = largest == 0
    scale = ops.where(empty, 1.0, largest / ops.where(empty, 1.0, 127.0))
    inverse = quotient(127.0, ops.where(empty, 1.0, largest))
    nearest = _nearest(rounded(values * inverse), axes)
    return ops.clip(nearest, -127.0, 127.0), scale


def _between(nearest: Any, zero_point: Any) -> Any:
    """`clip(nearest + zero_point, -128, 127) - zero_point`."""
    return ops.minimum(ops.maximum(nearest, -128.0 - zero_point), 127.0 - zero_point)


def _nearest(values: Any, axes: Axes) -> Any:
    """Halves away from zero.

    The kernels add a half and truncate, eight values at a time, and round what is left over one
    by one. The two differ where adding a half to the number before 0.5 gives 1.
    """
    whole = ops.floor(ops.abs(values) + 0.5)
    shape = ops.shape(values)
    shared = [axis % len(shape) for axis in axes]
    sizes = [size if axis in shared else 1 for axis, size in enumerate(shape)]
    count: Any = 1
    for size in sizes:
        count = count * size
    left_over = ops.reshape(ops.arange(count) >= count - count % 8, sizes)
    whole = ops.where(ops.logical_and(left_over, ops.abs(values) < 0.5), 0.0, whole)
    return ops.sign(values) * whole


def zero_point_in_float64(low: Any, high: Any, width: Any) -> Any:
    """The zero point that the built-in kernels compute in float64, with float32 and int32.

    With `s = float64(width) / 255` it is `-128 - low / s` or `127 - high / s`, whichever end is
    nearer, rounded half away from zero. In real numbers the quotient is `255 x / width`: comparing
    `510 x` with an odd multiple of `width` decides which integer is nearer. Where they are equal,
    as for any range symmetric around 0, what decides is how float64 rounded `s`.

    Args:
        low, high, width: `low <= 0 <= high`, `width` their difference, not 0.
    """
    estimate_low, estimate_high = 255.0 * (-low / width), 255.0 * (high / width)
    from_low = estimate_high - estimate_low > 1.0
    distance = ops.where(from_low, -low, high)
    whole = ops.clip(ops.floor(255.0 * (distance / width)), 0.0, 127.0)
    odd = 2.0 * whole + 1.0
    distance_high, distance_low = split(distance)
    width_high, width_low = split(width)
    # Every product is exact, and so is each difference if the two sides nearly cancel.
    excess = rounded(510.0 * distance_high - odd * width_high)
    excess = excess + rounded(510.0 * distance_low - odd * width_low)
    excess = ops.where(excess == 0, _float64_error(whole, odd, width, from_low), excess)
    away = ops.logical_and(ops.logical_not(from_low), whole == 127.0)
    up = ops.where(excess == 0, away, excess > 0)
    steps = whole + ops.cast(up, "float32")
    return ops.where(from_low, steps - 128.0, 127.0 - steps)


def _float64_error(whole: Any, odd: Any, width: Any, from_low: Any) -> Any:
    """Sign of what float64 makes of the tie `odd / 2`, 0 where it keeps the tie.

    Dividing the 24-bit mantissa of `width` by 255 leaves a remainder, from which follows in which
    direction, and by how much, the 53-bit quotient was rounded; and whether that survives the next
    two roundings.
    """
    mantissa = ops.bitwise_or(ops.bitwise_and(ops.view(width, "int32"), 0x7FFFFF), 0x800000)
    large = mantissa >= 255 * 2**16
    remainder = mantissa % 255 * ops.where(large, 16, 32) % 255
    up = ops.logical_and(remainder > 0, remainder <= 127)
    error = ops.cast(ops.where(up, remainder, 255 - remainder), "float32")
    half_step = ops.cast(mantissa, "float32") * ops.where(large, 2.0**-17, 2.0**-16)
    exponent = _exponent(odd)
    # Below 0.5 the numbers lie twice as close.
    half_step = ops.where(
        ops.logical_and(odd == 1.0, ops.logical_not(up)), half_step * 0.5, half_step
    )
    moved = ops.where(up, error * odd >= half_step * exponent, error * odd > half_step * exponent)
    result = ops.where(from_low, 256.0 - odd, ops.abs(254.0 - odd))
    kept = _exponent(result) <= exponent
    survives = ops.logical_and(ops.logical_and(moved, kept), remainder > 0)
    return ops.cast(survives, "float32") * ops.where(up, 1.0, -1.0)


def _exponent(values: Any) -> Any:
    """The largest power of two that is at most `values`, integers from 1 to 255, as float32."""
    power = ops.ones_like(values)
    for k in range(1, 8):
        power = ops.where(values >= 2.0**k, 2.0**k, power)
    return power
