"""int8 activations in float32, to the bits of LiteRT's fixed-point kernels.

A factor close to 1 and an offset close to 0 make up for what fixed-point arithmetic rounds. They
are such that all 256 inputs have the right output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from keras_octet.arithmetic import ALL_INT8, F32
from keras_octet.builtin_kernels import (
    clip_table,
    hard_swish_multiplier,
    hard_swish_table,
    prelu_table,
)
from keras_octet.qparams import QParams

Correction = tuple[float, float]

# What float32 rounds away at most in all operations together: of the larger of input and output, in
# 8 roundings; and of the offset and the zero point.
ROUNDING = 9 * 2.0**-24
ROUNDING_OF_ZERO = 2.0**-15
# Where some factor does it, one so close to 1 nearly always does.
FACTORS = 1 + np.arange(-100, 101) * 1e-5
# In steps.
LARGEST_OFFSET = 1.0


def has_usual_scale(qparams: QParams) -> bool:
    """Whether constants in float32 are neither infinite nor subnormal."""
    return 1e-15 < qparams.scale < 1e15


@lru_cache(maxsize=1024)
def clip_correction(source: QParams, target: QParams, high: float | None) -> Correction | None:
    """`(f, o)` with which `min(max(x, 0), high) * f + o` rounds to the clipped int8.

    `high` is None for RELU, 6 for RELU6; `x` and `o` are real. None if there are no such numbers.
    """
    table = partial(clip_table, low=0.0, high=high)
    return _correction(lambda x: np.clip(x, 0, high), table, source, target)


@lru_cache(maxsize=1024)
def hard_swish_correction(source: QParams, target: QParams) -> Correction | None:
    """`(f, o)` with which `x * min(max(x / 6 + 1/2, 0), 1) * f + o` rounds to HARD_SWISH.

    None for one in twenty or so of the parameters that calibration gives.
    """
    return _correction(lambda x: x * np.clip(x / 6 + 0.5, 0, 1), hard_swish_table, source, target)


@lru_cache(maxsize=1024)
def hard_swish_in_parts(source: QParams, target: QParams) -> tuple[float, float, float] | None:
    """`(p, f, o)` with which `round(x * p) * min(max(x + 3, 0), 6) * f + o` rounds to it.

    The rounding inside is that of the fixed-point kernel, but for ties. None for one in a hundred
    or so.
    """
    multiplier, exponent = hard_swish_multiplier(source, target)
    parts, unit = multiplier / (256.0 * source.scale), target.scale * 2.0**exponent / 6

    def product(x: np.ndarray) -> np.ndarray:
        rounded = np.rint(x.astype(np.float32) * F32(parts)).astype(np.float64)
        return unit * rounded * np.clip(x + 3, 0, 6)

    found = _correction(product, hard_swish_table, source, target)
    return found and (parts, unit * found[0], found[1])


@lru_cache(maxsize=4096)
def prelu_correction(
    source: QParams, alpha: QParams, target: QParams, slope: int
) -> Correction | None:
    """`(f, o)` with which `prelu(x) * f + o` rounds to PRELU.

    The slope is an int8 with the parameters `alpha`.
    """
    real = float(F32(alpha.scale)) * (slope - alpha.zero_point)

    def table(source: QParams, target: QParams) -> np.ndarray:
        return prelu_table(source, alpha, target)[slope + 128]

    return _correction(lambda x: np.where(x < 0, real * x, x), table, source, target)


def _correction(
    function: Callable[[np.ndarray], np.ndarray],
    table: Callable[[QParams, QParams], np.ndarray],
    source: QParams,
    target: QParams,
) -> Correction | None:
    """Factor and offset that take `function` of every real input to its entry of the table."""
    if not (has_usual_scale(source) and has_usual_scale(target)):
        return None
    integers = (ALL_INT8 - source.zero_point).astype(np.float32)
    inputs = (F32(source.scale) * integers).astype(np.float64)
    outputs, entries = function(inputs), table(source, target).astype(np.int64)
    largest = np.maximum(abs(inputs), abs(outputs))
    margin = 0.5 - ROUNDING_OF_ZERO - ROUNDING * largest / target.scale
    # In steps without the zero point; what saturates may be anywhere beyond.
    low = np.where(entries == -128, -np.inf, entries - target.zero_point - margin)
    high = np.where(entries == 127, np.inf, entries - target.zero_point + margin)
    steps = outputs / target.scale
    for factors in (np.ones(1), FACTORS):
        scaled = factors[:, None] * steps
        least = np.maximum((low - scaled).max(axis=1), -LARGEST_OFFSET)
        most = np.minimum((high - scaled).min(axis=1), LARGEST_OFFSET)
        best = int(np.argmax(most - least))
        if most[best] >= least[best]:
            return float(factors[best]), float((least[best] + most[best]) / 2 * target.scale)
    return None
