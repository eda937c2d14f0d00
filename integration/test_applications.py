"""Whole architectures: quantized, the same bits as LiteRT, saved and loaded."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest

import keras_octet as ko
from integration.applications import ARCHITECTURES, application, photographs
from integration.efficientnet_lite import pretrained
from keras_octet.capture import capture

pytestmark = pytest.mark.slow

FULL_SIZE = bool(os.environ.get("OCTET_FULL_SIZE"))


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_application(name, tmp_path):
    size = ARCHITECTURES[name][0 if FULL_SIZE else 1]
    check_whole(*application(name, size), tmp_path)


def test_efficientnet_lite0(tmp_path):
    """With its ImageNet weights."""
    try:
        model = pretrained()
    except ModuleNotFoundError as error:
        pytest.skip(f"needs the weights: {error}")
    calibration, images = (
        (photographs(n, 224, seed) - 127) / 128 for n, seed in ((64, 0), (100, 1))
    )
    q = check_whole(model, calibration, images, tmp_path)
    kept = q.predict(images, verbose=0).argmax(-1) == model.predict(images, verbose=0).argmax(-1)
    assert kept.mean() > 0.85


def check_whole(model, calibration, images, tmp_path):
    """Quantized as a whole; the same bits on LiteRT and in Keras; the same saved and loaded."""
    q = ko.quantize(model, calibration)
    assert q.report.count("float") == 0, str(q.report)

    data = q.to_tflite()
    received = q.predict(images, batch_size=20, verbose=0)
    # What int8 costs a network of random weights says nothing: it magnifies every difference. That
    # what is quantized is the network, is shown in float.
    np.testing.assert_allclose(
        capture(model).predict_on_batch(images[:20]),
        model.predict_on_batch(images[:20]),
        rtol=1e-2,
        atol=1e-4,
    )

    q.engine = "keras"
    portable = np.concatenate([q.predict_on_batch(images[i : i + 20]) for i in range(0, 100, 20)])
    assert (portable != received).sum() == 0

    q.engine = "litert"
    q.save(tmp_path / "q.keras")
    loaded = keras.saving.load_model(tmp_path / "q.keras")
    assert loaded.to_tflite() == data
    np.testing.assert_array_equal(loaded.predict(images[:20], verbose=0), received[:20])
    assert (tmp_path / "q.keras").stat().st_size <= 1.1 * len(data)
    return q
