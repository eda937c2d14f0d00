"""Streaming sums against the same computed at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keras_octet.validate.compare import CHUNK_SIZE, ChannelRange, ErrorSums, EvenSample
from tests.validate.support import sqnr


@pytest.mark.parametrize("size", [1, 100, CHUNK_SIZE, 2 * CHUNK_SIZE + 3])
def test_error_sums_are_those_of_the_whole(size: int) -> None:
    rng = np.random.default_rng(size)
    f = rng.normal(3, 1, size).astype(np.float32)
    q = f + rng.normal(0, 0.01, size).astype(np.float32)
    sums = ErrorSums()
    for part in np.array_split(np.arange(size), min(size, 7)):
        sums.update(f[part], q[part])
    found = sums.result()
    error = f.astype(np.float64) - q
    assert found.sqnr == pytest.approx(sqnr(f, q), abs=1e-9)
    assert found.max_error == np.abs(error).max()
    assert found.mean_error == pytest.approx(np.abs(error).mean())
    a, b = f.astype(np.float64), q.astype(np.float64)
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_sqnr_at_its_limits() -> None:
    def of(f: list[float], q: list[float]) -> float:
        sums = ErrorSums()
        sums.update(np.array(f, np.float32), np.array(q, np.float32))
        return sums.result().sqnr

    assert of([1, 2], [1, 2]) == math.inf
    assert of([0, 0], [0, 0]) == math.inf
    assert of([0, 0], [1, 0]) == -math.inf
    assert of([10], [9]) == pytest.approx(20)
    assert math.isnan(of([math.nan], [1]))


def test_nan_is_not_lost_in_the_largest_error() -> None:
    sums = ErrorSums()
    sums.update(np.array([1.0, np.nan]), np.array([1.0, 1.0]))
    sums.update(np.array([1.0]), np.array([3.0]))
    assert math.isnan(sums.result().max_error)


def test_channel_ranges() -> None:
    values = np.random.default_rng(0).normal(size=(10, 3, 4)).astype(np.float32)
    found = ChannelRange()
    for part in (values[:4], values[4:]):
        found.update(part)
    np.testing.assert_array_equal(found.minimum, values.min(axis=(0, 1)))
    np.testing.assert_array_equal(found.maximum, values.max(axis=(0, 1)))
    np.testing.assert_allclose(found.spans(), np.ptp(values.astype(np.float64), axis=(0, 1)))


@pytest.mark.parametrize("size", [5, 100, 101, 1000])
def test_an_even_sample_does_not_depend_on_the_batches(size: int) -> None:
    rows = np.arange(2 * size).reshape(size, 2)
    samples = []
    for step in (1, 7, 64, size):
        sample = EvenSample(100)
        for start in range(0, size, step):
            sample.update(rows[start : start + step])
        samples.append(sample.rows())
    for sample in samples:
        np.testing.assert_array_equal(sample, samples[0])
    stride = len(rows[:: 1 << max(0, math.ceil(math.log2(size / 100)))])
    assert len(samples[0]) == stride <= 100
