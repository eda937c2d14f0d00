"""The means of channels, and the positions that are looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_octet.calibrate.channels import ChannelMean
from keras_octet.calibrate.sampling import VALUES_PER_SAMPLE, spread_positions
from keras_octet.errors import CalibrationError

batches = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.just(3)),
    elements=st.floats(-1000, 1000, width=32),
)


def seen(*parts: np.ndarray) -> ChannelMean:
    mean = ChannelMean()
    for part in parts:
        mean.update(part)
    return mean


@given(st.lists(batches, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_order_split_and_merging_make_no_difference(parts, order) -> None:
    whole = seen(*parts).get_state()
    samples = [sample[None] for part in parts for sample in part]
    order.shuffle(samples)
    assert seen(*samples).get_state() == whole
    merged = ChannelMean()
    for sample in samples:
        merged.merge(seen(sample))
    assert merged.get_state() == whole
    assert ChannelMean.from_state(whole).get_state() == whole


def test_mean() -> None:
    values = np.random.default_rng(0).normal(2, 1, (7, 5, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(seen(values).mean, values.mean(axis=(0, 1, 2)), atol=1e-5)
    assert seen().mean is None
    assert seen(np.zeros(5, np.float32)).mean is None


def test_a_varying_number_of_channels_has_no_mean() -> None:
    assert seen(np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 3))).mean is None


def test_positions_are_spread_over_rows_and_columns() -> None:
    side, channels = 64, 32
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    image = np.repeat(grid[None], channels // 2, axis=-1).astype(np.float32)
    chosen = spread_positions(image)
    assert chosen.shape == (1, VALUES_PER_SAMPLE // channels, channels)
    for axis in (0, channels - 1):
        counts = np.histogram(chosen[0, :, axis], bins=8, range=(0, side))[0]
        assert counts.min() >= 10  # 16 in each of 8 bands
        assert counts.max() <= 22
    both = np.concatenate([image, image + 1])
    np.testing.assert_array_equal(spread_positions(both)[:1], chosen)


def test_small_samples_are_taken_whole() -> None:
    values = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    np.testing.assert_array_equal(spread_positions(values), values.reshape(2, 20, 3))
    wide = np.zeros((2, 3, 2 * VALUES_PER_SAMPLE))
    assert spread_positions(wide).shape == (2, 1, 2 * VALUES_PER_SAMPLE)


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"total": [1.0], "count": 1.5},
        {"total": [1.0], "count": -1},
        {"total": [[1.0]], "count": 1},
        {"total": ["x"], "count": 1},
        {"total": [float("nan")], "count": 1},
    ],
)
def test_a_damaged_state_is_refused(state) -> None:
    with pytest.raises(CalibrationError, match="means of the channels"):
        ChannelMean.from_state(state)
