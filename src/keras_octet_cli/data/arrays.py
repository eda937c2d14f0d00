"""`.npy` and `.npz` files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_octet.errors import CalibrationError, ValidationError
from keras_octet_cli.console import first_line
from keras_octet_cli.data import DataOptions
from keras_octet_cli.data.sampling import spread

LABEL_NAMES = ("y", "labels", "label")


def load(source: str, options: DataOptions, inputs: Sequence[Any], with_labels: bool) -> Any:
    """Samples, with labels where they are wanted and there are any: `x` or `(x, y)`.

    An archive's only array, and its `x` where no array is named as an input, stand for the only
    input. An array named `y`, `labels` or `label` in it, which is no input, has the labels.

    Raises:
        OSError: a file is missing or cannot be read.
        CalibrationError: the data is not such a file, or inputs and labels differ in number.
        ValidationError: the labels are not.
    """
    names = [tensor.name for tensor in inputs]
    arrays = _read(Path(source))
    labels = _labels(arrays, options.labels, names) if with_labels else None
    samples = _samples(arrays, names)
    if options.limit is not None:
        count = _count(source, samples, labels)
        chosen = spread(count, options.limit, options.seed)
        if chosen is not None:
            samples, labels = _take(samples, chosen), _take(labels, chosen)
    return samples if labels is None else (samples, labels)


def _read(path: Path) -> Any:
    """The array of a file as a memory map, or the arrays of an archive by name."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            return dict(archive)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CalibrationError(
            f"{path} is not a NumPy file of plain arrays: {first_line(error)} "
            "Expected one written by numpy.save or numpy.savez."
        ) from error


def _samples(arrays: Any, names: Collection[str]) -> Any:
    if not isinstance(arrays, dict):
        return arrays
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if "x" in arrays and not arrays.keys() & set(names):
        return arrays["x"]
    return arrays


def _labels(arrays: Any, path: Path | None, names: Collection[str]) -> Any:
    if path is not None:
        try:
            return _samples(_read(path), ())
        except CalibrationError as error:
            raise ValidationError(f"--labels: {error}") from error
    if not isinstance(arrays, dict) or len(arrays) == 1:
        return None
    found = [name for name in LABEL_NAMES if name in arrays and name not in names]
    return arrays[found[0]] if found else None


def _count(source: str, *parts: Any) -> int:
    """The number of samples that all arrays have.

    Raises:
        CalibrationError: they have none, or not the same number.
    """
    arrays = [
        array
        for part in parts
        if part is not None
        for array in (part.values() if isinstance(part, dict) else [part])
    ]
    counts = {len(array) if array.ndim else 0 for array in arrays}
    if len(counts) > 1:
        received = " and ".join(str(count) for count in sorted(counts))
        raise CalibrationError(
            f"{source}: --limit needs arrays with one number of samples (and of labels). "
            f"Received: {received}."
        )
    return counts.pop()


def _take(part: Any, chosen: np.ndarray) -> Any:
    if isinstance(part, dict):
        return {name: array[chosen] for name, array in part.items()}
    return None if part is None else part[chosen]
