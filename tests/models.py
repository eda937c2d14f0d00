"""Small models and data that several tests quantize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

L = keras.layers


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Weights as after training: nothing at its initial 0 or 1, BatchNormalization included."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif len(shape) < 2:
            variable.assign(rng.normal(0, 0.2, shape))
    return model


def images(seed: int, count: int, *shape: int) -> np.ndarray:
    """Smooth random fields in [-1, 1], float32."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (count, *shape))
    for axis in range(1, values.ndim - 1):
        values = (values + np.roll(values, 1, axis) + np.roll(values, 2, axis)) / 2
    return np.clip(values / 3, -1, 1).astype(np.float32)


def dense_model() -> keras.Model:
    return keras.Sequential(
        [keras.Input((20,)), L.Dense(32, activation="relu"), L.Dense(5, activation="softmax")],
        name="dense_model",
    )


def dense_autoencoder() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((24,)),
            L.Dense(16, activation="tanh"),
            L.Dense(4, activation="relu"),
            L.Dense(16),
            L.BatchNormalization(),
            L.LeakyReLU(negative_slope=0.2),
            L.Dense(24),
        ],
        name="dense_autoencoder",
    )


def convolutional() -> keras.Model:
    inputs = keras.Input((16, 16, 3), name="image")
    x = L.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = L.BatchNormalization(name="stem_bn")(x)
    x = L.ReLU(6.0, name="stem_relu")(x)
    skip = x
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = L.BatchNormalization(name="depthwise_bn")(x)
    x = L.Activation("relu6", name="depthwise_relu")(x)
    x = L.Conv2D(8, 1, name="project")(x)
    x = L.Add(name="residual")([x, skip])
    x = L.MaxPooling2D(2, name="pool")(x)
    x = L.Dropout(0.5, name="dropout")(x)
    x = L.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(inputs, L.Dense(4, activation="softmax", name="predictions")(x), name="conv")


def u_net() -> keras.Model:
    inputs = keras.Input((16, 16, 2))
    down = L.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    x = L.MaxPooling2D()(down)
    x = L.Conv2D(12, 3, padding="same", activation="relu")(x)
    x = L.Conv2DTranspose(6, 2, strides=2, activation="relu")(x)
    x = L.Concatenate()([x, down])
    x = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, L.Conv2D(1, 1, activation="sigmoid")(x), name="u_net")


def conv1d_autoencoder() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((32, 2)),
            L.Conv1D(8, 5, strides=2, padding="same", activation="relu"),
            L.Conv1D(4, 3, strides=2, padding="same"),
            L.BatchNormalization(),
            L.ReLU(),
            L.Conv1DTranspose(8, 3, strides=2, padding="same", activation="relu"),
            L.UpSampling1D(2),
            L.Conv1D(2, 3, padding="same"),
        ],
        name="conv1d_autoencoder",
    )


def two_inputs_two_outputs() -> keras.Model:
    inputs = {"left": keras.Input((8,), name="left"), "right": keras.Input((8,), name="right")}
    shared = L.Dense(6, activation="relu", name="shared")
    left, right = shared(inputs["left"]), shared(inputs["right"])
    outputs = {
        "difference": L.Subtract(name="difference")([left, right]),
        "product": L.Dense(3, name="product")(L.Multiply()([left, right])),
    }
    return keras.Model(inputs, outputs, name="two_by_two")


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((10,)), L.Dense(8, activation="relu"), L.Dense(8)])
    middle_input = keras.Input((10,))
    middle = keras.Model(middle_input, L.Activation("tanh")(inner(middle_input)), name="middle")
    inputs = keras.Input((10,))
    return keras.Model(inputs, L.Dense(2)(middle(inputs)), name="nested")


class Residual(keras.Model):
    """A subclassed model with a subclassed part."""

    def __init__(self) -> None:
        super().__init__(name="residual")
        self.first = L.Conv2D(4, 3, padding="same", activation="relu")
        self.second = L.Conv2D(4, 3, padding="same")
        self.head = L.Dense(3)

    def call(self, inputs: Any) -> Any:
        x = self.first(inputs)
        x = ops.relu(x + self.second(x))
        return self.head(ops.mean(x, axis=(1, 2)))


def subclassed() -> keras.Model:
    model = Residual()
    model(np.zeros((1, 8, 8, 2), np.float32))
    return model


MODELS: dict[str, tuple[Callable[[], keras.Model], Any]] = {
    "dense": (dense_model, (20,)),
    "dense_autoencoder": (dense_autoencoder, (24,)),
    "convolutional": (convolutional, (16, 16, 3)),
    "u_net": (u_net, (16, 16, 2)),
    "conv1d_autoencoder": (conv1d_autoencoder, (32, 2)),
    "two_inputs_two_outputs": (two_inputs_two_outputs, {"left": (8,), "right": (8,)}),
    "nested": (nested, (10,)),
    "subclassed": (subclassed, (8, 8, 2)),
}


def make(name: str) -> tuple[keras.Model, Any, Any]:
    """`(model, calibration data, other data)`."""
    build, shapes = MODELS[name]
    model = randomize(build())

    def data(seed: int, count: int) -> Any:
        if isinstance(shapes, dict):
            pairs = enumerate(shapes.items())
            return {key: images(seed + i, count, *shape) for i, (key, shape) in pairs}
        return images(seed, count, *shapes)

    return model, data(1, 64), data(2, 100)
