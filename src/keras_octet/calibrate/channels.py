"""The mean of each channel of a tensor, over samples and positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_octet.calibrate.sampling import spread_positions
from keras_octet.errors import CalibrationError

# Means of samples are multiples of this, so that their sums are exact, whatever the order.
RESOLUTION = 2.0**-24


class ChannelMean:
    """Mean of each channel (index of the last axis).

    Of a large sample some positions are looked at (see `spread_positions`).

    Attributes:
        total: float64 `(channels,)`, sum of the means of the samples; None while empty.
        count: samples seen (indices of the first axis).
    """

    def __init__(self) -> None:
        self.total: np.ndarray | None = None
        self.count = 0

    @property
    def mean(self) -> np.ndarray | None:
        """float32 `(channels,)`; None if nothing was seen or the number of channels varies."""
        if self.total is None or self.count == 0:
            return None
        return (self.total / self.count).astype(np.float32)

    def update(self, array: np.ndarray) -> None:
        """Take in finite values: a float array of shape `(batch, ..., channels)`."""
        if array.ndim < 2 or not array.size:
            return
        means = spread_positions(array).mean(axis=1, dtype=np.float64)
        self._add(np.rint(means / RESOLUTION).sum(axis=0) * RESOLUTION, len(array))

    def merge(self, other: ChannelMean) -> None:
        """Take in what `other` has seen; exact."""
        if other.count:
            self._add(other.total, other.count)

    def _add(self, total: np.ndarray | None, count: int) -> None:
        if self.count == 0:
            self.total = total
        elif self.total is None or total is None or self.total.shape != total.shape:
            self.total = None
        else:
            self.total = self.total + total
        self.count += count

    def get_state(self) -> dict[str, Any]:
        """What was seen, as JSON-compatible values."""
        total = None if self.total is None else self.total.tolist()
        return {"total": total, "count": self.count}

    @classmethod
    def from_state(cls, state: Any) -> ChannelMean:
        """The inverse of `get_state`.

        Raises:
            CalibrationError: the state is not one that `get_state` gives.
        """
        restored = cls()
        try:
            if not isinstance(state, Mapping) or type(state["count"]) is not int:
                raise ValueError("a count and a total are expected")
            restored.count = state["count"]
            if state["total"] is not None:
                restored.total = np.asarray(state["total"], np.float64)
                if restored.total.ndim != 1 or not np.isfinite(restored.total).all():
                    raise ValueError("the total must be a row of finite numbers")
            if restored.count < 0:
                raise ValueError("the count is negative")
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(
                f"The means of the channels are not valid: {type(error).__name__}: {error}"
            ) from None
        return restored
