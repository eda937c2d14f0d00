"""Architectures of `keras.applications` with random weights, and real photographs for them."""

from __future__ import annotations

import keras
import numpy as np
from sklearn.datasets import load_sample_images

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
    normalize_for(model, calibration[:16])
    return model, calibration, images


def normalize_for(model: keras.Model, images: np.ndarray) -> None:
    """Give every BatchNormalization the statistics of `images`.

    Then the activations of random weights have the spread of a trained network.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
