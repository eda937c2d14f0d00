"""Parts of a source: which samples, and batches that are made when they are asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_octet.errors import MissingDependencyError

BATCH_SIZE = 64


class Stream:
    """Batches of `BATCH_SIZE` samples, made anew each time they are iterated.

    Args:
        num_samples: in all.
        batches: gives the batches.
        classes: names of the classes that labels are the numbers of, if the source has names.
    """

    def __init__(
        self,
        num_samples: int,
        batches: Callable[[], Iterator[Any]],
        classes: tuple[str, ...] = (),
    ) -> None:
        self.num_samples = num_samples
        self.classes = classes
        self._batches = batches

    def __len__(self) -> int:
        return -(-self.num_samples // BATCH_SIZE)

    def __iter__(self) -> Iterator[Any]:
        return self._batches()


def spread(count: int, limit: int | None, seed: int | None) -> np.ndarray | None:
    """Positions of at most `limit` of `count` samples in order, or None for all of them.

    One at random in each of `limit` equal parts: of sorted samples every class has its share.
    """
    if limit is None or limit >= count:
        return None
    edges = np.linspace(0, count, limit + 1).astype(np.int64)
    return np.random.default_rng(seed or 0).integers(edges[:-1], edges[1:])


def require(package: str, purpose: str) -> None:
    """Fail if an optional package is not installed.

    Raises:
        MissingDependencyError: saying what to install.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(
            f"{purpose} needs the package {package!r}, which is not installed. "
            "Install it with: pip install 'keras-octet[data]'"
        )
