"""Layers switched between float and int8 against models quantized that way."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.capture import capture
from keras_octet.validate.effects import GatedModel, SampleStore
from keras_octet.validate.graph import match_layers
from tests.models import make
from tests.validate.support import classifier, quick, sqnr


@pytest.mark.parametrize("name", ["convolutional", "u_net"])
def test_all_gates_at_one_are_the_quantized_model_to_the_bit(name: str) -> None:
    model, calibration, data = make(name)
    quantized = ko.quantize(model, calibration)
    flat = capture(model)
    gated = GatedModel(flat, match_layers(flat, quantized))
    arrays = [data[:9]]
    (received,) = gated(arrays, on=gated.names)
    np.testing.assert_array_equal(received, quantized.predict(data[:9], verbose=0))
    (in_float,) = gated(arrays, on=())
    np.testing.assert_allclose(in_float, model.predict(data[:9], verbose=0), rtol=1e-4, atol=1e-5)


def test_outputs_with_a_layer_in_float_are_those_of_a_model_that_keeps_it() -> None:
    model, quantized, x, _ = classifier()
    flat = capture(model)
    gated = GatedModel(flat, match_layers(flat, quantized))
    for kept in ("depthwise", "logits"):
        recipe = ko.recipes.w8a8(keep_float=kept)
        other = ko.quantize(model, calibration_data(), recipe=recipe)
        (received,) = gated([x[:20]], on=[name for name in gated.names if name != kept])
        np.testing.assert_allclose(
            received, other.predict(x[:20], verbose=0), atol=1e-6, err_msg=kept
        )


def calibration_data() -> np.ndarray:
    from tests.models import images

    return images(1, 64, 12, 12, 3)


def test_effects_and_trials_of_a_report() -> None:
    model, quantized, x, _ = classifier()
    x = x[:128]
    report = quick(model, quantized, x, layer_samples=None, effects=True)
    assert report.num_effect_samples == len(x)
    reference = model.predict(x, verbose=0)
    rows = {row.name: row for row in report.layers}
    alone = ko.recipes.w8a8(
        keep_float=[name for name in rows if name not in ("depthwise", "image_quantize")]
        + ["stem_relu"]
    )
    received = ko.quantize(model, calibration_data(), recipe=alone).predict(x, verbose=0)
    assert rows["depthwise"].effect == pytest.approx(sqnr(reference, received), abs=0.05)
    assert [len(trial.layers) for trial in report.trials] == [0, 1, 2, 3, 5, 8]
    assert report.trials[0].sqnr == pytest.approx(report.outputs[0].difference.sqnr, abs=1e-3)
    worst = [row.name for row in report.worst_layers() if row.layer_type != "Quantize"]
    assert report.trials[3].layers == tuple(worst[:3])
    assert report.trials[5].sqnr > report.trials[0].sqnr + 10


def test_effects_of_several_outputs_are_of_the_mean_noise_ratio() -> None:
    model, calibration, data = make("two_inputs_two_outputs")
    quantized = ko.quantize(model, calibration)
    report = quick(model, quantized, data, layer_samples=None, effects=True)
    reference, received = (m.predict(data, verbose=0) for m in (model, quantized))
    ratios = [10 ** (-sqnr(reference[name], received[name]) / 10) for name in reference]
    assert report.num_effect_samples == 100
    assert report.trials[0].sqnr == pytest.approx(-10 * np.log10(np.mean(ratios)), abs=0.01)


def test_the_quantized_models_layers_keep_their_place() -> None:
    model, quantized, x, _ = classifier()
    quick(model, quantized, x[:8], layer_samples=8, effects=True)
    for each in (model, quantized):
        for layer in each.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                assert layer.output is not None  # raises if the layer has several nodes


@pytest.mark.parametrize(("total", "fixed", "taken"), [(100, None, 10), (4, None, 4), (99, 8, 8)])
def test_samples_are_spread_over_the_batches(total: int, fixed: int | None, taken: int) -> None:
    store = SampleStore(10, total, fixed)
    data = np.arange(total)[:, None]
    for start in range(0, total, 20):
        part = data[start : start + 20]
        store.update([part], len(part))
    (found,) = store.arrays()
    assert store.num_samples == len(found) == taken
    if not fixed and total == 100:
        assert len(set(found[:, 0] // 20)) == 5
