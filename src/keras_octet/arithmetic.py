"""The integer arithmetic of LiteRT's default CPU path (XNNPACK), as NumPy constants and tables.

Quantized layers compute with `keras.ops`; whatever is known before data arrives (multipliers,
bounds, lookup tables) comes from here, so that each formula is written once and is the same on
every backend. Float steps are float32, each rounded on its own, because LiteRT's are.

Sources: the int8 quantization specification of LiteRT; XNNPACK's reference microkernels; gemmlowp.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np

from keras_octet.qparams import INTEGER_RANGES, QParams

F32 = np.float32
# Bits of the integers that share a byte in a file, the lowest first; they are signed.
PACKED_BITS = {"int4": 4, "int2": 2}
# float32 holds every integer up to this one.
EXACT_IN_FLOAT32 = 2**24
ALL_INT8 = np.arange(-128, 128, dtype=np.int64)

# XNNPACK's delegate takes a requantization only inside these bounds; outside, LiteRT's builtin
# kernel with other rounding would run.
ADD_RATIO_RANGE = (2.0**-10, 2.0**8)
MULTIPLY_RATIO_RANGE = (2.0**-16, 2.0**8)
REQUANTIZE_RATIO_RANGE = (2.0**-8, 2.0**7)
LINEAR_MULTIPLIER_LIMIT = 256.0
# LiteRT's kernel shifts 16-bit numbers by at most 15 bits, to the right.
HARD_SWISH_RATIO_RANGE = (2.0**-9, 2.0**7)


def requantize_multiplier(
    input_scale: float, weight_scale: np.ndarray | float, output_scale: float
) -> np.ndarray:
    """float32 `(input_scale * weight_scale) / output_scale`: product first, then quotient."""
    return (F32(input_scale) * np.asarray(weight_scale, F32) / F32(output_scale)).astype(F32)


def activation_bounds(activation: str | None, output: QParams) -> tuple[int, int]:
    """int8 bounds of a fused activation: `clip(rne(v / scale + zero_point), -128, 127)`."""

    def bound(value: float) -> int:
        steps = F32(F32(value) / F32(output.scale)) + F32(output.zero_point)
        return int(np.clip(np.rint(steps), -128, 127))

    if activation is None:
        return -128, 127
    if activation == "relu":
        return bound(0.0), 127
    if activation == "relu6":
        return bound(0.0), bound(6.0)
    if activation == "hard_tanh":
        return bound(-1.0), bound(1.0)
    raise ValueError(
        f"Expected activation None, 'relu', 'relu6' or 'hard_tanh'. Received: {activation!r}"
    )


def addition_constants(
    first_scale: float, second_scale: float, output_scale: float
) -> tuple[int, int, int]:
    """`(A, B, shift)` of `(A*(a-za) + B*(b-zb) + 2**(shift-1)) >> shift`, all within int32."""
    first, second = F32(first_scale) / F32(output_scale), F32(second_scale) / F32(output_scale)
    shift = 20 - math.floor(math.log2(max(float(first), float(second))))
    factor = 2.0**shift
    return int(np.rint(float(first) * factor)), int(np.rint(float(second) * factor)), shift


def addition_is_delegated(first: QParams, second: QParams, target: QParams) -> bool:
    """Whether XNNPACK takes an int8 ADD or SUB of these parameters."""
    low, high = ADD_RATIO_RANGE
    return all(low <= F32(x.scale) / F32(target.scale) < high for x in (first, second))


def multiplication_is_delegated(first: QParams, second: QParams, target: QParams) -> bool:
    """Whether XNNPACK takes an int8 MUL of these parameters."""
    low, high = MULTIPLY_RATIO_RANGE
    return bool(low <= F32(first.scale) * F32(second.scale) / F32(target.scale) < high)


def leaky_relu_is_delegated(source: QParams, target: QParams, negative_slope: float) -> bool:
    """Whether XNNPACK takes an int8 LEAKY_RELU of these parameters."""
    low, high = REQUANTIZE_RATIO_RANGE
    positive = F32(source.scale) / F32(target.scale)
    negative = F32(positive * F32(negative_slope))
    return bool(
        low <= positive <= high and low <= abs(negative) and -127.99609375 <= negative <= high
    )


def reduction_constants(
    source: QParams, target: QParams, count: int, share: np.float32
) -> tuple[np.float32, np.float32]:
    """`(multiplier, offset)` of `rne(float32(sum) * multiplier + offset)`, unfused.

    Args:
        source, target: parameters of input and output.
        count: number of values in each sum.
        share: weight of each value: 1 for a sum, `1 / count` for a mean.
    """
    multiplier = F32(F32(F32(source.scale) / F32(target.scale)) * share)
    shift = F32(F32(count * source.zero_point) * multiplier)
    return multiplier, F32(F32(target.zero_point) - shift)


def _saturate(values: np.ndarray, low: int = -128, high: int = 127) -> np.ndarray:
    return np.clip(values, low, high).astype(np.int8)


def requantize_table(source: QParams, target: QParams) -> np.ndarray:
    """Table of `(M*(q - zi) + 256*zo + 128) >> 8`, `M = rne(256 * si / so)`, by `q - lowest`."""
    multiplier = int(np.rint(256.0 * float(F32(source.scale) / F32(target.scale))))
    low, high = INTEGER_RANGES[source.dtype]
    shifted = np.arange(low, high + 1, dtype=np.int64) - source.zero_point
    values = (multiplier * shifted + 256 * target.zero_point + 128) >> 8
    return np.clip(values, *INTEGER_RANGES[target.dtype]).astype(target.dtype)


def can_requantize(source: QParams, target: QParams) -> bool:
    """Whether LiteRT's delegate takes the requantization, and `requantize_table` is what it does.

    Outside, the way goes through float: Dequantize, then Quantize.
    """
    low, high = REQUANTIZE_RATIO_RANGE
    return bool(low <= F32(source.scale) / F32(target.scale) <= high)


def leaky_relu_table(source: QParams, target: QParams, negative_slope: float) -> np.ndarray:
    """int8 table: requantization with its own 8-bit multiplier on each side of zero."""
    positive = F32(source.scale) / F32(target.scale)
    negative = F32(positive * F32(negative_slope))
    shifted = ALL_INT8 - source.zero_point
    multiplier = np.where(
        shifted > 0, int(np.rint(256.0 * float(positive))), int(np.rint(256.0 * float(negative)))
    )
    return _saturate((multiplier * shifted + 256 * target.zero_point + 128) >> 8)


def function_table(
    function: Callable[[np.ndarray], np.ndarray], source: QParams, target: QParams
) -> np.ndarray:
    """int8 table of a real function: `clip(rne(f(x) / so + zo))`.

    `function` gets float64 and its result is rounded to float32.
    """
    real = ((ALL_INT8 - source.zero_point).astype(F32) * F32(source.scale)).astype(np.float64)
    with np.errstate(over="ignore"):
        values = np.asarray(function(real)).astype(F32)
    scaled = values * F32(F32(1) / F32(target.scale))
    return _saturate(np.rint(scaled + F32(target.zero_point)))


def resize_scale(input_size: int, output_size: int, align_corners: bool) -> np.float32:
    """Distance in the input between two samples of the output, float32."""
    inner = 1 if align_corners and output_size > 1 else 0
    return F32(F32(input_size - inner) / F32(output_size - inner))


def resize_coordinates(
    input_size: int,
    output_size: int,
    *,
    align_corners: bool = False,
    half_pixel_centers: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bilinear source rows of XNNPACK: `(first, second, 11-bit weight)`."""
    scale = resize_scale(input_size, output_size, align_corners)
    offset = F32(F32(0.5) * scale - F32(0.5)) if half_pixel_centers else F32(0)
    positions = np.arange(output_size, dtype=F32) * scale + offset
    positions = np.clip(positions, F32(0), F32(input_size - 1)).astype(F32)
    first = positions.astype(np.int64)
    second = np.minimum(first + 1, input_size - 1)
    weight = np.rint((positions - first.astype(F32)) * F32(2048)).astype(np.int64)
    return first, second, weight


