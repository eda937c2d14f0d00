"""sigmoid and tanh in float32 as Eigen computes several values at once, without fused products.

LiteRT's built-in kernels use them. What is left over of a row after whole groups of 4 values Eigen
computes one by one, tanh with the same bits, sigmoid with those of the C library's exp.
Reference: `ptanh_float` and `scalar_logistic_op` of Eigen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_octet.layers.rounding import rounded

# Beyond these the approximations are 1, and sigmoid is 0.
_TANH_LIMIT = 7.90738964080810547
_SIGMOID_HIGH = 16.6355324
_SIGMOID_LOW = -104.0
_TANH_ABOVE = (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)
_TANH_BELOW = (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0)


def _multiply_add(first: Any, second: Any, addend: Any) -> Any:
    """`first * second + addend`, both rounded."""
    return rounded(rounded(first * second) + addend)


def _polynomial(values: Any, coefficients: Sequence[float]) -> Any:
    result = ops.full_like(values, coefficients[0])
    for coefficient in coefficients[1:]:
        result = _multiply_add(result, values, coefficient)
    return result


def tanh(values: Any) -> Any:
    """A rational approximation of degrees 9 and 8."""
    x = ops.maximum(ops.minimum(values, _TANH_LIMIT), -_TANH_LIMIT)
    square = rounded(x * x)
    cube = rounded(square * x)
    above = _multiply_add(cube, _polynomial(square, _TANH_ABOVE), x)
    return above / _polynomial(square, _TANH_BELOW)


def sigmoid(values: Any) -> Any:
    """`e / (1 + e)` with `e = exp(x / 2) ** 2`, by a polynomial of degree 5."""
    x = 0.5 * ops.minimum(values, _SIGMOID_HIGH)
    power = ops.floor(_multiply_add(x, 1.44269504088896341, 0.5))
    rest = _multiply_add(power, -0.693359375, x)
    rest = _multiply_add(power, 2.12194440e-4, rest)
    square = rounded(rest * rest)
    even = _multiply_add(square, 4.1898667812347412109375e-2, 0.49999141693115234375)
    odd = _multiply_add(square, 8.33471305668354034423828125e-3, 0.16666877269744873046875)
    series = _multiply_add(rest, odd, even)
    series = _multiply_add(square, series, rounded(rest + 1.0))
    bits = ops.left_shift(ops.cast(ops.maximum(power, -126.0), "int32") + 127, 23)
    root = rounded(series * ops.view(bits, "float32"))
    exponential = rounded(root * root)
    return ops.where(values < _SIGMOID_LOW, 0.0, exponential / rounded(exponential + 1.0))
