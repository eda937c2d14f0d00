"""The integer arithmetic of LiteRT's built-in kernels, as NumPy tables.

They run what XNNPACK does not take: operators it has no int8 form of, and others where scales or
zero points lie outside its bounds. Their rounding is that of gemmlowp's fixed-point products. An
operator of one int8 tensor is a table of 256 entries, one of two tensors a table of 65,536.

Sources: LiteRT's reference kernels; gemmlowp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from keras_octet import c_library
from keras_octet.arithmetic import ALL_INT8, F32, resize_scale
from keras_octet.gemmlowp import (
    gemmlowp_requantize,
    inverse_square_root,
    multiply_high,
    quantize_multiplier,
    reciprocal,
    scaled,
    shift_half_away,
    up_requantize,
)
from keras_octet.qparams import INTEGER_RANGES, QParams, round_half_away

_SHIFT_OF_SUMS = 20
_SHIFT_OF_DIFFERENCES = 7
_SHIFT_OF_COMPARISONS = 8
_SHIFT_OF_INVERSE_ROOTS = 20


def saturate(values: np.ndarray, low: int = -128, high: int = 127) -> np.ndarray:
    return np.clip(values, low, high).astype(np.int8)


_RANGES: dict[str | None, tuple[float | None, float | None]] = {
    None: (None, None),
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "hard_tanh": (-1.0, 1.0),
}


def clipping_bounds(activation: str | None, output: QParams) -> tuple[int, int]:
    """int8 bounds of a fused activation: `zero_point + round_half_away(v / scale)`."""
    low, high = _RANGES[activation]
    return _steps(low, output, -128), _steps(high, output, 127)


def _steps(value: float | None, output: QParams, default: int) -> int:
    if value is None:
        return default
    steps = int(round_half_away(float(F32(value) / F32(output.scale))))
    return int(np.clip(output.zero_point + steps, -128, 127))


# Tables of one operand


def abs_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of ABS."""
    values = np.abs(ALL_INT8 - source.zero_point)
    if source.scale != target.scale:
        values = gemmlowp_requantize(values, float(F32(source.scale) / F32(target.scale)))
    return saturate(values + target.zero_point)


def negate_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of NEG: the stored integer is negated, and -128 stays what it is."""
    return (-ALL_INT8).astype(np.int8)


def sqrt_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of SQRT, rounded towards zero; LiteRT refuses negative values, here 0."""
    real = F32(source.scale) * np.maximum(ALL_INT8 - source.zero_point, 0).astype(F32)
    steps = np.trunc(np.sqrt(real) / F32(target.scale)).astype(np.int64)
    return saturate(steps + target.zero_point)


