"""Model files that a command reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

import keras_octet as ko
from keras_octet.capture import capture
from keras_octet.errors import ModelFileError
from keras_octet_cli.console import first_line

KERAS_SUFFIXES = (".keras", ".h5")
MODEL_SUFFIXES = (*KERAS_SUFFIXES, ".tflite")


def check_suffix(path: Path, suffixes: Sequence[str] = MODEL_SUFFIXES) -> None:
    """Check that a file is of a kind that can be read.

    Raises:
        ModelFileError: its name ends otherwise.
    """
    if path.suffix not in suffixes:
        *others, last = suffixes
        raise ModelFileError(f"{path} must end in {', '.join(others)} or {last}.")


def load_float_model(path: Path) -> keras.Model:
    """The Keras model saved at `path`, for inference.

    Raises:
        OSError: the file is missing or cannot be read.
        ModelFileError: it is not a model that Keras can load.
    """
    check_suffix(path, KERAS_SUFFIXES)
    with path.open("rb"):  # an OSError that names the file
        pass
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ModelFileError(
            f"Keras could not load a model from {path}: {first_line(error)} "
            "Expected a file that Keras saved, with layers that this installation knows."
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path} holds {type(model).__name__}, expected a keras.Model.")
    return model


def load_model(path: Path, signature: str | None = None) -> keras.Model:
    """The model at `path`: what Keras saved, or a signature of a `.tflite` file.

    Raises:
        OSError: the file is missing or cannot be read.
        ModelFileError: it is not such a model.
    """
    check_suffix(path)
    if path.suffix == ".tflite":
        return ko.load_model(path, signature=signature)
    return load_float_model(path)


def inputs_of(model: keras.Model) -> list[keras.KerasTensor]:
    """Symbolic tensors of the inputs; a subclassed model is traced for them.

    Raises:
        CaptureError: it cannot be traced.
    """
    return list(getattr(model, "inputs", None) or capture(model).inputs)
