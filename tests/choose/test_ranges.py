"""From calibrated ranges to parameters."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_octet as ko
from keras_octet.capture import capture
from keras_octet.choose import choose
from keras_octet.choose.ranges import with_both_ends
from keras_octet.qparams import QParams

L = keras.layers
sides = st.floats(1e-3, 1e3)


def test_pixels_from_minus_one_to_one_keep_all_their_levels() -> None:
    pixels = (np.arange(256) / 127.5 - 1).astype(np.float32)
    qparams = QParams.from_range(*with_both_ends(-1.0, 1.0))
    received = qparams.dequantize(qparams.quantize(pixels))
    assert len(np.unique(received)) == 255
    np.testing.assert_allclose(received[[0, -1]], [-1, 1], rtol=1e-6)
    # With 0 rounded to a step, every pixel lies between two.
    nearest = QParams.from_range(-1.0, 1.0)
    assert len(np.unique(nearest.quantize(pixels))) < 200


@given(low=sides, high=sides)
def test_both_ends_are_inside_and_one_is_exact(low, high) -> None:
    wider = with_both_ends(-low, high)
    assert wider[0] <= -low * (1 - 1e-9)
    assert wider[1] >= high * (1 - 1e-9)
    width = low + high
    assert width * (1 - 1e-9) <= wider[1] - wider[0]
    if min(low, high) > 0.02 * width:
        assert wider[1] - wider[0] <= width * 1.2
    qparams = QParams.from_range(*wider)
    ends = np.array([-low, high], np.float32)
    errors = np.abs(qparams.dequantize(qparams.quantize(ends)) - ends)
    assert errors.min() <= 1e-4 * width
    assert errors.max() <= (0.5 + 1e-3) * qparams.scale


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-3.0, 0.0), (0.0, 0.0), (0.5, 2.0), (-127.0, 128.0)])
def test_ranges_that_are_whole_steps_stay(ends) -> None:
    assert with_both_ends(*ends) == pytest.approx(ends)


def test_only_inputs_of_the_model_are_widened() -> None:
    inputs = keras.Input((4,), name="image")
    x = L.Reshape((2, 2), name="reshape")(inputs)
    model = keras.Model(inputs, L.Dense(3, name="dense")(x))
    data = np.random.default_rng(0).uniform(-1, 1, (64, 4)).astype(np.float32)
    data[0, 0], data[1, 0] = -1, 1
    plan = choose(capture(model), ko.calibrate(model, data), ko.Recipe())
    assert plan.tensors["image"].scale == np.float32(1 / 127)
    assert plan.tensors["image"] == plan.tensors["reshape"]
    low, high = ko.calibrate(model, data).range("dense")
    assert plan.tensors["dense"] == QParams.from_range(low, high)


@pytest.mark.parametrize("observer", [ko.MSE(), ko.Entropy()], ids=lambda o: type(o).__name__)
def test_observers_know_of_symmetric_ranges(observer) -> None:
    inputs = keras.Input((50,), name="image")
    model = keras.Model(inputs, L.ReLU(name="relu")(L.Dense(40, name="dense")(inputs)))
    data = np.random.default_rng(0).standard_t(2, (400, 50)).astype(np.float32)
    recipe = ko.recipes.w8a8(observer=observer, activation_symmetric=True)
    calibration = ko.calibrate(model, data, recipe=recipe)
    plan = choose(capture(model), calibration, recipe)
    symmetric = calibration.range("relu", symmetric=True)
    assert symmetric != calibration.range("relu")
    assert plan.tensors["relu"] == QParams.from_range(*symmetric, symmetric=True)


def test_means_of_the_inputs_of_weights_reach_the_plan() -> None:
    inputs = keras.Input((4,), name="image")
    x = L.Dense(3, activation="relu", name="dense")(inputs)
    model = keras.Model(inputs, L.Dense(2, name="head")(x))
    data = np.random.default_rng(0).normal(1, 1, (64, 4)).astype(np.float32)
    flat = capture(model)
    plan = choose(flat, ko.calibrate(model, data), ko.Recipe())
    read = {flat.get_layer("head").input._keras_history.operation.name, "image"}
    assert plan.channel_means.keys() == read
    np.testing.assert_allclose(plan.channel_means["image"], data.mean(axis=0), atol=1e-6)
