"""The models that are exported, and the samples that they are run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from tests.models import MODELS, images, make, randomize
from tests.test_operations import CASES, IMAGE
from tests.test_operations import MODELS as OPERATIONS

from integration.applications import application

L = keras.layers
SAMPLES = 24
APPLICATIONS = ("MobileNetV2", "ResNet50", "EfficientNetB0", "MobileNetV3Small")
APPLICATION_SIZE = 96


def separable() -> keras.Model:
    inputs = keras.Input((16, 16, 3))
    x = L.SeparableConv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.SeparableConv2D(12, 3, strides=2, padding="same", activation="relu")(x)
    x = L.AveragePooling2D(2)(x)
    return keras.Model(inputs, L.Dense(5)(L.Flatten()(x)), name="separable")


def attention() -> keras.Model:
    inputs = keras.Input((6, 8))
    query, key, value = (L.Dense(8, name=name)(inputs) for name in ("query", "key", "value"))
    weights = L.Softmax()(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
    return keras.Model(inputs, L.Dense(4)(ops.matmul(weights, value)), name="attention")


OTHERS: dict[str, tuple[Callable[[], keras.Model], tuple[int, ...]]] = {
    "separable": (separable, (16, 16, 3)),
    "attention": (attention, (6, 8)),
}
SMALL = (*MODELS, *OTHERS)


def example(name: str) -> tuple[keras.Model, Any, Any]:
    """A whole model, its calibration data, and `SAMPLES` other samples."""
    keras.utils.set_random_seed(0)
    if name in OTHERS:
        build, shape = OTHERS[name]
        model, calibration = randomize(build()), images(1, 64, *shape)
        samples = images(2, SAMPLES, *shape)
    elif name in APPLICATIONS:
        model, calibration, samples = application(name, APPLICATION_SIZE)
        # Photographs, and random images, which are at the end.
        samples = samples[-SAMPLES - 16 : -16]
    else:
        model, calibration, samples = make(name)
    return model, calibration, keras.tree.map_structure(lambda array: array[:SAMPLES], samples)


def operation(name: str, index: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A model around one operation of the table, as `example`."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(IMAGE)
    model = randomize(keras.Model(inputs, OPERATIONS[name][index](inputs)))
    return model, images(0, 64, *IMAGE), images(1, SAMPLES, *IMAGE)


def within(samples: Any, calibration: Any) -> Any:
    """The samples, clipped to the range of the calibration data."""
    return keras.tree.map_structure(
        lambda array, seen: np.clip(array, seen.min(), seen.max()), samples, calibration
    )


__all__ = ["APPLICATIONS", "CASES", "SMALL", "example", "operation", "within"]
