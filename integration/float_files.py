"""Float models and what TensorFlow's converter makes of them, in a process of its own.

`python -m integration.float_files NAME FOLDER` writes `model.keras`, `float32.tflite`,
`float16.tflite` and `data.npz` with `calibration` and `examples`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
from tests.tflite.support import randomized

from integration.applications import application

L = keras.layers
APPLICATIONS = ("MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50", "DenseNet121")
NAMES = (*APPLICATIONS, "transformer", "unet")


def transformer() -> keras.Model:
    """Two blocks of attention over 16 tokens."""
    tokens = keras.Input((16,), dtype="int32")
    positions = L.Embedding(16, 32)(np.arange(16))
    x = L.Embedding(50, 32)(tokens) + positions
    for _ in range(2):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(4, 8)(y, y)])
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.Dense(32)(L.Dense(64, activation="silu")(y))])
    x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x))
    return randomized(keras.Model(tokens, L.Dense(10)(x)))


def unet() -> keras.Model:
    """Two levels down and up, one enlarged by copies and one by a transposed convolution."""

    def block(x: object, filters: int) -> object:
        for rate in (1, 2):
            x = L.Conv2D(filters, 3, padding="same", dilation_rate=rate, use_bias=False)(x)
            x = L.ReLU()(L.BatchNormalization()(x))
        return x

    image = keras.Input((48, 48, 3))
    wide = block(image, 8)
    middle = block(L.MaxPooling2D()(wide), 16)
    deep = block(L.AveragePooling2D()(middle), 24)
    x = L.Concatenate()([L.UpSampling2D()(deep), middle])
    x = L.Conv2DTranspose(8, 3, strides=2, padding="same")(block(x, 16))
    x = block(L.Concatenate()([x, wide]), 8)
    return randomized(keras.Model(image, L.Conv2D(2, 1, activation="sigmoid")(x)))


def model_and_data(name: str) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The model, examples to calibrate on, and others."""
    rng = np.random.default_rng(0)
    if name == "transformer":
        data = rng.integers(0, 50, (80, 16)).astype(np.int32)
        return transformer(), data[:64], data[64:]
    if name == "unet":
        model, data = unet(), rng.normal(0, 1, (48, 48, 48, 3)).astype(np.float32)
        for layer in model.layers:
            if isinstance(layer, L.BatchNormalization):
                layer.momentum = 0.0
        model(data[:16], training=True)
        return model, data[:32], data[32:]
    model, calibration, images = application(name, 96)
    return model, calibration, images[:16]


def main(name: str, folder: Path) -> None:
    import tensorflow as tf

    model, calibration, examples = model_and_data(name)
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", calibration=calibration, examples=examples)
    for dtype in ("float32", "float16"):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if dtype == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        (folder / f"{dtype}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
