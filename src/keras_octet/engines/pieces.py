"""Many samples in pieces on all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_octet.cores import run_on_cores
from keras_octet.engines.base import Source

RunInto = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], object]
"""Runs a piece: from its inputs into arrays for its outputs."""

# Multiply-adds. Waking a second thread costs about as much as it saves on this much work.
SERIAL_WORK = 2_000_000


def is_serial(source: Source, count: int) -> bool:
    """Whether so little is to be done for `count` samples that one thread does it soonest."""
    return 0 < source.multiply_adds * count <= SERIAL_WORK


def can_cut(source: Source) -> bool:
    """Whether samples are independent and the size of each output is known."""
    sizes = [size for x in source.outputs for size in x.shape[1:]]
    return source.separable and source.multiply_adds > 0 and None not in sizes


def predict_in_pieces(
    run: RunInto,
    source: Source,
    inputs: Sequence[np.ndarray],
    size: int,
    workers: int,
    *,
    equal: bool = False,
    head: int = 0,
) -> list[np.ndarray]:
    """Outputs for all samples of a model that can be cut, made by `workers` threads.

    Args:
        run: runs a piece; called from several threads at once.
        source: the model.
        inputs: one array per input.
        size: samples of a piece.
        workers: number of threads.
        equal: make all pieces equally large, for which the last may compute samples again.
        head: samples of one more piece, before the others, of any size; not with `equal`.
    """
    count = len(inputs[0])
    size = min(size, count)
    outputs = [np.empty((count, *x.shape[1:]), x.dtype) for x in source.outputs]
    starts = [0, *range(head or size, count, size)]
    # Taking the next item of this iterator is atomic.
    pieces = iter(list(zip(starts, [*starts[1:], count], strict=True)))

    def work() -> None:
        for start, end in pieces:
            first = end - size if equal else start
            part = slice(first, end)
            results = [y[part] for y in outputs]
            if first < start:  # Another thread may be writing the samples before `start`.
                fresh = [np.empty_like(y) for y in results]
                run([x[part] for x in inputs], fresh)
                for y, result in zip(results, fresh, strict=True):
                    y[start - first :] = result[start - first :]
            else:
                run([x[part] for x in inputs], results)

    run_on_cores(work, min(workers, len(starts)))
    return outputs
