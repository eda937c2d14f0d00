"""Whole architectures: quantized, the same bits as LiteRT, saved and loaded.

Weights are random, but every BatchNormalization holds the statistics of real photographs, so that
activations have the spread of a trained network.
"""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

import keras_octet as ko
from integration.efficientnet_lite import pretrained
from keras_octet.capture import capture

pytestmark = pytest.mark.slow

# (constructor, input size by default, smaller input size)
ARCHITECTURES = {
    "MobileNet": (224, 96),
    "MobileNetV2": (224, 96),
    "ResNet50": (224, 96),
    "EfficientNetB0": (224, 96),
    "MobileNetV3Small": (224, 96),
    "DenseNet121": (224, 96),
    "InceptionV3": (299, 96),
    "Xception": (299, 96),
}
FULL_SIZE = bool(os.environ.get("OCTET_FULL_SIZE"))


def photographs(count: int, size: int, seed: int) -> np.ndarray:
    """Random crops of two real photographs, float32 in [0, 255]."""
    rng = np.random.default_rng(seed)
    images = load_sample_images().images
    crops = []
    for i in range(count):
        image = images[i % 2]
        edge = int(rng.integers(size, min(image.shape[:2]) + 1))
        top = rng.integers(0, image.shape[0] - edge + 1)
        left = rng.integers(0, image.shape[1] - edge + 1)
        rows = np.linspace(0, edge - 1, size).astype(int)
        crops.append(image[top + rows][:, left + rows])
    return np.stack(crops).astype(np.float32)


def application(name: str, size: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """`(model, calibration images, 100 photographs and random images)`."""
    keras.utils.set_random_seed(1)
    constructor = getattr(keras.applications, name)
    model = constructor(weights=None, input_shape=(size, size, 3), classes=100)
    includes_preprocessing = name in ("EfficientNetB0", "MobileNetV3Small")
    noise = np.random.default_rng(3).uniform(0, 255, (20, size, size, 3)).astype(np.float32)
    calibration = photographs(32, size, 0)
    images = np.concatenate([photographs(80, size, 1), noise])
    if not includes_preprocessing:
        calibration, images = calibration / 127.5 - 1, images / 127.5 - 1
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(calibration[:16], training=True)
    return model, calibration, images


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
