"""Observers' specifications: how the range of a tensor is found from the values seen.

Nothing here computes: `keras_octet.calibrate.observers.make_observer` makes a running observer of a
specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_octet.configurable import Configurable, integer, known_keys, number
from keras_octet.errors import RecipeError


@dataclass(frozen=True, kw_only=True, repr=False)
class Observer(Configurable):
    """Specification of how a tensor's range is found from the values seen in calibration."""

    def get_config(self) -> dict[str, Any]:
        """The fields, with the class name under `"type"`."""
        return {"type": type(self).__name__} | super().get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Observer:
        """The observer specification named by `config["type"]`."""
        fields = dict(config) if isinstance(config, Mapping) else {}
        name = fields.pop("type", None)
        kind = OBSERVERS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise RecipeError(
                f"An observer's type must be one of {', '.join(map(repr, OBSERVERS))}. "
                f"Received: {config!r}"
            )
        return kind(**known_keys(kind.__name__, fields, kind.field_names()))


@dataclass(frozen=True, kw_only=True, repr=False)
class MinMax(Observer):
    """The smallest and the largest value seen."""


@dataclass(frozen=True, kw_only=True, repr=False)
class MovingAverage(Observer):
    """Exponential moving average of each sample's minimum and maximum.

    `average = momentum * average + (1 - momentum) * sample`, starting at the first sample.
    Depends on the order of the samples; not on how they are split into batches.

    Attributes:
        momentum: above 0, below 1.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        momentum = number("MovingAverage", "momentum", self.momentum, 0.0, 1.0)
        if momentum == 1.0:
            raise RecipeError("MovingAverage.momentum must be below 1, or nothing is learned.")
        object.__setattr__(self, "momentum", momentum)


@dataclass(frozen=True, kw_only=True, repr=False)
class _HistogramObserver(Observer):
    """An observer that reads the range off a histogram of at most `num_bins` bins."""

    def _set_num_bins(self, num_bins: int) -> None:
        num_bins = integer(type(self).__name__, "num_bins", num_bins, 16, 2**20)
        object.__setattr__(self, "num_bins", num_bins)


@dataclass(frozen=True, kw_only=True, repr=False)
class Percentile(_HistogramObserver):
    """The range between the `100 - percentile` and the `percentile` percentiles of the values.

    Attributes:
        percentile: above 50, at most 100; 100 is the same as MinMax.
        num_bins: most bins of the histogram; the range is resolved to about one bin.
    """

    percentile: float = 99.99
    num_bins: int = 2048

    def __post_init__(self) -> None:
        percentile = number("Percentile", "percentile", self.percentile, 50.0, 100.0)
        object.__setattr__(self, "percentile", percentile)
        self._set_num_bins(self.num_bins)


@dataclass(frozen=True, kw_only=True, repr=False)
class MSE(_HistogramObserver):
    """The range with the least mean squared error between the values and their int8 form."""

    num_bins: int = 2048

    def __post_init__(self) -> None:
        self._set_num_bins(self.num_bins)


@dataclass(frozen=True, kw_only=True, repr=False)
class Entropy(_HistogramObserver):
    """The range that keeps the distribution closest, in Kullback-Leibler divergence, in int8."""

    num_bins: int = 2048

    def __post_init__(self) -> None:
        self._set_num_bins(self.num_bins)


OBSERVERS: dict[str, type[Observer]] = {
    kind.__name__: kind for kind in (MinMax, MovingAverage, Percentile, MSE, Entropy)
}
DEFAULT_OBSERVER = MinMax()
OBSERVER_HINT = "an observer such as " + ", ".join(f"{name}()" for name in OBSERVERS)
