"""Weights to integers: each to the nearest, or so that the errors of a channel cancel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_octet.qparams import round_half_away


def round_to_nearest(steps: np.ndarray, highest: int) -> np.ndarray:
    """`clip(round_half_away(steps))`.

    Args:
        steps: weights divided by their scales, `(channels, inputs, taps)`.
        highest: integers lie in `[-highest, highest]`.

    Returns:
        int8 array of the same shape.
    """
    return np.clip(round_half_away(steps), -highest, highest).astype(np.int8)


def round_squant(steps: np.ndarray, highest: int) -> np.ndarray:
    """Round so that the errors of each kernel, and of each channel, add up to at most half a step.

    To the nearest first. Then as few weights as that takes, those next to a tie, go the other way.
    Neighbouring inputs are alike: images are smooth and activations after a ReLU positive. So the
    sum of a channel's errors weighs more in its output than each of them. Arguments and result as
    for `round_to_nearest`.

    Reference: C. Guo et al., "SQuant: On-the-Fly Data-Free Quantization via Diagonal Hessian
    Approximation", ICLR 2022.
    """
    rounded = round_to_nearest(steps, highest)
    channels, inputs, taps = steps.shape
    if inputs > 1 and taps > 1:
        _balance(steps.reshape(-1, taps), rounded.reshape(-1, taps), highest)
    _balance(steps.reshape(channels, -1), rounded.reshape(channels, -1), highest)
    return rounded


def _balance(steps: np.ndarray, rounded: np.ndarray, highest: int) -> None:
    """Move weights of each row of `rounded`, in place, until its errors add up to half at most."""
    error = rounded - steps
    total = error.sum(axis=1, dtype=np.float64)
    count = np.rint(np.abs(total)).astype(int)
    most = int(count.max(initial=0))
    if most == 0:
        return
    step = np.sign(total).astype(np.int8)[:, np.newaxis]
    # What a move saves of the sum of squares, up to constants: the row's moves are its largest.
    gain = error * step
    gain[np.abs(rounded.astype(np.int16) - step) > highest] = -np.inf
    largest = np.sort(np.partition(gain, -most, axis=1)[:, -most:], axis=1)
    rank = np.maximum(most - count, 0)[:, np.newaxis]
    threshold = np.take_along_axis(largest, np.minimum(rank, most - 1), axis=1)
    above = gain > threshold
    equal = (gain == threshold) & np.isfinite(gain)
    missing = count - above.sum(axis=1)
    moved = above | (equal & (np.cumsum(equal, axis=1) <= missing[:, np.newaxis]))
    rounded -= (moved & (count > 0)[:, np.newaxis]) * step


ROUNDINGS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "nearest": round_to_nearest,
    "squant": round_squant,
}
