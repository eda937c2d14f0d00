import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_octet.calibrate.histogram import Histogram
from keras_octet.calibrate.ranges import entropy_range, mse_range, percentile_range
from keras_octet.qparams import QParams

DISTRIBUTIONS = {
    "normal": lambda rng: rng.normal(size=100_000),
    "relu": lambda rng: np.maximum(rng.normal(size=100_000), 0),
    "relu6": lambda rng: np.clip(6 * rng.normal(size=100_000), 0, 6),
    "heavy": lambda rng: rng.standard_t(3, size=100_000),
    "negative": lambda rng: -rng.exponential(size=100_000),
    "shifted": lambda rng: rng.normal(5, 1, size=100_000),
}


def values_of(name: str) -> np.ndarray:
    return DISTRIBUTIONS[name](np.random.default_rng(0)).astype(np.float32)


def histogram_of(values: np.ndarray, num_bins: int = 2048) -> Histogram:
    histogram = Histogram(num_bins)
    histogram.update(values.astype(np.float32))
    return histogram


def error(values: np.ndarray, low: float, high: float, symmetric: bool) -> float:
    qparams = QParams.from_range(low, high, symmetric=symmetric)
    return float(np.mean((qparams.dequantize(qparams.quantize(values)) - values) ** 2.0))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@given(percentile=st.floats(60, 100))
def test_percentiles_are_within_a_bin_of_the_exact_ones(name, percentile) -> None:
    values = values_of(name)
    histogram = histogram_of(values)
    low, high = percentile_range(histogram, percentile)
    # Twice the width: bin 0 reaches to both sides of zero.
    tolerance = 2 * histogram.width
    levels = [1 - percentile / 100, percentile / 100]
    below = np.quantile(values, levels, method="lower")
    above = np.quantile(values, levels, method="higher")
    assert below[0] - tolerance <= low <= above[0] + tolerance
    assert below[1] - tolerance <= high <= above[1] + tolerance


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_hundredth_percentile_is_the_maximum(name) -> None:
    values = values_of(name)
    expected = (float(values.min()), float(values.max()))
    assert percentile_range(histogram_of(values), 100.0) == expected


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_mse_range_is_near_the_best_of_a_search_with_the_values(name, symmetric) -> None:
    values = values_of(name)
    low, high = mse_range(histogram_of(values), symmetric=symmetric)
    shares = np.linspace(0.1, 1, 46)
    least, most = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    largest = max(-least, most)
    if symmetric:
        candidates = [(-share * largest, share * largest) for share in shares]
    else:
        candidates = [(a * least, b * most) for a in shares[::3] for b in shares[::3]]
    best = min(error(values, *candidate, symmetric) for candidate in candidates)
    assert error(values, low, high, symmetric) <= 1.03 * best
    assert error(values, low, high, symmetric) <= 1.01 * error(values, least, most, symmetric)


@pytest.mark.parametrize("find", [mse_range, entropy_range])
def test_a_lone_outlier_is_cut_off(find) -> None:
    values = np.random.default_rng(0).normal(size=1_000_000)
    low, high = find(histogram_of(np.append(values, 12.0)))
    assert -5.5 < low < -3
    assert 3 < high < 10


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("find", [mse_range, entropy_range])
def test_clipped_activations_keep_their_bounds(find, symmetric) -> None:
    low, high = find(histogram_of(values_of("relu6")), symmetric=symmetric)
    assert low == 0
    assert high == pytest.approx(6, rel=2e-3)


@pytest.mark.parametrize("find", [mse_range, entropy_range, lambda h: percentile_range(h, 99.9)])
@pytest.mark.parametrize("values", [[0.0], [0.0] * 5, [3.0], [-3.0], [1e-38], [-3e38, 3e38]])
def test_few_values_are_covered(find, values) -> None:
    low, high = find(histogram_of(np.array(values)))
    assert min(low, 0) == pytest.approx(min(*values, 0), rel=1e-2)
    assert max(high, 0) == pytest.approx(max(*values, 0), rel=1e-2)