def exact_pieces(kernel: np.ndarray, input_range: tuple[int, int]) -> tuple[int, int]:
    """Into how many pieces a kernel must be cut so that float32 accumulates each one exactly.

    A float32 sum of integer products is exact in any order if every sum of some of them lies within
    2**24 of 0. Looks at the actual weights: inputs that are not negative take a sum up with
    positive weights only, and down with negative ones.

    Args:
        kernel: integers of shape `(*window, inputs, outputs)`; the window can have no axes.
        input_range: lowest and highest `q - zero_point`; contains 0.

    Returns:
        `(channels, window)`: pieces of the input channels; pieces of the window, which is cut only
        where a single input channel is too much.
    """
    *window, inputs, _ = kernel.shape
    if _is_exact(_reach(kernel, input_range, axes=range(kernel.ndim - 1))):
        return 1, 1
    by_channel = _reach(kernel, input_range, axes=range(len(window)))
    channels = _num_pieces(by_channel)
    if channels is not None:
        return channels, 1
    by_position = _reach(kernel, input_range, axes=()).reshape(math.prod(window), -1)
    return inputs, _num_pieces(by_position) or len(by_position)


def fits_float32(kernel: np.ndarray, bias: np.ndarray, input_range: tuple[int, int]) -> bool:
    """Whether float32 adds up the products of a whole kernel, and the bias, exactly in any order.

    Args:
        kernel: integers of shape `(*window, inputs, outputs)`; the window can have no axes.
        bias: int32 `(outputs,)`.
        input_range: lowest and highest `q - zero_point`; contains 0.
    """
    wide = bias.astype(np.int64)
    reach = _reach(kernel, input_range, axes=range(kernel.ndim - 1))
    return _is_exact(reach + np.concatenate([np.maximum(wide, 0), np.maximum(-wide, 0)]))


def _reach(kernel: np.ndarray, input_range: tuple[int, int], axes: Iterable[int]) -> np.ndarray:
    """How far the products along `axes` can take a sum up and, after all outputs, how far down."""
    lowest, highest = input_range
    positive, negative = (
        part(kernel, 0).sum(axis=tuple(axes), dtype=np.int64) for part in (np.maximum, np.minimum)
    )
    up = highest * positive + lowest * negative
    down = lowest * positive + highest * negative
    return np.concatenate([up, -down], axis=-1)


def _is_exact(reach: np.ndarray) -> bool:
    return bool(reach.max(initial=0) <= EXACT_IN_FLOAT32)


def _num_pieces(reach: np.ndarray) -> int | None:
    """The fewest equal pieces of the first axis whose sums are all exact in float32, if any."""
    size = reach.shape[0]
    for pieces in range(1, size + 1):
        edges = [low for low, _ in chunk_bounds(size, pieces)]
        if _is_exact(np.add.reduceat(reach, edges, axis=0)):
            return pieces
    return None


def chunk_bounds(size: int, chunks: int) -> list[tuple[int, int]]:
    """`chunks` nearly equal half-open intervals that cover `range(size)`."""
    edges = [size * i // chunks for i in range(chunks + 1)]
    return list(itertools.pairwise(edges))
