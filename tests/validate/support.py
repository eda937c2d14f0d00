"""Small models with weights that never saw training, and data, for the tests of validation."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

import keras_octet as ko
from tests.models import images, randomize

L = keras.layers

NUM_CLASSES = 7


@functools.cache
def classifier() -> tuple[keras.Model, ko.QuantizedModel, np.ndarray, np.ndarray]:
    """`(model, quantized, x, y)`: a CNN of all kinds of layers, and labels it is often right on."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = L.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = L.BatchNormalization(name="stem_bn")(x)
    x = L.ReLU(6.0, name="stem_relu")(x)
    skip = x
    x = L.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = L.Conv2D(8, 1, name="project")(x)
    x = L.Add(name="residual")([x, skip])
    x = L.MaxPooling2D(2, name="pool")(x)
    x = L.GlobalAveragePooling2D(name="average")(x)
    x = L.Dense(NUM_CLASSES, name="logits")(x)
    model = keras.Model(inputs, L.Softmax(name="scores")(x), name="classifier")
    keras.utils.set_random_seed(1)
    randomize(model, 1)
    calibration = images(1, 64, 12, 12, 3)
    # Logits that decide: spread, and none above the others for all images.
    logits = keras.Model(model.inputs, model.get_layer("logits").output)
    spread = logits.predict(calibration, verbose=0)
    scale = 2 / spread.std(axis=0)
    head = model.get_layer("logits")
    head.kernel.assign(np.asarray(head.kernel) * scale)
    head.bias.assign((np.asarray(head.bias) - spread.mean(axis=0)) * scale)
    quantized = ko.quantize(model, calibration)
    data = images(2, 150, 12, 12, 3)
    labels = np.argmax(model.predict(data, verbose=0), axis=-1)
    noise = np.random.default_rng(0)
    wrong = noise.uniform(size=len(labels)) < 0.2
    labels = np.where(wrong, noise.integers(0, NUM_CLASSES, len(labels)), labels)
    return model, quantized, data, labels


@functools.cache
def autoencoder() -> tuple[keras.Model, ko.QuantizedModel, np.ndarray, np.ndarray]:
    """`(model, quantized, x, anomalous)`: reconstructs sums of two patterns; 1 marks other ones."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(2, 16)).astype(np.float32)
    model = keras.Sequential(
        [keras.Input((16,)), L.Dense(2, name="code"), L.Dense(16, name="out")], name="autoencoder"
    )
    inverse = np.linalg.pinv(patterns)
    model.set_weights([inverse, np.zeros(2), patterns, np.zeros(16)])
    x = rng.normal(size=(200, 2)).astype(np.float32) @ patterns
    anomalous = (rng.uniform(size=200) < 0.3).astype(np.int32)
    x += anomalous[:, None] * rng.normal(0, 0.3, x.shape).astype(np.float32)
    return model, ko.quantize(model, x[:100]), x, anomalous


def batches(*arrays: Any, size: int) -> Any:
    """A function that gives batches, as a generator."""

    def generate() -> Any:
        for start in range(0, len(arrays[0]), size):
            part = tuple(array[start : start + size] for array in arrays)
            yield part if len(part) > 1 else part[0]

    return generate


def sqnr(reference: np.ndarray, received: np.ndarray) -> float:
    """In dB, as a textbook writes it."""
    reference, received = (np.asarray(a, np.float64).ravel() for a in (reference, received))
    return 10 * np.log10(np.sum(reference**2) / np.sum((reference - received) ** 2))


def quick(model: Any, quantized: Any, data: Any, **options: Any) -> ko.ValidationReport:
    """`validate` without what takes long, unless it is asked for."""
    defaults = {"latency": False, "sizes": False, "effects": False, "layer_samples": 0}
    return ko.validate(model, quantized, data, **(defaults | options))
