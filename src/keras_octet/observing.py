"""The calibration's runner on LiteRT: the float model as a `.tflite` file, every tensor an output.

XNNPACK computes in float32 what the Keras backend computes, adding in another order: the ranges
agree to float tolerance. It takes a fraction of the time and memory, and gives the same statistics
whatever the backend.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import keras
import numpy as np

from keras_octet.calibrate.run import Runner, keras_runner
from keras_octet.cores import num_cores
from keras_octet.errors import EngineError, ExportError


def litert_runner(model: keras.Model, tensors: dict[str, keras.KerasTensor]) -> Runner:
    """A runner on LiteRT; on the Keras backend for a model that LiteRT cannot run.

    The arrays it gives are LiteRT's own memory: the next call needs them released.
    """
    run = _try_litert(model, tensors)
    if run is None:
        return keras_runner(model, tensors)
    return _FirstCallDecides(run, model, tensors)


def _try_litert(model: keras.Model, tensors: dict[str, keras.KerasTensor]) -> Runner | None:
    if not find_spec("ai_edge_litert"):
        return None
    # The whole table of operators, which only writing a file needs.
    from keras_octet.tflite.write import to_tflite

    try:
        content = to_tflite(keras.Model(model.inputs, list(tensors.values())))
        return _LiteRTRunner(content, list(tensors))
    except (ExportError, EngineError):
        return None


class _FirstCallDecides:
    """Runs on LiteRT unless the first call fails."""

    def __init__(
        self, run: Runner, model: keras.Model, tensors: dict[str, keras.KerasTensor]
    ) -> None:
        self._run = run
        self._fallback: Any = lambda: keras_runner(model, tensors)

    def __call__(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        if self._fallback is None:
            return self._run(arrays)
        fallback, self._fallback = self._fallback, None
        try:
            return self._run(arrays)
        except EngineError:
            self._run = fallback()
            return self._run(arrays)


class _LiteRTRunner:
    """From arrays to views of LiteRT's output tensors."""

    def __init__(self, content: bytes, names: list[str]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._names = names
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=num_cores())
        except (RuntimeError, ValueError) as error:
            raise EngineError(str(error)) from error
        self._sources = self._interpreter.get_input_details()
        self._outputs = [
            self._interpreter.tensor(detail["index"])
            for detail in self._interpreter.get_output_details()
        ]
        self._shapes: list[tuple[int, ...]] = []

    def __call__(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        shapes = [array.shape for array in arrays]
        try:
            if shapes != self._shapes:
                for detail, shape in zip(self._sources, shapes, strict=True):
                    self._interpreter.resize_tensor_input(detail["index"], shape)
                self._interpreter.allocate_tensors()
                self._shapes = shapes
            for detail, array in zip(self._sources, arrays, strict=True):
                self._interpreter.set_tensor(
                    detail["index"], np.ascontiguousarray(array, detail["dtype"])
                )
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise EngineError(str(error)) from error
        return {name: view() for name, view in zip(self._names, self._outputs, strict=True)}
