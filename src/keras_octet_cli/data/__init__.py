"""What `--data` can be, and which module reads it.

Nothing heavy is imported here: usage errors are found before Keras is.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options that go with `--data`; None or empty where not given.

    Attributes:
        limit: most samples, spread evenly over all.
        seed: of the choice of samples.
        labels: a NumPy file of labels.
        label_column: the column of a table that has the labels.
        column: columns of a table that are the model's input: names or patterns.
        image_size: height and width.
        rescale, mean, std: pixels become `(pixels * rescale - mean) / std`.
        preprocess: a module of `keras.applications`, whose `preprocess_input` is used.
    """

    limit: int | None = None
    seed: int | None = None
    labels: Path | None = None
    label_column: str | None = None
    column: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    rescale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    preprocess: str | None = None

    def given(self) -> list[str]:
        """Names of the options that were given."""
        return [field.name for field in fields(self) if getattr(self, field.name) not in (None, ())]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of source.

    Attributes:
        name: in words.
        module: in this package; its `load(source, options, inputs, with_labels)` gives what
            `keras_octet.quantize` and `validate` take.
        options: of `DataOptions` that mean something for it.
    """

    name: str
    module: str
    options: frozenset[str]


ARRAYS = Kind(name="NumPy files", module="arrays", options=frozenset({"limit", "seed", "labels"}))
TABLES = Kind(
    name="tables",
    module="tables",
    options=frozenset({"limit", "seed", "label_column", "column"}),
)
IMAGES = Kind(
    name="directories of images",
    module="images",
    options=frozenset({"limit", "seed", "image_size", "rescale", "mean", "std", "preprocess"}),
)
FUNCTION = Kind(name="Python functions", module="function", options=frozenset())

SUFFIXES = {".npy": ARRAYS, ".npz": ARRAYS, ".csv": TABLES, ".parquet": TABLES}
KINDS = (ARRAYS, TABLES, IMAGES, FUNCTION)


@dataclass(frozen=True)
class Source:
    """What `--data` names, with its options."""

    text: str
    kind: Kind
    options: DataOptions

    def load(self, inputs: Sequence[Any], *, with_labels: bool = False) -> Any:
        """The dataset, for `keras_octet.quantize`, or with labels for `validate`.

        Args:
            inputs: symbolic tensors of the model's inputs.
            with_labels: labels are wanted, where the source has any.

        Raises:
            OSError: a file cannot be read.
            OctetError: its content cannot be used.
        """
        loader = import_module(f"{__name__}.{self.kind.module}")
        return loader.load(self.text, self.options, inputs, with_labels)


def open_source(text: str, options: DataOptions) -> Source:
    """What kind of source `text` is.

    Raises:
        FileNotFoundError: it can only be a directory, and there is none.
        ValueError: it is no source that can be read, or an option is not for this kind.
    """
    kind = _kind_of(text)
    for name in options.given():
        if name not in kind.options:
            others = " and ".join(other.name for other in KINDS if name in other.options)
            raise ValueError(f"--{name.replace('_', '-')} is for {others}, not for {text}.")
    for name in ("rescale", "mean", "std"):
        if options.preprocess is not None and getattr(options, name) not in (None, ()):
            raise ValueError(f"--preprocess does all of it: leave out --{name}.")
    return Source(text, kind, options)


def _kind_of(text: str) -> Kind:
    path = Path(text)
    if path.is_dir():
        return IMAGES
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text):
        return FUNCTION
    if not suffix and not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
    raise ValueError(
        f"{text} must end in {', '.join(SUFFIXES)}, or be a directory of images, or a Python "
        "function as module:function."
    )
