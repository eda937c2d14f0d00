"""Saved models for `test_saved.py`: `python -m tests.saved.make [name ...]`.

Of the Keras that is installed; run it again with another. Files that are there stay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np

import keras_octet as ko
from tests.golden.record import load
from tests.models import images, make, randomize
from tests.test_quantize import flat

FOLDER = Path(__file__).parent
# Of the calibration data that the makers draw.
COUNT = 4

Made = tuple[keras.Model, list[np.ndarray]]


def quantized(name: str, recipe: ko.Recipe | None = None) -> Made:
    """One of `tests.models`, and data."""
    model, calibration, x = make(name)
    return ko.quantize(model, calibration, recipe=recipe), [a[:COUNT] for a in flat(x)]


def integers() -> Made:
    """With int8 inputs and outputs."""
    recipe = ko.recipes.w8a8(input_dtype="int8", output_dtype="int8")
    model, (x,) = quantized("dense", recipe)
    return model, [np.random.default_rng(0).integers(-128, 128, x.shape, np.int8)]


def recurrent() -> Made:
    layers = keras.layers
    x = inputs = keras.Input((6, 5))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.GRU(3)(layers.LayerNormalization()(x))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    return ko.quantize(model, images(1, 32, 6, 5)), [images(2, COUNT, 6, 5)]


def loaded(name: str) -> Made:
    """A golden `.tflite` file, and what is recorded with it."""
    content, calls = load(name)
    return ko.load_model(content), calls[0][0]


MAKERS: dict[str, Callable[[], Made]] = {
    "convolutional": partial(quantized, "convolutional"),
    "conv1d_autoencoder": partial(quantized, "conv1d_autoencoder"),
    "nested": partial(quantized, "nested"),
    "two_inputs_two_outputs": partial(quantized, "two_inputs_two_outputs"),
    "partly_float": partial(quantized, "convolutional", ko.recipes.w8a8(keep_float=["depthwise"])),
    "weights_of_4_bits": partial(quantized, "dense", ko.Recipe(scheme=ko.Scheme(weight_bits=4))),
    "integers": integers,
    "recurrent": recurrent,
    **{
        name: partial(loaded, name)
        for name in (
            "conv_2d_hybrid",
            "conv_2d_int16",
            "if_float",
            "read_variable_float_two_signatures",
            "unidirectional_sequence_lstm_int8",
            "while_float_gru",
        )
    },
}


def write(name: str) -> None:
    versions = f"octet_{ko.__version__}_keras_{keras.__version__}"
    path = FOLDER / versions.replace(".", "_") / f"{name}.keras"
    if path.exists():
        print(f"{path} stays")
        return
    model, inputs = MAKERS[name]()
    outputs = predict(model, inputs)
    path.parent.mkdir(exist_ok=True)
    model.save(path)
    arrays = {f"input_{i}": x for i, x in enumerate(inputs)}
    arrays |= {f"output_{i}": y for i, y in enumerate(outputs)}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]


def predict(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    return flat(model.predict_on_batch(inputs if len(inputs) > 1 else inputs[0]))


if __name__ == "__main__":
    for each in sys.argv[1:] or MAKERS:
        write(each)
