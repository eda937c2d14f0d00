"""LiteRT's built-in kernels on int16 tensors, whose zero points are 0, as NumPy tables.

An operator of one tensor is a table of 65,536 entries. Where LiteRT itself looks up and
interpolates in a table of 256 or 513 entries, that is done here for every value once.

Sources: LiteRT's reference kernels; gemmlowp.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from keras_octet import builtin_kernels
from keras_octet.arithmetic import F32
from keras_octet.gemmlowp import gemmlowp_requantize, quantize_multiplier
from keras_octet.lstm_kernels import GATE_FRACTION_BITS, sigmoid_table
from keras_octet.lstm_kernels import tanh_table as fixed_point_tanh_table
from keras_octet.qparams import INTEGER_RANGES, QParams, round_half_away

ALL_INT16 = np.arange(-(2**15), 2**15, dtype=np.int64)
# Entries of the table of the logistic function lie 1/24 apart.
_LOGISTIC_STEPS = 24.0
_SIXTEEN_BITS = 2.0**16 - 1
# The exponential is looked up in [-10, 0].
_LOWEST_EXPONENT = 10.0


def values_of(qparams: QParams) -> np.ndarray:
    """Every integer of the type of `qparams`, less the zero point, int64."""
    low, high = INTEGER_RANGES[qparams.dtype]
    return np.arange(low, high + 1, dtype=np.int64) - qparams.zero_point


def saturate(values: np.ndarray, target: QParams) -> np.ndarray:
    """Clipped to the type of `target`, its zero point added."""
    low, high = INTEGER_RANGES[target.dtype]
    return np.clip(values + target.zero_point, low, high).astype(target.dtype)


def bounds(activation: str | None, target: QParams) -> tuple[int, int]:
    """int16 bounds of a fused activation: `round_half_away(v / scale)`."""
    limits = {None: (None, None), "relu": (0, None), "relu6": (0, 6), "hard_tanh": (-1, 1)}
    low, high = limits[activation]
    least, largest = INTEGER_RANGES["int16"]

    def steps(value: float | None, default: int) -> int:
        if value is None:
            return default
        return int(np.clip(round_half_away(float(F32(value) / F32(target.scale))), least, largest))

    return steps(low, least), steps(high, largest)


def requantize_table(source: QParams, target: QParams) -> np.ndarray:
    """QUANTIZE between int8 and int16 in either direction, or of int16 to another scale."""
    return saturate(gemmlowp_requantize(values_of(source), source.scale / target.scale), target)


def relu_table(source: QParams, target: QParams, max_value: float | None) -> np.ndarray:
    """RELU, RELU6."""
    values = gemmlowp_requantize(ALL_INT16, float(F32(source.scale) / F32(target.scale)))
    low, high = bounds("relu" if max_value is None else "relu6", target)
    return np.clip(values, low, high).astype(np.int16)


def leaky_relu_table(source: QParams, target: QParams, negative_slope: float) -> np.ndarray:
    """LEAKY_RELU."""
    positive = gemmlowp_requantize(ALL_INT16, float(F32(source.scale) / F32(target.scale)))
    ratio = F32(F32(F32(source.scale) * F32(negative_slope)) / F32(target.scale))
    negative = np.sign(ratio) * gemmlowp_requantize(ALL_INT16, float(abs(ratio)))
    return saturate(np.where(ALL_INT16 >= 0, positive, negative).astype(np.int64), target)


@cache
def _logistic_entries() -> np.ndarray:
    """`2**16 * logistic(i / 24)`, less half of what interpolation between two entries errs."""

    def exact(i: np.ndarray) -> np.ndarray:
        return 2.0**16 / (1.0 + np.exp(-i / _LOGISTIC_STEPS))

    i = np.arange(256)
    error = (exact(i) + exact(i + 1.0)) / 2 - exact(i + 0.5)
    entries = np.floor(exact(i) - error / 2 + 0.5)
    entries[-1] = 2**16 - 1
    return entries.astype(np.int64)


def _logistic_positions(scale: float) -> np.ndarray:
    """Every int16 value in units of 1/(3 * 2**12)."""
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return (ALL_INT16 * int(multiplier) + (1 << shift >> 1)) >> shift


def _interpolate(positions: np.ndarray, bits: int) -> np.ndarray:
    """Between the entries around `|position| / 2**bits`, times `2**bits`."""
    entries = _logistic_entries()
    distance = np.abs(positions)
    index = np.minimum(distance >> bits, 254)
    fraction = distance & ((1 << bits) - 1)
    return (entries[index] << bits) + fraction * (entries[index + 1] - entries[index])


def logistic_table(source: QParams) -> np.ndarray:
    """LOGISTIC; the output has scale 2**-15. In fixed point of an input with scale 2**-12."""
    if source.scale == 2.0**-GATE_FRACTION_BITS:
        return sigmoid_table().astype(np.int16)
    positions = _logistic_positions(source.scale)
    values = np.where(np.abs(positions) >> 9 >= 255, 0x7FFF << 10, _interpolate(positions, 9))
    half = 1 << 9
    return (np.where(positions >= 0, values + half, (1 << 25) - values + half - 1) >> 10).astype(
        np.int16
    )


def tanh_table(source: QParams) -> np.ndarray:
    """TANH, `2 * logistic(2 x) - 1`; the output has scale 2**-15.

    In fixed point of an input with scale 2**-12 or 2**-11.
    """
    for integer_bits in (3, 4):
        if source.scale == 2.0 ** (integer_bits - 15):
            return fixed_point_tanh_table(integer_bits).astype(np.int16)
    positions = _logistic_positions(source.scale)
    values = np.where(np.abs(positions) >> 8 >= 255, 0xFFFF << 8, _interpolate(positions, 8))
    one, half = 1 << 23, 1 << 7
    return (np.where(positions >= 0, values - one + half, -values + one + half - 1) >> 8).astype(
        np.int16
    )


def _sampled(
    function: Callable[[np.ndarray], np.ndarray], scale: float, zero_point: int
) -> np.ndarray:
    """`function` of every int16 by interpolation in 513 samples, as int16 of scale 2/65535.

    An entry is moved by half of what interpolation errs in the middle between it and the next.
    """
    first, last = (scale * (edge - zero_point) for edge in (-(2**15), 2**15 - 1))
    step = (last - first) / 512
    output_scale = 2.0 / _SIXTEEN_BITS
    inverse = 2.0**16 / (output_scale * (2**15 - 1) - output_scale * -(2**15))
    positions = first + np.arange(512) * step
    sample = round_half_away(function(positions) * inverse)
    following = function(first + np.arange(1, 513) * step) * inverse
    middle = round_half_away(function(positions + step / 2) * inverse)
    error = round_half_away((following + sample) / 2) - middle
    entries = np.append(
        sample - round_half_away(error / 2), round_half_away(function(np.array(last)) * inverse)
    )
    return _looked_up(entries)


def _looked_up(entries: np.ndarray) -> np.ndarray:
    """Every int16 between the two nearest of 513 entries."""
    entries = np.clip(entries, -(2**15), 2**15 - 1).astype(np.int64)
    index, fraction = 256 + (ALL_INT16 >> 7), ALL_INT16 & 0x7F
    base = entries[index]
    return base + (((entries[index + 1] - base) * fraction + 64) >> 7)


Function = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""float32 values, and the least and largest value that the output can hold, to float32 values."""


