"""The integer arithmetic of LiteRT's default CPU path (XNNPACK), as NumPy constants and tables.

Quantized layers compute with `keras.ops`; whatever is known before data arrives (multipliers,
bounds, lookup tables) comes from here, so that each formula is written once and is the same on
every backend. Float steps are float32, each rounded on its own, because LiteRT's are.

Sources: the int8 quantization specification of LiteRT; XNNPACK's reference microkernels; gemmlowp.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from keras_octet.qparams import QParams, round_half_away

F32 = np.float32
ALL_INT8 = np.arange(-128, 128, dtype=np.int64)

# XNNPACK's delegate takes a requantization only inside these bounds; outside, LiteRT's builtin
# kernel with other rounding would run.
ADD_RATIO_RANGE = (2.0**-10, 2.0**8)
MULTIPLY_RATIO_RANGE = (2.0**-16, 2.0**8)
REQUANTIZE_RATIO_RANGE = (2.0**-8, 2.0**7)
LINEAR_MULTIPLIER_LIMIT = 256.0


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
    raise ValueError(f"Expected activation None, 'relu' or 'relu6'. Received: {activation!r}")


def quantize_multiplier(value: float) -> tuple[int, int]:
    """`value = m * 2**(e - 31)` with `m` in `[2**30, 2**31)`; values below 2**-32 give (0, 0)."""
    fraction, exponent = math.frexp(float(value))
    multiplier = int(round_half_away(fraction * 2.0**31))
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return (0, 0) if exponent < -31 else (multiplier, exponent)


def _doubling_high_multiply(values: np.ndarray, multiplier: int) -> np.ndarray:
    return (values * np.int64(multiplier) + np.int64(2**30)) >> np.int64(31)


def gemmlowp_requantize(values: np.ndarray, ratio: float) -> np.ndarray:
    """`values * ratio`, rounded half up in the product, half away in the shift (int64)."""
    multiplier, exponent = quantize_multiplier(ratio)
    shifted = np.asarray(values, np.int64) << max(exponent, 0)
    product = _doubling_high_multiply(shifted, multiplier)
    divisor = 1 << max(-exponent, 0)
    magnitude = (2 * np.abs(product) + divisor) // (2 * divisor)
    return np.sign(product) * magnitude


def addition_constants(
    first_scale: float, second_scale: float, output_scale: float
) -> tuple[int, int, int]:
    """`(A, B, shift)` of `(A*(a-za) + B*(b-zb) + 2**(shift-1)) >> shift`, all within int32."""
    first, second = F32(first_scale) / F32(output_scale), F32(second_scale) / F32(output_scale)
    shift = 20 - math.floor(math.log2(max(float(first), float(second))))
    factor = 2.0**shift
    return int(np.rint(float(first) * factor)), int(np.rint(float(second) * factor)), shift


def mean_constants(
    num_elements: int, input_qparams: QParams, output_qparams: QParams
) -> tuple[np.float32, np.float32]:
    """`(multiplier, offset)` of `rne(float32(sum) * multiplier + offset)`, unfused."""
    multiplier = F32(
        F32(F32(input_qparams.scale) / F32(output_qparams.scale)) * F32(F32(1) / F32(num_elements))
    )
    shift = F32(F32(num_elements * input_qparams.zero_point) * multiplier)
    return multiplier, F32(F32(output_qparams.zero_point) - shift)


def _saturate(values: np.ndarray, low: int = -128, high: int = 127) -> np.ndarray:
    return np.clip(values, low, high).astype(np.int8)


def requantize_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of `(M*(q - zi) + 256*zo + 128) >> 8`, `M = rne(256 * si / so)`."""
    multiplier = int(np.rint(256.0 * float(F32(source.scale) / F32(target.scale))))
    shifted = multiplier * (ALL_INT8 - source.zero_point) + 256 * target.zero_point + 128
    return _saturate(shifted >> 8)


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


def relu_table(source: QParams, target: QParams, max_value: float | None) -> np.ndarray:
    """int8 table of LiteRT's standalone RELU and RELU6 kernel (gemmlowp rounding)."""
    ratio = float(F32(source.scale) / F32(target.scale))
    values = gemmlowp_requantize(ALL_INT8 - source.zero_point, ratio) + target.zero_point
    high = 127
    if max_value is not None:
        steps = int(round_half_away(float(F32(max_value) / F32(target.scale))))
        high = min(127, target.zero_point + steps)
    return _saturate(values, max(-128, target.zero_point), high)


def prelu_table(source: QParams, alpha: QParams, target: QParams) -> np.ndarray:
    """int8 table of shape (256, 256), indexed by `[alpha + 128, q + 128]`."""
    shifted = ALL_INT8 - source.zero_point
    positive = gemmlowp_requantize(shifted, float(F32(source.scale) / F32(target.scale)))
    ratio = F32(F32(F32(source.scale) * F32(alpha.scale)) / F32(target.scale))
    products = np.outer(ALL_INT8 - alpha.zero_point, shifted)
    negative = gemmlowp_requantize(products, float(ratio))
    return _saturate(np.where(shifted >= 0, positive, negative) + target.zero_point)


