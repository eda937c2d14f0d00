"""Ranges read off a histogram: percentiles, least squared error, least divergence.

Each function is pure: a `Histogram` in, `(minimum, maximum)` out, inside the extremes seen. The
errors are those of int8: 255 steps over an affine range, 127 on each side of a symmetric one.
"""

from __future__ import annotations

import numpy as np

from keras_octet.calibrate.histogram import Histogram

NUM_STEPS = 255
NUM_CANDIDATES = 64
# Passes of the search: each looks between the neighbours of the best, 32 times finer.
NUM_PASSES = 3
# Thresholds tried by the entropy search.
NUM_THRESHOLDS = 128


def percentile_range(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """The `100 - percentile` and `percentile` percentiles, linear within a bin.

    100 gives the extremes, whether they were counted or not.
    """
    if percentile == 100:
        return histogram.minimum, histogram.maximum
    cumulative = np.concatenate([[0], np.cumsum(histogram.counts)])
    targets = np.array([1 - percentile / 100, percentile / 100]) * cumulative[-1]
    # Of the positions with equal counts (empty bins), the one nearest to the data.
    low_bin = int(np.searchsorted(cumulative, targets[0], side="right")) - 1
    high_bin = int(np.searchsorted(cumulative, targets[1], side="left")) - 1
    ends = []
    for index, target in zip((low_bin, high_bin), targets, strict=True):
        index = min(max(index, 0), histogram.counts.size - 1)
        share = (target - cumulative[index]) / max(int(histogram.counts[index]), 1)
        left, right = histogram.edges[index], histogram.edges[index + 1]
        ends.append(float(left + (right - left) * share))
    low = min(max(ends[0], histogram.minimum), histogram.maximum)
    return low, min(max(ends[1], low), histogram.maximum)


def mse_range(histogram: Histogram, *, symmetric: bool = False) -> tuple[float, float]:
    """The range `[low, high]`, 0 inside, that minimizes the expected squared error in int8.

    `error = sum over bins outside of count * (distance to the range)^2
           + step^2 / 12 * (count inside, zeros excepted)`, with `step = (high - low) / 255`, or
    `2 * max(|low|, |high|) / 254` if symmetric. The first term saturates, the second rounds
    (uniform noise; zero is exact). Searched on a grid of ranges, refined around the best.
    """
    low, high = min(histogram.minimum, 0.0), max(histogram.maximum, 0.0)
    counts, centers = histogram.counts.astype(np.float64), histogram.centers
    # Moments of the counts up to each bin, so that a candidate costs a look-up.
    moments = np.stack([counts, counts * centers, counts * centers**2])
    sums = np.concatenate([np.zeros((3, 1)), np.cumsum(moments, axis=1)], axis=1)
    zeros = float(counts[histogram.indices == 0].sum())

    def squared_distance(bins: np.ndarray, bound: np.ndarray) -> np.ndarray:
        zeroth, first, second = bins
        return np.maximum(second - 2 * bound * first + bound**2 * zeroth, 0.0)

    def error(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        from_bin = np.searchsorted(centers, lows, side="left")
        to_bin = np.searchsorted(centers, highs, side="right")
        inside = np.maximum(sums[0, to_bin] - sums[0, from_bin] - zeros, 0.0)
        width = 2 * np.maximum(-lows, highs) if symmetric else highs - lows
        step = width / (NUM_STEPS - 1 if symmetric else NUM_STEPS)
        below = squared_distance(sums[:, from_bin], lows)
        above = squared_distance(sums[:, -1:] - sums[:, to_bin], highs)
        return below + above + inside * step**2 / 12

    low_span, high_span = (0.0, 1.0), (0.0, 1.0)
    best = (low, high)
    for _ in range(NUM_PASSES):
        low_shares = np.linspace(*low_span, NUM_CANDIDATES + 1) if low < 0 else np.ones(1)
        high_shares = np.linspace(*high_span, NUM_CANDIDATES + 1) if high > 0 else np.ones(1)
        if symmetric:
            largest = max(-low, high)
            shares = low_shares if low < 0 else high_shares
            lows, highs = np.maximum(-shares * largest, low), np.minimum(shares * largest, high)
            low_index = high_index = _last_minimum(error(lows, highs))
            best = (float(lows[low_index]), float(highs[high_index]))
        else:
            lows, highs = np.meshgrid(low_shares * low, high_shares * high, indexing="ij")
            index = _last_minimum(error(lows.reshape(-1), highs.reshape(-1)))
            low_index, high_index = divmod(index, high_shares.size)
            best = (float(low_shares[low_index] * low), float(high_shares[high_index] * high))
        low_span, high_span = _around(low_shares, low_index), _around(high_shares, high_index)
    return best


def _last_minimum(errors: np.ndarray) -> int:
    """Index of the smallest error; of equal ones the last, which is the widest range."""
    return int(errors.size - 1 - np.argmin(errors[::-1]))


def _around(shares: np.ndarray, index: int) -> tuple[float, float]:
    """The candidates on both sides of the one at `index`."""
    index = min(index, shares.size - 1)
    return float(shares[max(index - 1, 0)]), float(shares[min(index + 1, shares.size - 1)])


def entropy_range(histogram: Histogram, *, symmetric: bool = False) -> tuple[float, float]:
    """The range whose int8 distribution has the least Kullback-Leibler divergence from the data's.

    For each threshold `t` the range is `[max(minimum, -t), min(maximum, t)]`. The reference is the
    histogram with what lies outside added to the edge bins; the candidate is the histogram inside,
    averaged over the non-empty bins of each quantization step. Reference: S. Migacz, "8-bit
    inference with TensorRT", GTC 2017.
    """
    low, high = min(histogram.minimum, 0.0), max(histogram.maximum, 0.0)
    first, last = histogram.first, histogram.first + histogram.counts.size - 1
    side = max(-first, last)
    counts = histogram.counts.astype(np.float64)
    # Zero is exact in int8 whatever the range: its own bin must not decide.
    neighbours = counts[max(-first - 1, 0) : -first + 2].sum() - counts[-first]
    counts[-first] = neighbours / 2 if first < 0 < last else neighbours
    if counts.sum() == 0:
        return low, high
    # Below one bin a level there is nothing to lose, and so nothing to compare.
    start = (NUM_STEPS + 1) // 2 if symmetric or first < 0 < last else NUM_STEPS + 1
    thresholds = np.unique(np.linspace(min(start, side), side, NUM_THRESHOLDS).astype(int))
    best, least = side, np.inf
    for threshold in thresholds[::-1]:
        from_bin = max(first, -int(threshold)) - first
        to_bin = min(last, int(threshold)) - first + 1
        levels = NUM_STEPS + 1
        if symmetric:
            span = max(-(from_bin + first), to_bin - 1 + first)
            levels = max(1, round((NUM_STEPS - 1) * (to_bin - from_bin) / (2 * span + 1)))
        divergence = _divergence(counts, from_bin, to_bin, levels)
        if divergence < least:
            best, least = int(threshold), divergence
    edge = (best + 1) * histogram.width
    return (low if best >= -first else -edge), (high if best >= last else edge)


def _divergence(counts: np.ndarray, start: int, stop: int, num_levels: int) -> float:
    """KL divergence between `counts` clipped to bins `[start, stop)` and its `num_levels` form."""
    inside = counts[start:stop]
    reference = inside.copy()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[stop:].sum()
    group = np.arange(inside.size) * min(num_levels, inside.size) // inside.size
    present = inside > 0
    totals = np.bincount(group, weights=inside)
    members = np.bincount(group, weights=present)
    candidate = np.where(present, totals[group] / np.maximum(members[group], 1), 0.0)
    if candidate.sum() == 0:
        return float(np.inf)
    p, q = reference / reference.sum(), candidate / candidate.sum()
    support = p > 0
    # An edge bin can hold only what was outside; a small floor keeps its cost finite.
    floor = 1e-3 / counts.sum()
    return float(np.sum(p[support] * np.log(p[support] / np.maximum(q[support], floor))))
