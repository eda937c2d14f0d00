"""What calibration found: an observer for each tensor, which merges, saves and loads."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_octet.calibrate.channels import ChannelMean
from keras_octet.calibrate.observers import TensorObserver, restore_observer
from keras_octet.errors import CalibrationError, RecipeError
from keras_octet.files import atomic_path
from keras_octet.observer_specs import Observer

CALIBRATION_FORMAT = "keras-octet calibration"
CALIBRATION_VERSION = 1


class Calibration(Mapping[str, TensorObserver]):
    """The statistics of a model's tensors over a representative dataset.

    A mapping from tensor name to observer, in the model's order.

    Args:
        observers: by tensor name.
        num_samples: samples seen.
        channel_means: by tensor name, for tensors of which the means are needed.
    """

    def __init__(
        self,
        observers: Mapping[str, TensorObserver],
        *,
        num_samples: int,
        channel_means: Mapping[str, ChannelMean] | None = None,
    ) -> None:
        self._observers = dict(observers)
        self._num_samples = num_samples
        self._channel_means = dict(channel_means or {})

    @property
    def num_samples(self) -> int:
        """Number of samples seen."""
        return self._num_samples

    def __getitem__(self, name: str) -> TensorObserver:
        return self._observers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._observers)

    def __len__(self) -> int:
        return len(self._observers)

    def range(self, name: str, *, symmetric: bool = False) -> tuple[float, float]:
        """The minimum and maximum to quantize for tensor `name`.

        Raises:
            CalibrationError: the tensor was not observed.
        """
        if name not in self._observers:
            close = difflib.get_close_matches(name, self._observers, n=3)
            hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
            raise CalibrationError(
                f"Tensor {name!r} was not observed in this calibration of {len(self)} tensors; "
                f"calibrate the same model with the same options.{hint}"
            )
        return self._observers[name].range(symmetric=symmetric)

    def channel_mean(self, name: str) -> np.ndarray | None:
        """The mean of each channel of tensor `name`, float32 `(channels,)`, if it is known."""
        found = self._channel_means.get(name)
        return None if found is None else found.mean

    def merge(self, other: Calibration) -> Calibration:
        """The calibration over both datasets, as a new object; also written `a | b`.

        Exact for all observers but MovingAverage: the same as one calibration over all samples.

        Raises:
            CalibrationError: the calibrations have different tensors or observers.
        """
        missing = sorted(self.keys() ^ other.keys())
        if missing:
            raise CalibrationError(
                f"Only calibrations of the same model merge. Tensors in one of the two only: "
                f"{', '.join(missing[:8])}{', ...' if len(missing) > 8 else ''}"
            )
        merged = {}
        for name, observer in self.items():
            merged[name] = restore_observer(observer.spec, observer.get_state())
            try:
                merged[name].merge(other[name])
            except CalibrationError as error:
                raise CalibrationError(f"Tensor {name!r}: {error}") from None
        means = {}
        for name in self._channel_means.keys() & other._channel_means.keys():
            means[name] = ChannelMean.from_state(self._channel_means[name].get_state())
            means[name].merge(other._channel_means[name])
        return Calibration(
            merged, num_samples=self.num_samples + other.num_samples, channel_means=means
        )

    def __or__(self, other: Calibration) -> Calibration:
        return self.merge(other) if isinstance(other, Calibration) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Calibration):
            return NotImplemented
        return self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]

    def get_config(self) -> dict[str, Any]:
        """Everything as JSON-compatible values, with a format name and a version."""
        return {
            "format": CALIBRATION_FORMAT,
            "version": CALIBRATION_VERSION,
            "num_samples": self.num_samples,
            "tensors": [
                {
                    "name": name,
                    "observer": observer.spec.get_config(),
                    "state": {
                        key: value.tolist() if isinstance(value, np.ndarray) else value
                        for key, value in observer.get_state().items()
                    },
                }
                | self._means_config(name)
                for name, observer in self.items()
            ],
        }

    def _means_config(self, name: str) -> dict[str, Any]:
        known = self._channel_means.get(name)
        return {} if known is None else {"channel_mean": known.get_state()}

    @classmethod
    def from_config(cls, config: Any) -> Calibration:
        """The inverse of `get_config`.

        Raises:
            CalibrationError: not a calibration, of another version, or damaged.
        """
        if not isinstance(config, Mapping) or config.get("format") != CALIBRATION_FORMAT:
            raise CalibrationError(
                f"Expected a {CALIBRATION_FORMAT}. Received another kind of data."
            )
        if config.get("version") != CALIBRATION_VERSION:
            raise CalibrationError(
                f"This release reads calibrations of version {CALIBRATION_VERSION}. "
                f"Received: {config.get('version')!r}"
            )
        num_samples, tensors = config.get("num_samples"), config.get("tensors")
        if type(num_samples) is not int or num_samples < 0 or not isinstance(tensors, list):
            raise CalibrationError("The calibration is damaged: no samples or no tensors in it.")
        observers: dict[str, TensorObserver] = {}
        means: dict[str, ChannelMean] = {}
        for entry in tensors:
            name = entry.get("name") if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or name in observers:
                raise CalibrationError(f"The calibration is damaged: bad tensor name {name!r}.")
            state = entry.get("state")
            if not isinstance(state, Mapping):
                raise CalibrationError(f"The calibration is damaged: {name!r} has no state.")
            try:
                spec = Observer.from_config(entry.get("observer"))
                observers[name] = restore_observer(spec, state)
                if "channel_mean" in entry:
                    means[name] = ChannelMean.from_state(entry["channel_mean"])
            except (RecipeError, CalibrationError) as error:
                raise CalibrationError(
                    f"The calibration is damaged at tensor {name!r}: {error}"
                ) from None
        return cls(observers, num_samples=num_samples, channel_means=means)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file. It appears whole or not at all."""
        text = json.dumps(self.get_config(), allow_nan=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read a file that `save` wrote.

        Raises:
            CalibrationError: the file is not a calibration, of another version, or damaged.
            OSError: the file cannot be read.
        """
        try:
            config = json.loads(Path(path).read_bytes(), parse_constant=_no_constant)
            return cls.from_config(config)
        except CalibrationError as error:
            raise CalibrationError(f"{os.fspath(path)}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise CalibrationError(
                f"{os.fspath(path)} is not a calibration file: {error}"
            ) from None

    def __repr__(self) -> str:
        header = f"Calibration({len(self)} tensors, {self.num_samples} samples)"
        lines = []
        names = list(self)
        for name in names if len(names) <= 12 else [*names[:6], "", *names[-5:]]:
            if not name:
                lines.append(f"  ... {len(names) - 11} more")
                continue
            observer = self[name]
            try:
                low, high = observer.range()
            except CalibrationError:
                low = high = math.nan
            lines.append(f"  {name}: [{low:.6g}, {high:.6g}] {type(observer.spec).__name__}")
        return "\n".join([header, *lines])


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")
