"""A Python function of the user, `module:function`: its code is run."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from keras_octet.errors import CalibrationError
from keras_octet_cli.console import first_line
from keras_octet_cli.data import DataOptions

# Files that are not the user's code: this package, and what imports modules.
NOT_THEIRS = (os.path.dirname(__file__), os.path.dirname(importlib.__file__), "<frozen")


def load(source: str, options: DataOptions, inputs: Sequence[Any], with_labels: bool) -> Any:
    """What the function returns; modules in the current directory are found too.

    Raises:
        CalibrationError: there is no such module or function, or it raises an error.
    """
    module_name, _, path = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with _errors_of(source):
        found: Any = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
        if not callable(found):
            return found
        made = found()
    if (
        isinstance(made, Iterable)
        and not isinstance(made, (str, bytes, list, tuple, Mapping, keras.utils.PyDataset))
        and not hasattr(made, "shape")
    ):
        return _Guarded(made, source)
    return made


class _Guarded:
    """A dataset whose errors name the user's function."""

    def __init__(self, dataset: Iterable[Any], source: str) -> None:
        self._dataset = dataset
        self._source = source

    def __iter__(self) -> Iterator[Any]:
        with _errors_of(self._source):
            iterator = iter(self._dataset)
        while True:
            with _errors_of(self._source):
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
            yield batch

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]  # its TypeError says that it has none

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)


@contextmanager
def _errors_of(source: str) -> Iterator[None]:
    """Turn what the user's code raises into one line that says where it happened."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if not frame.filename.startswith(NOT_THEIRS)]
        where = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
        raise CalibrationError(
            f"{source} raised {type(error).__name__}: {first_line(error)}{where}"
        ) from error
