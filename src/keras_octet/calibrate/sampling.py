"""A part of each sample that stands for all of it."""

from __future__ import annotations

import numpy as np

# Values looked at in each sample: the positions of a large image are alike.
VALUES_PER_SAMPLE = 4096
GOLDEN_RATIO = (5**0.5 - 1) / 2


def spread_positions(array: np.ndarray) -> np.ndarray:
    """Positions spread evenly over each sample, with all their channels.

    A sample (index of the first axis) of at most `VALUES_PER_SAMPLE` values is taken whole, and of
    any other about as many values. The positions are the same in samples of the same shape,
    whatever batch they are in.

    Args:
        array: `(batch, ..., channels)`.

    Returns:
        `(batch, positions, channels)`.
    """
    samples = array.reshape(array.shape[0], -1, array.shape[-1])
    size, count = samples.shape[1], max(1, VALUES_PER_SAMPLE // samples.shape[2])
    if size <= count:
        return samples
    # Multiples of the golden ratio, modulo 1, follow no row or column of an image.
    return samples[:, np.sort((np.arange(1, count + 1) * GOLDEN_RATIO % 1 * size).astype(int))]
