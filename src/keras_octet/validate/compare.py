"""Sums that compare two streams of values in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from keras_octet.validate.results import Difference

# Elements handled at a time: their float64 copies stay in the processor's cache, and BLAS does not
# start threads for so few.
CHUNK_SIZE = 1 << 13


def decibels(signal: float, noise: float) -> float:
    """`10 log10(signal / noise)`; infinite without noise, minus infinite without signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


class ErrorSums:
    """The sums from which SQNR, cosine and errors follow, over any number of updates."""

    def __init__(self) -> None:
        self.count = 0
        self.max_error = 0.0
        # Sums of f^2, q^2, f q, (f - q)^2 and |f - q|, in float64.
        self._sums = np.zeros(5)

    def update(self, reference: np.ndarray, received: np.ndarray) -> None:
        """Add pairs of elements.

        Args:
            reference: float values, of any shape.
            received: values that stand for them, of the same shape.
        """
        # Values that are not finite show in the result.
        with np.errstate(invalid="ignore", over="ignore"):
            for f, q in _chunks(reference, received):
                error = f - q
                sizes = np.abs(error)
                self._sums += (f @ f, q @ q, f @ q, error @ error, sizes.sum())
                # A comparison with NaN is false, so Python's max() would lose it.
                self.max_error = float(np.maximum(self.max_error, sizes.max()))
        self.count += reference.size

    def result(self) -> Difference:
        """The difference so far; NaN where a value was not finite."""
        ff, qq, fq, dd, d = self._sums.tolist()
        sizes = math.sqrt(ff) * math.sqrt(qq)
        return Difference(
            sqnr=decibels(ff, dd) if math.isfinite(ff + dd) else math.nan,
            cosine=fq / sizes if sizes else float(ff == qq),
            max_error=self.max_error,
            mean_error=d / max(self.count, 1),
        )


def _chunks(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Equal stretches of arrays of one shape, flattened, as float64."""
    shapes = {array.shape for array in arrays}
    assert len(shapes) == 1, shapes
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, CHUNK_SIZE):
        yield [array[start : start + CHUNK_SIZE].astype(np.float64) for array in flat]


class ChannelRange:
    """Minimum and maximum of each index of the last axis; of all values for a vector."""

    def __init__(self) -> None:
        self.minimum = np.full(1, np.inf, np.float32)
        self.maximum = np.full(1, -np.inf, np.float32)

    def update(self, values: np.ndarray) -> None:
        """Add values of shape `(batch, ..., channels)` or `(batch,)`."""
        rows = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        if rows.size:
            self.minimum = np.minimum(self.minimum, rows.min(axis=0))
            self.maximum = np.maximum(self.maximum, rows.max(axis=0))

    def spans(self) -> np.ndarray:
        """`maximum - minimum` of each channel, float64."""
        return self.maximum.astype(np.float64) - self.minimum


class EvenSample:
    """An even sample of a stream of rows: every `k`-th, `k` a power of two that grows with it.

    Depends on the rows alone, not on how they are cut into updates.

    Args:
        max_rows: most rows kept.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._step = 1
        self._seen = 0
        self._kept: list[np.ndarray] = []
        self._num_kept = 0

    def update(self, rows: np.ndarray) -> None:
        """Add rows of shape `(count, columns)`."""
        first = -self._seen % self._step
        self._seen += len(rows)
        self._keep([*self._kept, rows[first :: self._step].copy()])
        while self._num_kept > self._max_rows:
            self._step *= 2
            self._keep([self.rows()[::2]])

    def _keep(self, parts: list[np.ndarray]) -> None:
        self._kept = parts
        self._num_kept = sum(map(len, parts))

    def rows(self) -> np.ndarray:
        """The rows kept."""
        return np.concatenate(self._kept) if self._kept else np.zeros((0, 2))
