import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_octet.calibrate import histogram as histogram_module
from keras_octet.calibrate.histogram import Histogram
from keras_octet.calibrate.observers import (
    MinMaxObserver,
    TensorObserver,
    make_observer,
    register,
    restore_observer,
)
from keras_octet.errors import CalibrationError
from keras_octet.observer_specs import MSE, Entropy, MinMax, MovingAverage, Observer, Percentile
from keras_octet.qparams import QParams

EXACT = [MinMax(), Percentile(percentile=90, num_bins=32), MSE(num_bins=32), Entropy(num_bins=64)]
ALL = [*EXACT, MovingAverage()]

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=40),
    elements=st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.floats(-4, 4, width=32),
        st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0]),
    ),
)


def observed(spec: Observer, *parts: np.ndarray) -> TensorObserver:
    observer = make_observer(spec)
    for part in parts:
        observer.update(part)
    return observer


def assert_equal_state(first: TensorObserver, second: TensorObserver) -> None:
    left, right = first.get_state(), second.get_state()
    assert left.keys() == right.keys()
    for key, value in left.items():
        np.testing.assert_array_equal(value, right[key])


@pytest.mark.parametrize("spec", EXACT, ids=lambda spec: type(spec).__name__)
@given(parts=st.lists(arrays, min_size=1, max_size=5), order=st.randoms(use_true_random=False))
def test_order_split_and_merging_make_no_difference(spec, parts, order) -> None:
    whole = observed(spec, np.concatenate([part.reshape(-1) for part in parts]))
    merged = make_observer(spec)
    shuffled = list(parts)
    order.shuffle(shuffled)
    for part in shuffled:
        merged.merge(observed(spec, part))
    assert_equal_state(observed(spec, *shuffled), whole)
    assert_equal_state(merged, whole)
    assert merged.range() == whole.range()
    assert merged.range(symmetric=True) == whole.range(symmetric=True)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: type(spec).__name__)
@given(array=arrays)
def test_range_lies_inside_the_values_or_reaches_to_zero(spec, array) -> None:
    observer = observed(spec, array)
    for symmetric in (False, True):
        low, high = observer.range(symmetric=symmetric)
        assert low <= high
        tolerance = 1e-6 * float(np.abs(array).max())
        assert low >= min(float(array.min()), 0.0) - tolerance
        assert high <= max(float(array.max()), 0.0) + tolerance
        QParams.from_range(low, high, symmetric=symmetric)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: type(spec).__name__)
@given(array=arrays, further=arrays)
def test_state_round_trip(spec, array, further) -> None:
    observer = observed(spec, array)
    restored = restore_observer(spec, observer.get_state())
    assert_equal_state(observer, restored)
    observer.update(further)
    restored.update(further)
    assert_equal_state(observer, restored)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: type(spec).__name__)
def test_an_empty_observer_has_no_range(spec) -> None:
    empty = make_observer(spec)
    assert isinstance(empty, TensorObserver)
    empty.update(np.zeros((0, 4), np.float32))
    with pytest.raises(CalibrationError, match="no values"):
        empty.range()
    with pytest.raises(CalibrationError, match="no values"):
        restore_observer(spec, empty.get_state()).range()
    full = observed(spec, np.array([-1.0, 2.0], np.float32))
    before = full.range()
    full.merge(empty)
    assert full.range() == before
    empty.merge(full)
    assert empty.range() == before


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: type(spec).__name__)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_change_nothing(spec, bad) -> None:
    observer = observed(spec, np.array([[1.0, 2.0]], np.float32))
    before = observer.get_state()
    for position in range(3):
        array = np.array([[3.0, 4.0], [5.0, 6.0]], np.float32)
        array.reshape(-1)[position] = bad
        with pytest.raises(CalibrationError, match="finite"):
            observer.update(array)
    for key, value in observer.get_state().items():
        np.testing.assert_array_equal(value, before[key])


def test_observers_of_different_specifications_do_not_merge() -> None:
    for first, second in itertools.permutations([*ALL, MSE(num_bins=64)], 2):
        with pytest.raises(CalibrationError, match="same specification"):
            make_observer(first).merge(make_observer(second))


