"""The portable path: the model's own Keras layers on the user's backend."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import keras
import numpy as np

from keras_octet.engines.base import Engine, EngineOptions, Program, Source, in_batches


class KerasProgram:
    """A plain Keras model of the same layers, compiled as Keras compiles `predict`.

    A model whose engine is `"keras"` does not need this: its own methods are Keras's.
    """

    def __init__(self, source: Source) -> None:
        self._model = keras.Model(source.inputs, source.outputs)
        self._lock = threading.Lock()  # On JAX Keras gives the variables' buffers away and back.

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self._lock:
            return keras.tree.flatten(self._model.predict_on_batch(list(inputs)))

    def predict(self, inputs: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        return in_batches(self, inputs, batch_size)


def _compile(source: Source, options: EngineOptions) -> Program:
    return KerasProgram(source)


KERAS = Engine(name="keras", package=None, exact=True, compile=_compile, stateful=True)