def function_table(
    function: Callable[[np.ndarray], np.ndarray],
    source: QParams,
    target: QParams,
    *,
    delegated: bool,
) -> np.ndarray:
    """int8 table of a real function, with the rounding of the kernel that LiteRT runs.

    Delegated (XNNPACK): `clip(rne(f(x) / so + zo))`.
    Builtin: `clip(round_half_away(f(x) / so) + zo)`.
    `function` gets float64 and its result is rounded to float32.
    """
    real = ((ALL_INT8 - source.zero_point).astype(F32) * F32(source.scale)).astype(np.float64)
    with np.errstate(over="ignore"):
        values = np.asarray(function(real)).astype(F32)
    scaled = values * F32(F32(1) / F32(target.scale))
    if delegated:
        return _saturate(np.rint(scaled + F32(target.zero_point)))
    return _saturate(round_half_away(scaled) + target.zero_point)


def hard_swish_table(source: QParams, target: QParams) -> np.ndarray:
    """int8 table of `x * relu6(x + 3) / 6` in 16-bit fixed point; needs `si / so < 128`."""

    def reduced(multiplier: int) -> int:
        return min((multiplier + 2**15) >> 16, 32767)

    def multiply16(values: np.ndarray, multiplier: int) -> np.ndarray:
        return (values * multiplier + 2**14) >> 15

    def divide_half_away(values: np.ndarray, exponent: int) -> np.ndarray:
        return round_half_away(values / 2.0**exponent).astype(np.int64)

    def saturate16(values: np.ndarray) -> np.ndarray:
        return np.clip(values, -32768, 32767)

    high_resolution = F32(F32(source.scale) / F32(128))
    output_multiplier, output_exponent = quantize_multiplier(
        float(F32(high_resolution / F32(target.scale)))
    )
    relu_multiplier, relu_exponent = quantize_multiplier(
        float(F32(high_resolution / F32(3.0 / 32768.0)))
    )
    values = 128 * (ALL_INT8 - source.zero_point)
    preshift = multiply16(values, reduced(output_multiplier))
    gate = values
    if relu_exponent > 0:
        gate = saturate16(gate << (relu_exponent - 1))
    gate = multiply16(gate, reduced(relu_multiplier))
    if relu_exponent > 0:
        gate = saturate16(2 * gate)
    if relu_exponent < 0:
        gate = divide_half_away(gate, -relu_exponent)
    gate = (gate + 2**15) >> 1
    product = np.trunc(gate * preshift / 2.0**15)
    return _saturate(divide_half_away(product, -output_exponent) + target.zero_point)


def softmax_table(input_scale: float, beta: float = 1.0) -> np.ndarray:
    """float32 table `exp(-input_scale * beta * d)` for `d = max(q) - q = 0..255`."""
    scale = F32(F32(input_scale) * F32(beta))
    distance = (-scale * np.arange(256, dtype=F32)).astype(np.float64)
    return np.exp(distance).astype(F32)


def resize_coordinates(
    input_size: int, output_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-pixel bilinear source rows of XNNPACK: `(first, second, 11-bit weight)`."""
    scale = F32(F32(input_size) / F32(output_size))
    offset = F32(F32(0.5) * scale - F32(0.5))
    positions = np.arange(output_size, dtype=F32) * scale + offset
    positions = np.clip(positions, F32(0), F32(input_size - 1)).astype(F32)
    first = positions.astype(np.int64)
    second = np.minimum(first + 1, input_size - 1)
    weight = np.rint((positions - first.astype(F32)) * F32(2048)).astype(np.int64)
    return first, second, weight


def nearest_indices(input_size: int, output_size: int) -> np.ndarray:
    """Half-pixel nearest source rows of LiteRT: `min(floor((o + 0.5) * in / out), in - 1)`."""
    scale = F32(F32(input_size) / F32(output_size))
    positions = (np.arange(output_size, dtype=F32) + F32(0.5)) * scale
    return np.minimum(np.floor(positions).astype(np.int64), input_size - 1)


def exact_pieces(kernel: np.ndarray, largest_input: int) -> tuple[int, int]:
    """Into how many pieces a kernel must be cut so that float32 accumulates each one exactly.

    A float32 sum of integer products is exact in any order while the sum of their magnitudes stays
    within 2**24. Looks at the actual weights: `largest_input * sum|w|` per output channel.

    Args:
        kernel: int8 of shape `(*window, inputs, outputs)`; the window can have no axes.
        largest_input: largest magnitude of `q - zero_point`.

    Returns:
        `(channels, window)`: pieces of the input channels; pieces of the window, which is cut only
        where a single input channel is too much.
    """
    limit = 2**24 // largest_input
    magnitudes = np.abs(kernel.astype(np.int64)).reshape(-1, *kernel.shape[-2:])
    by_channel = magnitudes.sum(axis=0)
    channels = _num_pieces(by_channel, limit)
    if channels is not None:
        return channels, 1
    by_position = magnitudes.reshape(magnitudes.shape[0], -1)
    return by_channel.shape[0], _num_pieces(by_position, limit) or by_position.shape[0]


def _num_pieces(magnitudes: np.ndarray, limit: int) -> int | None:
    """The fewest equal pieces of the first axis whose sums are all within `limit`, if any."""
    size = magnitudes.shape[0]
    for pieces in range(1, size + 1):
        edges = [low for low, _ in chunk_bounds(size, pieces)]
        if np.add.reduceat(magnitudes, edges, axis=0).max(initial=0) <= limit:
            return pieces
    return None


def chunk_bounds(size: int, chunks: int) -> list[tuple[int, int]]:
    """`chunks` nearly equal half-open intervals that cover `range(size)`."""
    edges = [size * i // chunks for i in range(chunks + 1)]
    return list(itertools.pairwise(edges))