def _logarithm(x: np.ndarray, least: np.ndarray, largest: np.ndarray) -> np.ndarray:
    positive = np.where(x > 0, x, 1).astype(np.float64)
    return np.where(x > 0, np.log(positive).astype(F32), least)


def _inverse_square_root(x: np.ndarray, least: np.ndarray, largest: np.ndarray) -> np.ndarray:
    root = np.sqrt(np.where(x > 0, x, 1).astype(F32))
    return np.where(x > 0, F32(1) / root, largest)


def _exponential(x: np.ndarray, least: np.ndarray, largest: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(x.astype(np.float64)).astype(F32)


def _of_function(function: Function, source: QParams, target: QParams) -> np.ndarray:
    """`function` by interpolation in 513 samples, worked out in float32.

    An entry is moved by half of what interpolation errs in the middle between it and the next.
    """
    edges = np.array([-(2**15), 2**15 - 1], F32)
    first, last = edges * F32(source.scale)
    least, largest = edges * F32(target.scale)
    step = (last - first) / F32(512)
    inverse = F32(2**16) / (largest - least)
    starts = first + np.arange(513, dtype=F32) * step
    starts[-1] = last

    def steps(x: np.ndarray) -> np.ndarray:
        return function(x.astype(F32), least, largest).astype(F32) * inverse

    def rounded(x: np.ndarray) -> np.ndarray:
        return round_half_away(x).astype(F32)

    with np.errstate(over="ignore", invalid="ignore"):
        sample = rounded(steps(starts))
        following = steps(first + np.arange(1, 513, dtype=F32) * step)
        middle = rounded(steps(starts[:-1] + step / F32(2)))
        error = rounded((following + sample[:-1]) / F32(2)) - middle
        entries = np.append(sample[:-1] - rounded(error / F32(2)), sample[-1])
    # What is no number counts as the least.
    return _looked_up(np.nan_to_num(entries, nan=-(2.0**15))).astype(np.int16)


def _absolute(source: QParams, target: QParams) -> np.ndarray:
    magnitudes = np.abs(ALL_INT16)
    if source.scale != target.scale:
        ratio = float(F32(source.scale) / F32(target.scale))
        magnitudes = gemmlowp_requantize(magnitudes, ratio)
    return saturate(magnitudes, target)


_FUNCTIONS: dict[str, Function] = {
    "exp": _exponential,
    "gelu": lambda x, least, largest: builtin_kernels.gelu(x),
    "gelu_tanh": lambda x, least, largest: builtin_kernels.gelu_tanh(x),
    "log": _logarithm,
    "rsqrt": _inverse_square_root,
}
FUNCTIONS = ("abs", "negative", *_FUNCTIONS)


def function_table(name: str, source: QParams, target: QParams) -> np.ndarray:
    """One of `FUNCTIONS` of every int16; `"negative"` negates the integer, whatever the scales."""
    if name == "abs":
        return _absolute(source, target)
    if name == "negative":
        return (-ALL_INT16).astype(np.int16)
    return _of_function(_FUNCTIONS[name], source, target)


@cache
def reciprocal_table() -> np.ndarray:
    """int32 table of `2**15 / (1 + x)` for x from 0 to 1 in 65,536 steps."""
    return _sampled(lambda x: 1.0 / (1.0 + x), 1.0 / _SIXTEEN_BITS, -(2**15)).astype(np.int32)


def exponential_table(source: QParams, beta: float) -> np.ndarray:
    """int32 table of `2**15 * exp(-scale * beta * d)` for `d = max(q) - q` from 0 to 65,535."""
    ratio = float(F32(source.scale) * F32(beta)) / (_LOWEST_EXPONENT / _SIXTEEN_BITS)
    distance = gemmlowp_requantize(-np.arange(2**16), ratio)
    centred = np.clip(distance + 2**15 - 1, -(2**15), 2**15 - 1)
    table = _sampled(np.exp, _LOWEST_EXPONENT / _SIXTEEN_BITS, 2**15 - 1)
    return table[centred + 2**15].astype(np.int32)


def mean_multiplier(num_elements: int, source: QParams, target: QParams) -> tuple[int, int]:
    """`(m, e)` of `sum * m * 2**(e - 31)`: the quotient is taken in the 31-bit multiplier."""
    multiplier, exponent = quantize_multiplier(source.scale / target.scale)
    shift = min(num_elements.bit_length() - 1, 32, 31 + exponent)
    return (multiplier << shift) // num_elements, exponent - shift


def resize_coordinates(
    input_size: int, output_size: int, *, align_corners: bool, half_pixel_centers: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bilinear source rows of the built-in kernel: `(first, second, 10-bit weight)`."""
    inner = 1 if align_corners and output_size > 1 else 0
    apart = output_size - inner
    scale = (1024 * (input_size - inner) + apart // 2) // apart
    offset = scale // 2 - 512 if half_pixel_centers else 0
    place = np.arange(output_size, dtype=np.int64) * scale + offset
    first = np.maximum(np.sign(place) * (np.abs(place) // 1024), 0)
    second = np.minimum(np.maximum(place + 1023, 0) // 1024, input_size - 1)
    return first, second, place - 1024 * first
