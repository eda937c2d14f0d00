"""Hypothesis strategies shared by the tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from keras_octet.qparams import QParams

seeds = st.integers(0, 2**32 - 1)
scales = st.one_of(
    st.floats(-7, 1).map(lambda exponent: float(np.float32(10.0**exponent))),
    st.integers(-12, 2).map(lambda exponent: 2.0**exponent),
)
qparams = st.builds(lambda s, z: QParams(scale=s, zero_point=z), scales, st.integers(-128, 127))


@st.composite
def related_qparams(draw: st.DrawFn, count: int, spread: float = 4.0) -> list[QParams]:
    """`count` parameters whose scales lie within a factor `2**spread` of each other."""
    base = draw(st.floats(-4, 0))
    exact = draw(st.booleans())
    found = []
    for _ in range(count):
        step = draw(st.floats(-spread, spread))
        scale = 10.0**base * 2.0 ** (round(step) if exact else step)
        found.append(QParams(scale=scale, zero_point=draw(st.integers(-128, 127))))
    return found


def hard_swish_qparams(low: float, high: float) -> tuple[QParams, QParams]:
    """Parameters of HARD_SWISH, as calibration gives them for inputs in a range."""
    scale, least = (high - low) / 255, 0.375
    scale_after = (high * min(high / 6 + 0.5, 1) + least) / 255
    return (
        QParams(scale=scale, zero_point=round(-128 - low / scale)),
        QParams(scale=scale_after, zero_point=round(-128 + least / scale_after)),
    )


def integers(seed: int, shape: tuple[int, ...], low: int = -128, high: int = 127) -> np.ndarray:
    """Random int8, with the extremes more frequent than chance."""
    rng = np.random.default_rng(seed)
    values = rng.integers(low, high + 1, shape)
    extreme = rng.random(shape)
    values = np.where(extreme < 0.05, low, values)
    return np.where(extreme > 0.95, high, values).astype(np.int8)


def inexact_inverse() -> tuple[float, float]:
    """A float32 and its inverse, whose product is 1 in float32 and a little less in float64."""
    numbers = np.random.default_rng(0).uniform(0.02, 0.04, 1000).astype(np.float32)
    inverses = np.float32(1) / numbers
    exact = numbers.astype(np.float64) * inverses
    position = np.argmin(np.where(numbers * inverses == 1, exact, 2))
    assert exact[position] < 1 - 2**-30
    return float(numbers[position]), float(inverses[position])


# Transposed convolutions that SAME padding of a kernel as wide as the stride would crop elsewhere.
GAPS = [
    {
        "filters": 3,
        "kernel_size": (size, 3),
        "strides": (stride, 1),
        "padding": "same",
        "output_padding": (extra, 0),
    }
    for size, stride, extra in ((1, 3, 0), (1, 4, 1), (2, 3, 1), (2, 4, 2), (3, 4, 1))
]
