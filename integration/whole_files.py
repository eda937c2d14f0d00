"""Whole models and what TensorFlow's converter and the LiteRT quantizer make of them.

`python -m integration.whole_files NAME FOLDER`, a process of its own, writes `model.keras`,
`data.npz` with `calibration` and `examples`, and `KIND.tflite` for each kind that is not there yet,
or `KIND.txt`, the reason of a converter that does not take the model.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from filelock import FileLock
from tests.tflite.support import randomized

from integration.applications import application
from integration.converters import convert, quantize_by_litert

L = keras.layers
APPLICATIONS = ("MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50", "DenseNet121")
NAMES = (*APPLICATIONS, "transformer", "unet")
FLOAT_KINDS = ("float32", "float16")
BY_LITERT = "_by_litert"
QUANTIZED_KINDS = ("dynamic", "int8", "int8_io", "int16", f"dynamic{BY_LITERT}", f"int8{BY_LITERT}")
ROOT = Path(__file__).parents[1]


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
    deep = block(L.AveragePooling2D(2)(middle), 24)
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


def kinds_of(name: str) -> tuple[str, ...]:
    """The hundreds of operators of DenseNet121 in float only."""
    return FLOAT_KINDS if name == "DenseNet121" else FLOAT_KINDS + QUANTIZED_KINDS


def make(name: str, folder: Path) -> None:
    """Fill `folder`, for all backends and processes once."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        subprocess.run(
            [sys.executable, "-m", "integration.whole_files", name, str(folder)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=1800,
        )


def main(name: str, folder: Path) -> None:
    missing = [kind for kind in kinds_of(name) if not _is_made(folder, kind)]
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        missing = [kind for kind in missing if not kind.endswith(BY_LITERT)]
    if not missing:
        return
    data = folder / "data.npz"
    if not data.exists():
        model, calibration, examples = model_and_data(name)
        model.save(folder / "model.keras")
        np.savez(data, calibration=calibration, examples=examples)
    model = keras.saving.load_model(folder / "model.keras")
    with np.load(data) as stored:
        samples = [{model.inputs[0].name: array[None]} for array in stored["calibration"]]
    with tempfile.TemporaryDirectory() as saved:
        model.export(saved, format="tf_saved_model", verbose=False)
        for kind in missing:
            try:
                if kind.endswith(BY_LITERT):
                    float32 = (folder / "float32.tflite").read_bytes()
                    content = quantize_by_litert(float32, kind.removesuffix(BY_LITERT), samples)
                else:
                    content = convert(saved, kind, samples)
            except Exception as error:  # of many kinds
                (folder / f"{kind}.txt").write_text(f"{error}"[:500], encoding="utf-8")
            else:
                (folder / f"{kind}.tflite").write_bytes(content)


def _is_made(folder: Path, kind: str) -> bool:
    return any((folder / f"{kind}.{suffix}").exists() for suffix in ("tflite", "txt"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
