"""A histogram that gives the same counts whatever the order and split of the data.

Value `x` belongs to bin `trunc(x / 2^k)`: bin `i > 0` is `[i * 2^k, (i + 1) * 2^k)`, bin `-i` its
mirror image and bin 0 `(-2^k, 2^k)`. The exponent `k` is the smallest for which the bins from the
lowest value (or 0) to the highest value (or 0) are at most `num_bins`: a function of the extremes
alone, so it only grows while data arrive. Going from `k` to `k + 1` moves bin `i` to
`trunc(i / 2)`, and `trunc(trunc(x / 2^k) / 2) = trunc(x / 2^(k + 1))`, so a histogram that was
coarsened equals one that was coarse from the start. (Truncation rather than floor: a tiny negative
value that underflows to zero when scaled stays in its bin.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_octet.errors import CalibrationError

# Elements handled at a time: the chunk and its bin numbers stay in the processor's cache.
CHUNK_SIZE = 1 << 16
# 2^100 is a float32; values below 2^-100 in size all go to bin 0.
LOWEST_EXPONENT = -100


def finite_extremes(values: np.ndarray) -> tuple[float, float]:
    """Minimum and maximum of a non-empty contiguous float32 array in one pass over memory.

    Raises:
        CalibrationError: a value is NaN or infinite.
    """
    flat = values.reshape(-1)
    low, high = math.inf, -math.inf
    for start in range(0, flat.size, CHUNK_SIZE):
        chunk = flat[start : start + CHUNK_SIZE]
        chunk_low, chunk_high = float(chunk.min()), float(chunk.max())
        # A comparison with NaN is false, so Python's min() would lose it.
        if not (math.isfinite(chunk_low) and math.isfinite(chunk_high)):
            raise CalibrationError("Values to observe must be finite. Received: NaN or infinity")
        low, high = min(low, chunk_low), max(high, chunk_high)
    return low, high


class Histogram:
    """Counts of values on a zero-aligned grid of power-of-two width.

    Args:
        num_bins: most bins in use, at least 2.

    Attributes:
        exponent: bins are `2^exponent` wide; None while empty.
        first: grid index of the first bin.
        counts: int64 array of shape `(bins in use,)`.
        minimum: smallest value, exact.
        maximum: largest value, exact.
    """

    def __init__(self, num_bins: int = 2048) -> None:
        self.num_bins = num_bins
        self.exponent: int | None = None
        self.first = 0
        self.counts = np.zeros(0, np.int64)
        self.minimum = math.inf
        self.maximum = -math.inf

    @property
    def num_values(self) -> int:
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self.exponent or 0)

    @property
    def indices(self) -> np.ndarray:
        """Grid index of each bin, int64 of shape `(bins,)`; contains 0 unless empty."""
        return self.first + np.arange(self.counts.size)

    @property
    def edges(self) -> np.ndarray:
        """float64 edges of the bins, shape `(bins + 1,)`."""
        indices = self.indices
        return np.concatenate([indices[indices <= 0] - 1, indices[indices >= 0] + 1]) * self.width

    @property
    def centers(self) -> np.ndarray:
        """float64 middle of each bin, shape `(bins,)`: 0 for bin 0."""
        indices = self.indices
        return (indices + 0.5 * np.sign(indices)) * self.width

    def update(self, values: np.ndarray) -> None:
        """Count the values of a float32 array of any shape.

        Raises:
            CalibrationError: a value is NaN or infinite.
        """
        if not values.size:
            return
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        self.cover(*finite_extremes(flat))
        inverse = np.float32(math.ldexp(1.0, -(self.exponent or 0)))
        scaled = np.empty(min(flat.size, CHUNK_SIZE), np.float32)
        indices = np.empty(scaled.size, np.intp)
        for start in range(0, flat.size, CHUNK_SIZE):
            chunk = flat[start : start + CHUNK_SIZE]
            part, index = scaled[: chunk.size], indices[: chunk.size]
            np.multiply(chunk, inverse, out=part)
            np.copyto(index, part, casting="unsafe")  # truncates
            if self.first:
                np.subtract(index, self.first, out=index)
            self.counts += np.bincount(index, minlength=self.counts.size)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram.

        Raises:
            CalibrationError: the histograms differ in `num_bins`.
        """
        if other.num_bins != self.num_bins:
            raise CalibrationError(
                f"Histograms to merge must have the same number of bins. "
                f"Received: {self.num_bins} and {other.num_bins}"
            )
        if other.exponent is None:
            return
        self.cover(other.minimum, other.maximum)
        assert self.exponent is not None
        shift = self.exponent - other.exponent
        np.add.at(self.counts, _coarsened(other.indices, shift) - self.first, other.counts)

    def cover(self, minimum: float, maximum: float) -> None:
        """Widen and coarsen the grid to hold the values from `minimum` to `maximum`."""
        self.minimum, self.maximum = min(self.minimum, minimum), max(self.maximum, maximum)
        low, high = min(self.minimum, 0.0), max(self.maximum, 0.0)
        exponent = self._exponent_for(low, high)
        first, last = (
            math.trunc(math.ldexp(low, -exponent)),
            math.trunc(math.ldexp(high, -exponent)),
        )
        if (exponent, first, last - first + 1) == (self.exponent, self.first, self.counts.size):
            return
        counts = np.zeros(last - first + 1, np.int64)
        if self.exponent is not None:
            indices = _coarsened(self.indices, exponent - self.exponent) - first
            np.add.at(counts, indices, self.counts)
        self.exponent, self.first, self.counts = exponent, first, counts

    def _exponent_for(self, low: float, high: float) -> int:
        """The smallest exponent for which the bins from `low` to `high` are at most `num_bins`."""
        mean_width = (high - low) / self.num_bins
        if mean_width == 0.0:
            return LOWEST_EXPONENT
        # 2^exponent is at most half the mean width here: never too coarse to start from.
        exponent = max(LOWEST_EXPONENT, math.frexp(mean_width)[1] - 2)
        while self._num_bins_between(low, high, exponent) > self.num_bins:
            exponent += 1
        return exponent

    @staticmethod
    def _num_bins_between(low: float, high: float, exponent: int) -> int:
        return math.trunc(math.ldexp(high, -exponent)) - math.trunc(math.ldexp(low, -exponent)) + 1

    def get_state(self) -> dict[str, Any]:
        """Plain numbers and one int64 array, enough to rebuild the histogram."""
        return {
            "num_bins": self.num_bins,
            "exponent": self.exponent or 0,
            "first": self.first,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "counts": self.counts.copy(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Histogram:
        """The inverse of `get_state`.

        Raises:
            CalibrationError: the state is not one that `get_state` gives.
        """
        histogram = cls(int(state["num_bins"]))
        counts = np.asarray(state["counts"])
        if counts.size == 0:
            return histogram
        if counts.ndim != 1 or counts.dtype.kind not in "iu" or counts.min() < 0:
            raise CalibrationError("The counts of a histogram must be one row of whole numbers.")
        histogram.cover(float(state["minimum"]), float(state["maximum"]))
        grid = (histogram.exponent, histogram.first, histogram.counts.shape)
        if grid != (state["exponent"], state["first"], counts.shape):
            raise CalibrationError("The bins of a histogram do not fit its minimum and maximum.")
        histogram.counts = counts.astype(np.int64)
        return histogram


def _coarsened(indices: np.ndarray, steps: int) -> np.ndarray:
    """Grid indices after `steps` doublings of the width: `trunc(i / 2^steps)`."""
    # A step count beyond 62 would overflow the shift; every index is 0 by then.
    return np.sign(indices) * (np.abs(indices) >> min(steps, 62))
