"""Weights to integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_octet.recipe import WEIGHT_ROUNDINGS
from keras_octet.transform.rounding import ROUNDINGS, round_squant, round_to_nearest

HIGHEST = 127

steps = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 12), st.sampled_from([1, 4, 9])),
    elements=st.floats(-HIGHEST, HIGHEST, width=32),
)


def sums(steps: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """Of the errors of each channel."""
    return (rounded - steps.astype(np.float64)).sum(axis=(1, 2))


def test_the_recipe_names_every_rounding() -> None:
    assert set(ROUNDINGS) == set(WEIGHT_ROUNDINGS)


@pytest.mark.parametrize("name", WEIGHT_ROUNDINGS)
@given(steps=steps)
def test_integers_are_in_range_and_neighbours_of_the_weights(name, steps) -> None:
    rounded = ROUNDINGS[name](steps, HIGHEST)
    assert rounded.dtype == np.int8
    assert rounded.shape == steps.shape
    assert np.abs(rounded.astype(int)).max() <= HIGHEST
    # A weight moves once for its kernel and once for its channel.
    assert np.abs(rounded - steps).max() <= (0.5 if name == "nearest" else 2.0) + 1e-4


@given(steps=steps)
def test_errors_of_a_channel_cancel(steps) -> None:
    inside = np.abs(steps) <= HIGHEST - 2
    steps = np.where(inside, steps, np.float32(0))
    assert np.abs(sums(steps, round_squant(steps, HIGHEST))).max() <= 0.5 + 1e-3


def test_errors_of_each_kernel_cancel_as_far_as_the_channel_lets_them() -> None:
    steps = np.full((1, 2, 9), 0.4, np.float32)
    rounded = round_squant(steps, HIGHEST)
    # Each kernel sums to 3.6: 4 of its weights become 1. The channel sums to 7.2: 7 of them.
    assert sorted(rounded.sum(axis=2)[0]) == [3, 4]


def test_the_weights_next_to_a_tie_move() -> None:
    steps = np.array([0.1, 0.2, 0.45, 0.3, -2.05], np.float32).reshape(1, 5, 1)
    # The nearest, [0, 0, 0, 0, -2], are 1.0 too low together.
    assert round_squant(steps, HIGHEST).ravel().tolist() == [0, 0, 1, 0, -2]
    assert round_to_nearest(steps, HIGHEST).ravel().tolist() == [0, 0, 0, 0, -2]


def test_of_equal_weights_the_first_move() -> None:
    steps = np.full((2, 10, 1), 0.25, np.float32)
    rounded = round_squant(steps, HIGHEST)
    np.testing.assert_array_equal(rounded[:, :, 0], [[1, 1] + [0] * 8] * 2)


def test_rows_that_need_no_move_are_the_nearest() -> None:
    rng = np.random.default_rng(0)
    steps = rng.uniform(-100, 100, (6, 20, 1)).astype(np.float32)
    steps[::2] = np.rint(steps[::2])
    np.testing.assert_array_equal(round_squant(steps, HIGHEST)[::2], steps[::2])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_highest_weights_stay_in_range(sign) -> None:
    """The errors want weights above 127, where there are no integers."""
    steps = np.full((1, 6, 1), sign * 127.4, np.float32)
    assert round_squant(steps, HIGHEST).ravel().tolist() == [sign * 127] * 6


def test_few_bits() -> None:
    rng = np.random.default_rng(1)
    steps = rng.uniform(-1, 1, (3, 40, 1)).astype(np.float32)
    rounded = round_squant(steps, 1)
    assert set(np.unique(rounded)) == {-1, 0, 1}
    assert np.abs(sums(steps, rounded)).max() <= 0.5 + 1e-3


def test_less_error_where_inputs_are_alike() -> None:
    """An edge detector on a smooth image, of which the sum of the weights is 0."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(200, 1, 9)).astype(np.float32)
    weights -= weights.mean(axis=2, keepdims=True)
    steps = weights / np.abs(weights).max(axis=(1, 2), keepdims=True) * HIGHEST
    inputs = rng.uniform(0, 6, 1000)[:, None] + rng.normal(0, 0.2, (1000, 9))
    noise = {
        name: np.square((ROUNDINGS[name](steps, HIGHEST) - steps)[:, 0] @ inputs.T).mean()
        for name in ROUNDINGS
    }
    assert noise["squant"] < noise["nearest"] / 5
