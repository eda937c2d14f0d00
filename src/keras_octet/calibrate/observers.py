"""Observers: running statistics of one tensor, from which its range is read.

Each is built from its specification in `keras_octet.observer_specs` by `make_observer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from keras_octet import observer_specs as specs
from keras_octet.calibrate.histogram import Histogram, finite_extremes
from keras_octet.calibrate.ranges import entropy_range, mse_range, percentile_range
from keras_octet.calibrate.sampling import spread_positions
from keras_octet.errors import CalibrationError

SpecT = TypeVar("SpecT", bound=specs.Observer)


@runtime_checkable
class TensorObserver(Protocol):
    """What the calibration asks of an observer.

    Attributes:
        spec: the specification it was built from.
    """

    spec: Any

    def update(self, array: np.ndarray) -> None:
        """Take in values: a float array of shape `(batch, ...)`.

        Raises:
            CalibrationError: a value is NaN or infinite; the observer is unchanged.
        """

    def merge(self, other: TensorObserver) -> None:
        """Take in what `other`, of equal `spec`, has seen.

        Raises:
            CalibrationError: the observers have different specifications.
        """

    def range(self, *, symmetric: bool = False) -> tuple[float, float]:
        """The minimum and maximum to quantize; `symmetric`: for a zero point of 0.

        Raises:
            CalibrationError: nothing was observed.
        """

    def get_state(self) -> dict[str, Any]:
        """What was seen, as numbers and NumPy arrays."""

    @classmethod
    def from_state(cls, spec: Any, state: Mapping[str, Any]) -> Self:
        """The inverse of `get_state`."""


_REGISTRY: dict[type[specs.Observer], type[_Observer[Any]]] = {}


def register(
    spec: type[specs.Observer],
) -> Callable[[type[_Observer[Any]]], type[_Observer[Any]]]:
    """Class decorator: the observer that runs specifications of class `spec`."""

    def add(observer: type[_Observer[Any]]) -> type[_Observer[Any]]:
        if spec in _REGISTRY:
            raise ValueError(f"{spec.__name__} already has an observer: {_REGISTRY[spec]}")
        _REGISTRY[spec] = observer
        return observer

    return add


def make_observer(spec: specs.Observer) -> TensorObserver:
    """An empty observer for a specification."""
    return _class_for(spec)(spec)


def restore_observer(spec: specs.Observer, state: Mapping[str, Any]) -> TensorObserver:
    """The observer that had this specification and this state.

    Raises:
        CalibrationError: the state is not one that `get_state` gives.
    """
    try:
        return _class_for(spec).from_state(spec, state)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, CalibrationError):
            raise
        raise CalibrationError(
            f"The state of a {type(spec).__name__} observer is not valid: "
            f"{type(error).__name__}: {error}"
        ) from None


def _class_for(spec: specs.Observer) -> type[_Observer[Any]]:
    if type(spec) not in _REGISTRY:
        names = ", ".join(sorted(kind.__name__ for kind in _REGISTRY))
        raise CalibrationError(
            f"Expected an observer's specification ({names}). Received: {spec!r}"
        )
    return _REGISTRY[type(spec)]


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


class _Observer(Generic[SpecT]):
    """What the observers share."""

    def __init__(self, spec: SpecT) -> None:
        self.spec = spec

    def _check_mergeable(self, other: TensorObserver) -> None:
        if type(other) is not type(self) or other.spec != self.spec:
            raise CalibrationError(
                f"Only observers with the same specification merge. "
                f"Received: {self.spec!r} and {getattr(other, 'spec', other)!r}"
            )

    def _check_not_empty(self, empty: bool) -> None:
        if empty:
            raise CalibrationError(
                f"A {type(self.spec).__name__} observer has seen no values, so it has no range."
            )

    def update(self, array: np.ndarray) -> None:
        raise NotImplementedError

    def merge(self, other: Any) -> None:
        raise NotImplementedError

    def range(self, *, symmetric: bool = False) -> tuple[float, float]:
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def from_state(cls, spec: SpecT, state: Mapping[str, Any]) -> Self:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec!r})"


class _ExtremesObserver(_Observer[SpecT]):
    """Holds a minimum, a maximum and how many samples (or values) they come from."""

    def __init__(self, spec: SpecT) -> None:
        super().__init__(spec)
        self.minimum = 0.0
        self.maximum = 0.0
        self.count = 0

    def range(self, *, symmetric: bool = False) -> tuple[float, float]:
        self._check_not_empty(self.count == 0)
        return self.minimum, self.maximum

    def get_state(self) -> dict[str, Any]:
        return {"minimum": self.minimum, "maximum": self.maximum, "count": self.count}

    @classmethod
    def from_state(cls, spec: SpecT, state: Mapping[str, Any]) -> Self:
        observer = cls(spec)
        minimum, maximum = float(state["minimum"]), float(state["maximum"])
        count = int(state["count"])
        if not (np.isfinite(minimum) and np.isfinite(maximum)) or minimum > maximum or count < 0:
            raise CalibrationError(
                f"An observer needs finite minimum <= maximum and count >= 0. Received: {state!r}"
            )
        observer.minimum, observer.maximum, observer.count = minimum, maximum, count
        return observer


@register(specs.MinMax)
class MinMaxObserver(_ExtremesObserver[specs.MinMax]):
    """Smallest and largest value, exact: order, split and merging make no difference."""

    def update(self, array: np.ndarray) -> None:
        if not array.size:
            return
        self._widen(*finite_extremes(_float32(array)), int(array.size))

    def merge(self, other: Any) -> None:
        self._check_mergeable(other)
        if other.count:
            self._widen(other.minimum, other.maximum, other.count)

    def _widen(self, minimum: float, maximum: float, count: int) -> None:
        self.minimum = min(self.minimum, minimum) if self.count else minimum
        self.maximum = max(self.maximum, maximum) if self.count else maximum
        self.count += count


@register(specs.MovingAverage)
class MovingAverageObserver(_ExtremesObserver[specs.MovingAverage]):
    """Exponential moving average of each sample's extremes.

    `average = momentum * average + (1 - momentum) * sample` in float64, one step a sample (an index
    of axis 0), so the split into batches makes no difference; the order of the samples does.
    Merging averages both sides by their numbers of samples: that is not what one pass over all
    samples would give, and it is not associative to the last bit.
    """

    def update(self, array: np.ndarray) -> None:
        if not array.size:
            return
        array = _float32(array)
        rows = array.reshape(array.shape[0] if array.ndim else 1, -1)
        extremes = [finite_extremes(row) for row in rows]
        for minimum, maximum in extremes:
            keep = self.spec.momentum if self.count else 0.0
            self.minimum = keep * self.minimum + (1 - keep) * minimum
            self.maximum = keep * self.maximum + (1 - keep) * maximum
            self.count += 1

    def merge(self, other: Any) -> None:
        self._check_mergeable(other)
        total = self.count + other.count
        if other.count:
            share = other.count / total
            self.minimum += (other.minimum - self.minimum) * share
            self.maximum += (other.maximum - self.maximum) * share
            self.count = total


class _HistogramObserver(_Observer[SpecT]):
    """Counts values in a `Histogram`: order, split and merging make no difference.

    The extremes are those of all values; of a large sample some positions are counted (see
    `spread_positions`).
    """

    def __init__(self, spec: SpecT) -> None:
        super().__init__(spec)
        self.histogram = Histogram(spec.num_bins)  # type: ignore[attr-defined]

    def update(self, array: np.ndarray) -> None:
        if not array.size:
            return
        self.histogram.cover(*finite_extremes(_float32(array)))
        self.histogram.update(spread_positions(array) if array.ndim > 1 else array)

    def merge(self, other: Any) -> None:
        self._check_mergeable(other)
        self.histogram.merge(other.histogram)

    def range(self, *, symmetric: bool = False) -> tuple[float, float]:
        self._check_not_empty(self.histogram.exponent is None)
        return self._find_range(symmetric)

    def _find_range(self, symmetric: bool) -> tuple[float, float]:
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        return self.histogram.get_state()

    @classmethod
    def from_state(cls, spec: SpecT, state: Mapping[str, Any]) -> Self:
        observer = cls(spec)
        if state["num_bins"] != observer.histogram.num_bins:
            raise CalibrationError(f"{spec!r} does not fit a state of {state['num_bins']!r} bins.")
        observer.histogram = Histogram.from_state(state)
        return observer


@register(specs.Percentile)
class PercentileObserver(_HistogramObserver[specs.Percentile]):
    """See `percentile_range`."""

    def _find_range(self, symmetric: bool) -> tuple[float, float]:
        return percentile_range(self.histogram, self.spec.percentile)


@register(specs.MSE)
class MSEObserver(_HistogramObserver[specs.MSE]):
    """See `mse_range`."""

    def _find_range(self, symmetric: bool) -> tuple[float, float]:
        return mse_range(self.histogram, symmetric=symmetric)


@register(specs.Entropy)
class EntropyObserver(_HistogramObserver[specs.Entropy]):
    """See `entropy_range`."""

    def _find_range(self, symmetric: bool) -> tuple[float, float]:
        return entropy_range(self.histogram, symmetric=symmetric)
