"""Micro-batches: a stream of batches of any size, cut and joined to the size a run can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """Consecutive samples of a dataset.

    Attributes:
        arrays: one for each input of the model, batch axis first.
        num_samples: the first samples of `arrays` that count; the rest is padding.
        batches: index of the first and of the last batch of the dataset it has samples of.
    """

    arrays: list[np.ndarray]
    num_samples: int
    batches: tuple[int, int]


@dataclass
class _Part:
    index: int
    arrays: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays[0])


def micro_batches(
    batches: Iterable[list[np.ndarray]],
    size_for: Callable[[list[np.ndarray]], int],
    *,
    always_pad: bool = False,
) -> Iterator[MicroBatch]:
    """Regroup batches into micro-batches of `size_for(arrays)` samples.

    The last one, and the last before the samples change shape, can have fewer; it is padded with
    copies of its last sample if a full one of its shape came before, so that a program compiled for
    that shape serves again.

    Args:
        batches: lists of arrays, batch axis first.
        size_for: from the arrays of a batch to the number of samples in a micro-batch.
        always_pad: pad also when no full one came before (a model with a fixed batch size).
    """
    seen: set[tuple[tuple[int, ...], ...]] = set()
    waiting: list[_Part] = []
    count = size = 0
    shapes: tuple[tuple[int, ...], ...] = ()
    for index, arrays in enumerate(batches):
        incoming = tuple(array.shape[1:] for array in arrays)
        if not waiting or incoming != shapes:
            if waiting:
                yield _join(waiting, size if always_pad or shapes in seen else count)
            waiting, count, shapes, size = [], 0, incoming, max(1, size_for(arrays))
        waiting.append(_Part(index, arrays))
        count += len(arrays[0])
        while count >= size:
            seen.add(shapes)
            yield _join(_take(waiting, size), size)
            count -= size
    if waiting:
        yield _join(waiting, size if always_pad or shapes in seen else count)


def _take(waiting: list[_Part], size: int) -> list[_Part]:
    """Remove the first `size` samples from `waiting`, cutting a part in two if needed."""
    taken: list[_Part] = []
    while size:
        part = waiting[0]
        if len(part) > size:
            taken.append(_Part(part.index, [array[:size] for array in part.arrays]))
            part.arrays = [array[size:] for array in part.arrays]
            return taken
        taken.append(waiting.pop(0))
        size -= len(part)
    return taken


def _join(parts: list[_Part], size: int) -> MicroBatch:
    num_samples = sum(map(len, parts))
    arrays = []
    for pieces in zip(*(part.arrays for part in parts), strict=True):
        padding = [np.repeat(pieces[-1][-1:], size - num_samples, axis=0)]
        pieces = [*pieces, *padding] if size > num_samples else list(pieces)
        arrays.append(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))
    return MicroBatch(arrays, num_samples, (parts[0].index, parts[-1].index))
