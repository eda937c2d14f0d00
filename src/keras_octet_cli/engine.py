"""The engine's first words, which no command's output should have."""

from __future__ import annotations

import keras
import numpy as np

import keras_octet as ko
from keras_octet_cli.backend import native_messages_held_back


def let_engine_introduce_itself() -> None:
    """LiteRT says once a process that it made its delegate: here, where nobody hears it."""
    inputs = keras.Input((1,))
    tiny = ko.QuantizedModel(inputs, keras.layers.Dense(1)(inputs))
    with native_messages_held_back():
        tiny.predict_on_batch(np.zeros((1, 1), np.float32))
