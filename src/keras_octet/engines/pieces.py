"""Many samples in pieces on all cores: how large the pieces are, and who runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_octet.cores import run_on_cores
from keras_octet.engines.base import Source

RunInto = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], object]
"""Runs a piece: from its inputs into arrays for its outputs."""

# Multiply-adds. Waking a second thread costs about as much as it saves on this much work.
SERIAL_WORK = 5_000_000
# Each core runs pieces of about this much work: enough that the call itself costs little, and so
# little that a thread that wakes late leaves the others more of them.
WORK_PER_PIECE = 15_000_000
# Fewer do not fill the kernels' tiles; pieces of more than this gain nothing.
MIN_SAMPLES, MAX_SAMPLES = 8, 1024


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
    workers: int,
    *,
    work_per_piece: int = WORK_PER_PIECE,
    min_samples: int = MIN_SAMPLES,
    equal: bool = False,
) -> list[np.ndarray]:
    """Outputs for all samples of a model that can be cut, made by `workers` threads.

    Pieces are made up to twice as large, so that each worker has about as many.

    Args:
        run: runs a piece; called from several threads at once.
        source: the model.
        inputs: one array per input.
        workers: number of threads.
        work_per_piece: multiply-adds, roughly.
        min_samples: of a piece, however much work they are, if there are so many for each worker.
        equal: make all pieces equally large, for which the last may compute samples again. Their
            size is a power of two, the same for any larger number of samples.
    """
    count = len(inputs[0])
    size = min(max(work_per_piece // source.multiply_adds, min_samples), MAX_SAMPLES)
    if equal:
        size = min(1 << (size.bit_length() - 1), math.ceil(count / workers))
    else:
        rounds = max(count // (size * workers), 1)
        size = math.ceil(count / (rounds * workers))
    outputs = [np.empty((count, *x.shape[1:]), x.dtype) for x in source.outputs]
    # Taking the next item of this iterator is atomic.
    starts = iter(range(0, count, size))

    def work() -> None:
        for start in starts:
            first = max(min(start, count - size), 0) if equal else start
            part = slice(first, first + size)
            results = [y[part] for y in outputs]
            if first < start:  # Another thread may be writing the samples before `start`.
                fresh = [np.empty_like(y) for y in results]
                run([x[part] for x in inputs], fresh)
                for y, result in zip(results, fresh, strict=True):
                    y[start - first :] = result[start - first :]
            else:
                run([x[part] for x in inputs], results)

    run_on_cores(work, min(workers, math.ceil(count / size)))
    return outputs
