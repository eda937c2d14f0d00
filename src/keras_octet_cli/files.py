"""Files a command reads: models and calibration arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_octet.errors import CalibrationError, ModelFileError

MODEL_SUFFIXES = (".keras", ".h5")


def load_float_model(path: Path) -> keras.Model:
    """The Keras model saved at `path`, for inference.

    Raises:
        OSError: the file is missing or cannot be read.
        ModelFileError: it is not a model that Keras can load.
    """
    if path.suffix not in MODEL_SUFFIXES:
        raise ModelFileError(f"{path} must end in {' or '.join(MODEL_SUFFIXES)}.")
    with path.open("rb"):  # an OSError that names the file
        pass
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ModelFileError(
            f"Keras could not load a model from {path}: {_first_line(error)} "
            "Expected a file that Keras saved, with layers that this installation knows."
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path} holds {type(model).__name__}, expected a keras.Model.")
    return model


def load_calibration_data(path: Path, input_names: Collection[str]) -> Any:
    """Calibration samples: an array, or a dict of arrays by name.

    Args:
        path: `.npy` (read as a memory map) or `.npz`. An archive's only array, and its `x` where no
            array is named as an input, stand for the only input.
        input_names: names of the model's inputs.

    Raises:
        OSError: the file is missing or cannot be read.
        CalibrationError: it is not such a file.
    """
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise CalibrationError(
            f"{path} is not a NumPy file of plain arrays: {_first_line(error)} "
            "Expected one written by numpy.save or numpy.savez."
        ) from error
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if "x" in arrays and not arrays.keys() & set(input_names):
        return arrays["x"]
    return arrays


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= 200 else line[:197] + "..."