def log_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of LOG; what has no logarithm gives the least value of the output."""
    real = F32(source.scale) * (ALL_INT8 - source.zero_point).astype(F32)
    lowest = F32(F32(-128 - target.zero_point) * F32(target.scale))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(real <= 0, lowest, np.log(real.astype(np.float64)).astype(F32))
    return _rounded(values.astype(F32), target)


def _rounded(values: np.ndarray, target: QParams) -> np.ndarray:
    """Real numbers to int8, as lookup tables of LiteRT are filled."""
    steps = round_half_away(values * F32(F32(1) / F32(target.scale)))
    return saturate(steps + target.zero_point)


def function_table(
    function: Callable[[np.ndarray], np.ndarray], source: QParams, target: QParams
) -> np.ndarray:
    """int8 table of a real function: `clip(round_half_away(f(x) / so) + zo)`.

    `function` gets float64 and its result is rounded to float32.
    """
    real = F32(source.scale) * (ALL_INT8 - source.zero_point).astype(F32)
    with np.errstate(over="ignore"):
        return _rounded(np.asarray(function(real.astype(np.float64))).astype(F32), target)


def gelu(x: np.ndarray) -> np.ndarray:
    """`x / 2 * erfc(-x / sqrt(2))`, each step in float32."""
    values = x.astype(F32)
    return F32(0.5) * values * c_library.erfc(values * F32(-math.sqrt(0.5)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """`x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, each step in float32."""
    values = x.astype(F32)
    inner = values + F32(0.044715) * values * values * values
    return F32(0.5) * values * (F32(1) + c_library.tanh(F32(math.sqrt(2.0 / math.pi)) * inner))


def rsqrt_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of RSQRT; 0 gives 127, and so do negative values, which LiteRT refuses."""
    values = ALL_INT8 - source.zero_point
    multiplier, exponent = inverse_square_root(np.maximum(values, 1))
    inverse = scaled(np.ones_like(values), multiplier, exponent + _SHIFT_OF_INVERSE_ROOTS)
    ratio = 1.0 / float(F32(np.sqrt(F32(source.scale)) * F32(target.scale)))
    ratio_multiplier, ratio_exponent = quantize_multiplier(ratio)
    steps = scaled(inverse, ratio_multiplier, ratio_exponent - _SHIFT_OF_INVERSE_ROOTS)
    return np.where(values <= 0, np.int8(127), saturate(steps + target.zero_point))


def clip_table(
    source: QParams, target: QParams, low: float | None, high: float | None
) -> np.ndarray:
    """int8 table of a standalone RELU, RELU6, RELU_N1_TO_1 or RELU_0_TO_1."""
    ratio = float(F32(source.scale) / F32(target.scale))
    values = gemmlowp_requantize(ALL_INT8 - source.zero_point, ratio) + target.zero_point
    return saturate(values, _steps(low, target, -128), _steps(high, target, 127))


def hard_swish_multiplier(source: QParams, target: QParams) -> tuple[int, int]:
    """`si / so / 128`, rounded to `m * 2**(e - 15)` with `m` of 15 bits."""
    return _multiplier16(float(_hard_swish_scale(source) / F32(target.scale)))


def _hard_swish_scale(source: QParams) -> np.float32:
    return F32(F32(source.scale) / F32(128))


def _multiplier16(value: float) -> tuple[int, int]:
    multiplier, exponent = quantize_multiplier(value)
    return min((multiplier + 2**15) >> 16, 32767), exponent


def hard_swish_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of `x * relu6(x + 3) / 6` in 16-bit fixed point; needs `si / so < 128`."""

    def multiply16(values: np.ndarray, multiplier: int) -> np.ndarray:
        return (values * multiplier + 2**14) >> 15

    def divide_half_away(values: np.ndarray, exponent: int) -> np.ndarray:
        return round_half_away(values / 2.0**exponent).astype(np.int64)

    def saturate16(values: np.ndarray) -> np.ndarray:
        return np.clip(values, -32768, 32767)

    output_multiplier, output_exponent = hard_swish_multiplier(source, target)
    relu_multiplier, relu_exponent = _multiplier16(
        float(_hard_swish_scale(source) / F32(3.0 / 32768.0))
    )
    values = 128 * (ALL_INT8 - source.zero_point)
    preshift = multiply16(values, output_multiplier)
    gate = values
    if relu_exponent > 0:
        gate = saturate16(gate << (relu_exponent - 1))
    gate = multiply16(gate, relu_multiplier)
    if relu_exponent > 0:
        gate = saturate16(2 * gate)
    if relu_exponent < -15:
        # The kernel's shift of 16 bits is wider than its numbers.
        gate = np.where(gate < 0, -1, 1)
    elif relu_exponent < 0:
        gate = divide_half_away(gate, -relu_exponent)
    gate = (gate + 2**15) >> 1
    product = np.trunc(gate * preshift / 2.0**15)
    return saturate(divide_half_away(product, -output_exponent) + target.zero_point)


def leaky_relu_table(source: QParams, target: QParams, negative_slope: float) -> np.ndarray:
    """int8 table of LEAKY_RELU."""
    values = ALL_INT8 - source.zero_point
    positive = gemmlowp_requantize(values, float(F32(source.scale) / F32(target.scale)))
    ratio = F32(F32(F32(source.scale) * F32(negative_slope)) / F32(target.scale))
    negative = np.sign(ratio) * gemmlowp_requantize(values, float(abs(ratio)))
    return saturate(np.where(values >= 0, positive, negative) + target.zero_point)


def requantize_tables(source: QParams, target: QParams) -> tuple[np.ndarray, np.ndarray]:
    """Tables of QUANTIZE from int8 or uint8, by `q - lowest`: of whole blocks, and of the rest."""
    low, high = INTEGER_RANGES[source.dtype]
    shifted = np.arange(low, high + 1, dtype=np.int64) - source.zero_point
    ratio = float(source.scale) / float(target.scale)
    steps = (up_requantize(shifted, ratio), gemmlowp_requantize(shifted, ratio))
    bounds = INTEGER_RANGES[target.dtype]
    whole, rest = (
        np.clip(values + target.zero_point, *bounds).astype(target.dtype) for values in steps
    )
    return whole, rest


# Tables of two operands, indexed by `[first + 128, second + 128]`


def _pairs(first: QParams, second: QParams) -> tuple[np.ndarray, np.ndarray]:
    a = (ALL_INT8 - first.zero_point)[:, None]
    b = (ALL_INT8 - second.zero_point)[None, :]
    return np.broadcast_to(a, (256, 256)), np.broadcast_to(b, (256, 256))


def _to_common_scale(
    first: QParams, second: QParams, shift: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Both operands in units of `common * 2**-shift`, and `common`, twice the larger scale."""
    common = 2.0 * max(float(first.scale), float(second.scale))
    a, b = _pairs(first, second)
    return (
        gemmlowp_requantize(a << shift, first.scale / common),
        gemmlowp_requantize(b << shift, second.scale / common),
        common,
    )


@cache
def prelu_table(source: QParams, alpha: QParams, target: QParams) -> np.ndarray:
    """int8 table of PRELU, indexed by `[alpha + 128, q + 128]`."""
    shifted = ALL_INT8 - source.zero_point
    positive = gemmlowp_requantize(shifted, float(F32(source.scale) / F32(target.scale)))
    ratio = F32(F32(F32(source.scale) * F32(alpha.scale)) / F32(target.scale))
    products = np.outer(ALL_INT8 - alpha.zero_point, shifted)
    negative = gemmlowp_requantize(products, float(ratio))
    return saturate(np.where(shifted >= 0, positive, negative) + target.zero_point)


@cache
def add_table(
    first: QParams, second: QParams, target: QParams, sign: int, activation: str | None
) -> np.ndarray:
    """int8 table of ADD (`sign` 1) or SUB (-1)."""
    a, b, common = _to_common_scale(first, second, _SHIFT_OF_SUMS)
    ratio = common / (2.0**_SHIFT_OF_SUMS * target.scale)
    values = gemmlowp_requantize(a + sign * b, ratio) + target.zero_point
    return saturate(values, *clipping_bounds(activation, target))


@cache
def multiply_table(
    first: QParams, second: QParams, target: QParams, activation: str | None
) -> np.ndarray:
    """int8 table of MUL."""
    a, b = _pairs(first, second)
    ratio = F32(F32(F32(first.scale) * F32(second.scale)) / F32(target.scale))
    values = gemmlowp_requantize(a * b, float(ratio)) + target.zero_point
    return saturate(values, *clipping_bounds(activation, target))


@cache
def squared_difference_table(first: QParams, second: QParams, target: QParams) -> np.ndarray:
    """int8 table of SQUARED_DIFFERENCE."""
    a, b, common = _to_common_scale(first, second, _SHIFT_OF_DIFFERENCES)
    ratio = common * common / (2.0 ** (2 * _SHIFT_OF_DIFFERENCES) * target.scale)
    return saturate(gemmlowp_requantize((a - b) ** 2, ratio) + target.zero_point)


@cache
def divide_table(
    first: QParams, second: QParams, target: QParams, activation: str | None
) -> np.ndarray:
    """int8 table of DIV; a divisor of 0, which LiteRT leaves open, counts as one step."""
    a, b = _pairs(first, second)
    a, b = a * np.where(b < 0, -1, 1), np.maximum(np.abs(b), 1)
    inverse, bits = reciprocal(b)
    headroom = 31 - np.ceil(np.log2(np.where(a < 0, -a, a + 1))).astype(np.int64)
    quotient = multiply_high(a << headroom, inverse)
    ratio = F32(F32(first.scale) / F32(F32(second.scale) * F32(target.scale)))
    multiplier, exponent = quantize_multiplier(float(ratio))
    product = multiply_high(quotient, multiplier)
    shift = bits + headroom - exponent
    values = np.where(shift > 31, _shift_too_far(product, shift), shift_half_away(product, shift))
    return saturate(values + target.zero_point, *clipping_bounds(activation, target))


def _shift_too_far(values: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """A rounding shift of int32 by 32 bits and more, which x86 takes modulo 32.

    LiteRT's DIV shifts so where the quotient is far below one step.
    """
    return (values >> (exponent & 31)) + (values > np.where(values < 0, 0, -1))


def comparison_table(source: QParams) -> np.ndarray:
    """int32 table of an operand as comparisons see it: its real value in units of 2**-8."""
    multiplier, exponent = quantize_multiplier(source.scale)
    values = (ALL_INT8 - source.zero_point) << _SHIFT_OF_COMPARISONS
    product = multiply_high(values, multiplier)
    return shift_half_away(product, -exponent).astype(np.int32)


# Other constants


def softmax_table(input_scale: float, beta: float = 1.0) -> np.ndarray:
    """float32 table `exp(-input_scale * beta * d)` for `d = max(q) - q = 0..255`."""
    scale = F32(F32(input_scale) * F32(beta))
    distance = (-scale * np.arange(256, dtype=F32)).astype(np.float64)
    return np.exp(distance).astype(F32)


def nearest_indices(
    input_size: int,
    output_size: int,
    *,
    align_corners: bool = False,
    half_pixel_centers: bool = True,
) -> np.ndarray:
    """Source rows of nearest neighbours: `floor((o + offset) * scale)`, within the image.

    The offset is half a pixel between centres, else 0; aligned corners round instead.
    """
    scale = resize_scale(input_size, output_size, align_corners)
    positions = np.arange(output_size, dtype=F32) + F32(0.5 if half_pixel_centers else 0)
    positions = positions * scale
    rounded = round_half_away(positions) if align_corners else np.floor(positions)
    return np.clip(rounded.astype(np.int64), 0, input_size - 1)
