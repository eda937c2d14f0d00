"""`install`: let Keras's own `load_model` accept `.tflite`."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from keras_octet.tflite.load import is_tflite, load_model

# Modules in which Keras, and TensorFlow's `tf.keras`, offer `load_model`.
_IMPORTED = ("keras.saving", "keras.models")
_IF_LOADED = ("keras._tf_keras.keras.saving", "keras._tf_keras.keras.models")
_originals: dict[str, Callable[..., Any]] = {}


def install() -> None:
    """Make `keras.saving.load_model` and `keras.models.load_model` accept `.tflite`.

    From then on they take a path to a `.tflite` file, its bytes, or a binary stream of them, as
    `keras_octet.load_model` does, and everything else as before. A name imported earlier, as by
    `from keras.models import load_model`, is not changed. A second call does nothing; `uninstall`
    takes it back.
    """
    for name in _IMPORTED:
        importlib.import_module(name)
    for name in (*_IMPORTED, *_IF_LOADED):
        module = sys.modules.get(name)
        if module is not None and name not in _originals:
            _originals[name] = module.load_model
            module.load_model = _accepting_tflite(module.load_model)  # type: ignore[attr-defined]


def uninstall() -> None:
    """Take back what `install` did."""
    while _originals:
        name, original = _originals.popitem()
        sys.modules[name].load_model = original  # type: ignore[attr-defined]


def _accepting_tflite(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(filepath: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(filepath, (str, os.PathLike)) or is_tflite(filepath):
            return load_model(filepath)
        return original(filepath, *args, **kwargs)

    return wrapper
