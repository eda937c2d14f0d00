"""The Keras backend of a command: the user's setting, or one that is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")


def choose_backend() -> str | None:
    """Set `KERAS_BACKEND` to an installed backend, unless the user has named one.

    `KERAS_BACKEND` in the environment is never changed. Otherwise the backend in Keras's own
    settings file counts, and if that one is not installed, the first of `BACKENDS` that is.

    Returns:
        The backend's name, or None if the user named none and none is installed.
    """
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    for name in (_configured_backend(), *BACKENDS):
        if name in BACKENDS and importlib.util.find_spec(name) is not None:
            os.environ["KERAS_BACKEND"] = name
            return name
    return None


@contextmanager
def native_messages_held_back() -> Iterator[None]:
    """Keep TensorFlow's start-up notes about the processor out of the command's output.

    They come from C++ before any log level counts, so file descriptor 2 itself is redirected.
    What was held back is shown if the block raises.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    try:
        standard_error = os.dup(2)
    except OSError:  # closed: nothing can be seen anyway
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(standard_error, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)


@contextmanager
def interruption_deferred() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: extension modules crash if cut short at import."""
    pending: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pending.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        raise KeyboardInterrupt


def import_keras() -> None:
    """Import Keras, its backend and this library, without their start-up messages.

    Keras also imports TensorFlow, where that is installed, when it first serializes something, on
    any backend; this does so at once.

    Raises:
        ImportError, ValueError: the backend is not installed, unknown or broken.
        KeyboardInterrupt: after the imports.
    """
    with interruption_deferred(), native_messages_held_back():
        import keras

        import keras_octet  # noqa: F401 - registers its layers

        keras.saving.serialize_keras_object(keras.layers.Identity())


def keras_home() -> Path:
    """The folder where Keras keeps its settings and its data sets."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def _configured_backend() -> str | None:
    """The backend named in `keras.json`, where Keras keeps its settings."""
    try:
        backend = json.loads((keras_home() / "keras.json").read_text()).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
    return backend if isinstance(backend, str) else None