def test_a_second_observer_for_a_specification_is_refused() -> None:
    with pytest.raises(ValueError, match="already"):
        register(MinMax)(MinMaxObserver)


def test_make_observer_refuses_other_things() -> None:
    with pytest.raises(CalibrationError, match="MinMax"):
        make_observer("minmax")  # type: ignore[arg-type]


def test_values_of_any_layout_are_observed() -> None:
    array = np.arange(24, dtype=np.float64).reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    for spec in EXACT:
        assert_equal_state(observed(spec, array), observed(spec, np.arange(24, dtype=np.float32)))


class TestMovingAverage:
    def test_formula(self) -> None:
        observer = observed(MovingAverage(momentum=0.5), np.float32([[0, 4], [-2, 8], [-4, 4]]))
        assert observer.range() == (-2.5, 5.0)

    @given(array=arrays, cut=st.integers(0, 40))
    def test_the_split_into_batches_makes_no_difference(self, array, cut) -> None:
        spec = MovingAverage(momentum=0.7)
        assert_equal_state(observed(spec, array[:cut], array[cut:]), observed(spec, array))

    def test_merging_weighs_by_samples(self) -> None:
        first = observed(MovingAverage(), np.float32([[0, 1]] * 3))
        first.merge(observed(MovingAverage(), np.float32([[-4, 5]])))
        assert first.range() == (-1.0, 2.0)


class TestHistogram:
    @given(array=arrays)
    def test_counts_are_those_of_the_grid(self, array) -> None:
        histogram = Histogram(32)
        histogram.update(array)
        assert histogram.counts.size <= 32
        exact = np.trunc(array.astype(np.float64).reshape(-1) / histogram.width).astype(int)
        expected = np.bincount(exact - histogram.first, minlength=histogram.counts.size)
        np.testing.assert_array_equal(histogram.counts, expected)
        assert (histogram.minimum, histogram.maximum) == (array.min(), array.max())
        edges = histogram.edges
        assert edges.size == histogram.counts.size + 1
        assert edges[0] <= array.min()
        assert edges[-1] >= array.max()
        centers = histogram.centers
        assert np.all((edges[:-1] < centers) & (centers < edges[1:]))

    @given(array=arrays)
    def test_the_grid_is_no_coarser_than_needed(self, array) -> None:
        histogram = Histogram(32)
        histogram.update(array)
        span = max(float(array.max()), 0.0) - min(float(array.min()), 0.0)
        assert histogram.width <= max(4 * span / 32, 2.0**histogram_module.LOWEST_EXPONENT)

    def test_large_arrays_are_counted_in_chunks(self) -> None:
        array = np.random.default_rng(0).normal(size=3 * histogram_module.CHUNK_SIZE + 7)
        histogram = Histogram()
        histogram.update(array.astype(np.float32))
        assert histogram.num_values == array.size

    @pytest.mark.parametrize(
        "change",
        [
            {"counts": [1, 2]},
            {"counts": [[1]]},
            {"counts": [0.5] * 17},
            {"first": 3},
            {"exponent": 0},
            {"minimum": float("nan")},
            {"maximum": float("inf")},
            {"maximum": -5.0},
            {"minimum": "x"},
            {"num_bins": 64},
            {"counts": ["1"]},
            {"counts": [-1] * 17},
            {"counts": [10**30] * 17},
            {"counts": {}},
        ],
    )
    def test_a_damaged_state_is_refused(self, change) -> None:
        spec = MSE(num_bins=32)
        state = observed(spec, np.float32([-1, 0, 1])).get_state()
        with pytest.raises(CalibrationError):
            restore_observer(spec, state | change)

    def test_a_state_without_a_key_is_refused(self) -> None:
        for spec in ALL:
            state = observed(spec, np.float32([-1, 1])).get_state()
            for key in state:
                with pytest.raises(CalibrationError):
                    restore_observer(spec, {k: v for k, v in state.items() if k != key})
