"""Files a command reads and writes: models, calibration arrays, recipes, atomic outputs."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_octet.errors import CalibrationError, ModelFileError


def load_float_model(path: Path) -> keras.Model:
    """The Keras model saved at `path`, for inference.

    Raises:
        OSError: the file is missing or cannot be read.
        ModelFileError: it is not a model that Keras can load.
    """
    with path.open("rb"):  # an OSError that names the file
        pass
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ModelFileError(
            f"Keras could not load a model from {path}: {_first_line(error)} "
            "Expected a .keras or .h5 file whose layers this installation knows."
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path} holds {type(model).__name__}, expected a keras.Model.")
    return model


def load_calibration_data(path: Path, input_names: Sequence[str]) -> Any:
    """Calibration samples: an array for one model input, a dict of arrays for several.

    Args:
        path: `.npy` (read as a memory map), or `.npz` with an array for each input. For a model
            with one input the array may also be named `x`, or be the only one.
        input_names: names of the model's inputs.

    Raises:
        OSError: the file is missing or cannot be read.
        CalibrationError: it is not such a file, or an input has no array.
    """
    try:
        if path.suffix == ".npy":
            arrays = {"x": np.load(path, mmap_mode="r", allow_pickle=False)}
        else:
            with np.load(path, allow_pickle=False) as archive:
                wanted = _wanted_arrays(path, archive.files, input_names)
                arrays = {name: archive[key] for name, key in wanted.items()}
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        if isinstance(error, CalibrationError):
            raise
        raise CalibrationError(
            f"{path} is not a NumPy file of plain arrays: {_first_line(error)} "
            "Expected one written by numpy.save or numpy.savez."
        ) from error
    if len(input_names) == 1:
        return next(iter(arrays.values()))
    if path.suffix == ".npy":
        raise CalibrationError(
            f"The model has {len(input_names)} inputs and {path} holds one array. "
            f"Expected an .npz with {', '.join(input_names)}."
        )
    return arrays


def _wanted_arrays(path: Path, keys: Sequence[str], input_names: Sequence[str]) -> dict[str, str]:
    """The key in the archive for each input."""
    if all(name in keys for name in input_names):
        return {name: name for name in input_names}
    if len(input_names) == 1 and ("x" in keys or len(keys) == 1):
        return {input_names[0]: "x" if "x" in keys else keys[0]}
    raise CalibrationError(
        f"{path} has arrays {', '.join(keys) or 'of no name'}; "
        f"expected one for each model input: {', '.join(input_names)}."
    )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, then rename it to `path`.

    The temporary file has the same suffix. If anything fails or is interrupted, it is removed and
    `path` is as it was.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= 200 else line[:197] + "..."
