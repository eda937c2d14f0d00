"""The models that are measured: architecture, weights and samples.

Speed does not depend on what a network has learned, so weights are random; every BatchNormalization
holds the statistics of its samples.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from integration.applications import normalize_for, photographs
from integration.efficientnet_lite import efficientnet_lite0

L = keras.layers

NUM_CALIBRATION = 128
Build = Callable[[], tuple[keras.Model, Callable[[int], np.ndarray]]]
"""Gives a model, and a function from a number to so many samples."""


def build(name: str) -> tuple[keras.Model, Callable[[int], np.ndarray]]:
    """A model of the zoo and the source of its samples, float32."""
    keras.utils.set_random_seed(1)
    model, samples = ZOO[name]()
    normalize_for(model, samples(16))
    return model, samples


def _pictures(size: int, scale: float, offset: float) -> Callable[[int], np.ndarray]:
    """Crops of photographs, `(count, size, size, 3)`: `scale * pixels + offset`."""

    def samples(count: int) -> np.ndarray:
        # More than this many different ones make no difference to speed.
        different = photographs(min(count, 128), size, seed=0) * np.float32(scale)
        return np.resize(different + np.float32(offset), (count, size, size, 3))

    return samples


def _series(length: int, channels: int) -> Callable[[int], np.ndarray]:
    """Windows of sums of sines with noise, `(count, length, channels)` or `(count, length)`."""

    def samples(count: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        shape = (count, 1, max(channels, 1))
        time = np.arange(length)[None, :, None] / length
        waves = np.sin(2 * np.pi * (rng.uniform(1, 9, shape) * time + rng.uniform(0, 1, shape)))
        noisy = (waves + rng.normal(0, 0.1, waves.shape)).astype(np.float32)
        return noisy if channels else noisy[..., 0]

    return samples


def _application(name: str, scale: float = 1 / 127.5, offset: float = -1.0) -> Build:
    def make() -> tuple[keras.Model, Callable[[int], np.ndarray]]:
        model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
        return model, _pictures(224, scale, offset)

    return make


def _efficientnet_lite0() -> tuple[keras.Model, Callable[[int], np.ndarray]]:
    return efficientnet_lite0(), _pictures(224, 1 / 128, -127 / 128)


def _mlp() -> tuple[keras.Model, Callable[[int], np.ndarray]]:
    layers = [keras.Input((784,)), L.Dense(128, activation="relu")]
    model = keras.Sequential([*layers, L.Dense(10, activation="softmax")], name="mlp")
    return model, _series(784, 0)


def _cnn() -> tuple[keras.Model, Callable[[int], np.ndarray]]:
    inputs = x = keras.Input((32, 32, 3))
    for filters in (32, 64, 128):
        x = L.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = L.MaxPooling2D()(L.ReLU()(L.BatchNormalization()(x)))
    outputs = L.Dense(10, activation="softmax")(L.Flatten()(x))
    return keras.Model(inputs, outputs, name="cnn"), _pictures(32, 1 / 255, 0)


def _u_net() -> tuple[keras.Model, Callable[[int], np.ndarray]]:
    def twice(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        for _ in range(2):
            x = L.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = L.ReLU()(L.BatchNormalization()(x))
        return x

    inputs = x = keras.Input((128, 128, 3))
    skips = []
    for filters in (16, 32, 64):
        skips.append(twice(x, filters))
        x = L.MaxPooling2D()(skips[-1])
    x = twice(x, 128)
    for filters in (64, 32, 16):
        x = L.Conv2DTranspose(filters, 2, strides=2)(x)
        x = twice(L.Concatenate()([x, skips.pop()]), filters)
    outputs = L.Conv2D(1, 1, activation="sigmoid")(x)
    return keras.Model(inputs, outputs, name="u_net"), _pictures(128, 1 / 255, 0)


def _dense_autoencoder() -> tuple[keras.Model, Callable[[int], np.ndarray]]:
    """As for anomaly detection over the spectra of sounds."""
    inputs = x = keras.Input((640,))
    for units in (128, 128, 128, 8, 128, 128, 128):
        x = L.ReLU()(L.BatchNormalization()(L.Dense(units)(x)))
    model = keras.Model(inputs, L.Dense(640)(x), name="dense_autoencoder")
    return model, _series(640, 0)


def _conv_autoencoder() -> tuple[keras.Model, Callable[[int], np.ndarray]]:
    """Over windows of several sensors."""
    inputs = x = keras.Input((256, 4))
    for filters in (16, 32, 64):
        x = L.Conv1D(filters, 5, strides=2, padding="same", activation="relu")(x)
    for filters in (64, 32, 16):
        x = L.Conv1DTranspose(filters, 5, strides=2, padding="same", activation="relu")(x)
    outputs = L.Conv1D(4, 5, padding="same")(x)
    return keras.Model(inputs, outputs, name="conv_autoencoder"), _series(256, 4)


ZOO: dict[str, Build] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "dense_autoencoder": _dense_autoencoder,
    "conv_autoencoder": _conv_autoencoder,
    "u_net": _u_net,
    "mobilenet_v3_small": _application("MobileNetV3Small", scale=1.0, offset=0.0),
    "mobilenet_v2": _application("MobileNetV2"),
    "efficientnet_lite0": _efficientnet_lite0,
    "resnet50": _application("ResNet50"),
    "densenet121": _application("DenseNet121"),
}
