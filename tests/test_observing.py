"""The calibration's runner on LiteRT: the statistics of the Keras backend, or that itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import keras_octet as ko
from keras_octet import observing
from keras_octet.calibrate.run import calibrate, keras_runner
from keras_octet.capture import capture
from keras_octet.observing import litert_runner
from tests.models import MODELS, dense_model, images, make, randomize

L = keras.layers


@pytest.mark.parametrize("name", list(MODELS))
def test_statistics_are_those_of_the_backend(name):
    model, data, _ = make(name)
    flat = capture(model)
    expected = calibrate(flat, data, progress=False, make_runner=keras_runner)
    received = calibrate(flat, data, progress=False, make_runner=litert_runner)
    assert list(received) == list(expected)
    assert received.num_samples == expected.num_samples
    for tensor in expected:
        low, high = expected[tensor].range()
        # Both are float32 sums of the same terms, in different orders.
        tolerance = 1e-5 * max(abs(low), abs(high)) + 1e-6
        np.testing.assert_allclose(received[tensor].range(), (low, high), rtol=0, atol=tolerance)


@pytest.fixture
def made(monkeypatch):
    """The runners that were made: "litert", "keras"."""
    log: list[str] = []
    original, fallback = observing._LiteRTRunner.__call__, observing.keras_runner

    def litert(self, arrays):
        log.append("litert")
        return original(self, arrays)

    def portable(model, tensors):
        log.append("keras")
        return fallback(model, tensors)

    monkeypatch.setattr(observing._LiteRTRunner, "__call__", litert)
    monkeypatch.setattr(observing, "keras_runner", portable)
    return log


def test_batches_of_several_sizes_and_the_last_padded(made):
    model = randomize(dense_model())
    data = images(0, 50, 20)

    def batches():
        for size in (7, 1, 30, 12):
            yield [data[:size]]

    flat = capture(model)
    received = calibrate(flat, batches, batch_size=8, progress=False, make_runner=litert_runner)
    expected = calibrate(flat, batches, batch_size=8, progress=False)
    assert set(made) == {"litert"}
    for tensor in expected:
        np.testing.assert_allclose(
            received[tensor].range(), expected[tensor].range(), rtol=1e-5, atol=1e-6
        )


def test_sizes_that_change(made):
    inputs = keras.Input((None, None, 3))
    model = randomize(keras.Model(inputs, L.Conv2D(4, 3, padding="same")(inputs)))

    def batches():
        yield [images(0, 2, 12, 10, 3)]
        yield [images(1, 3, 7, 9, 3)]

    expected = calibrate(capture(model), batches, progress=False)
    received = calibrate(capture(model), batches, progress=False, make_runner=litert_runner)
    assert set(made) == {"litert"}
    for tensor in expected:
        np.testing.assert_allclose(
            received[tensor].range(), expected[tensor].range(), rtol=1e-5, atol=1e-6
        )


class Twice(L.Layer):
    """A layer of the user's that stays a float island."""

    def call(self, x):
        return ops.logaddexp(x, x)


def test_a_model_without_a_tflite_form_runs_on_the_backend(made):
    model = keras.Sequential([keras.Input((6,)), L.Dense(4), Twice(), L.Dense(2)])
    q = ko.quantize(model, images(0, 20, 6))
    assert made == ["keras"]
    assert q.report.count("int8") >= 2


def test_a_model_that_litert_refuses_runs_on_the_backend(made, monkeypatch):
    def refuse(self, arrays):
        raise ko.EngineError("no")

    monkeypatch.setattr(observing._LiteRTRunner, "__call__", refuse)
    ko.quantize(randomize(dense_model()), images(0, 20, 20))
    assert made == ["keras"]


def test_values_that_are_not_finite_are_found_where_they_begin(made):
    inputs = keras.Input((8,))
    x = L.Dense(6, activation="relu", name="first")(inputs)
    x = L.Dense(6, activation="relu", name="second")(x)
    model = keras.Model(inputs, L.Dense(2, name="third")(x))
    kernel = np.ones((6, 6), np.float32)
    kernel[2, 3] = np.nan
    model.get_layer("second").kernel.assign(kernel)
    with pytest.raises(ko.CalibrationError, match=r"'second'.*NaN"):
        ko.quantize(model, images(0, 10, 8))
    model.get_layer("second").kernel.assign(np.full((6, 6), 3e38))
    with pytest.raises(ko.CalibrationError, match=r"'second'.*infinite"):
        ko.quantize(model, np.ones((4, 8), np.float32))
    assert set(made) == {"litert"}


def test_memory_of_the_run_is_bounded_by_micro_batches(made):
    """More samples than fit at a time: LiteRT's tensors are views, and none outlives its batch."""
    inputs = keras.Input((64, 64, 3))
    x = L.Conv2D(64, 3, padding="same", activation="relu")(inputs)
    model = randomize(keras.Model(inputs, L.Conv2D(64, 3, padding="same")(x)))
    data = images(0, 40, 64, 64, 3)
    calibration = ko.calibrate(model, data)
    assert calibration.num_samples == 40
    assert made.count("litert") > 1
