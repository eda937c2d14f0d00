"""LiteRT with its default delegate (XNNPACK): the reference for every bit."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_octet.errors import EngineError

# Input shapes for which a compiled interpreter is kept.
MAX_SHAPES = 8


class LiteRTProgram:
    """A `.tflite` model; one interpreter for each input shape, compiled when first met."""

    def __init__(self, model: bytes, num_threads: int | None = None) -> None:
        self._model = model
        self._num_threads = num_threads or max(1, min(4, os.cpu_count() or 1))
        self._interpreters: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self._lock:
            interpreter, sources, targets = self._prepared(tuple(x.shape for x in inputs))
            for index, array in zip(sources, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in targets]

    def _prepared(self, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, list[int], list[int]]:
        if shapes in self._interpreters:
            self._interpreters.move_to_end(shapes)
            return self._interpreters[shapes]
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=self._model, num_threads=self._num_threads)
            # Tensors are in the order of the model's inputs and outputs.
            sources = [detail["index"] for detail in interpreter.get_input_details()]
            targets = [detail["index"] for detail in interpreter.get_output_details()]
            for index, shape in zip(sources, shapes, strict=True):
                interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise EngineError(
                f"LiteRT cannot run this model on inputs of shapes {list(shapes)}: {error}"
            ) from error
        self._interpreters[shapes] = interpreter, sources, targets
        if len(self._interpreters) > MAX_SHAPES:
            self._interpreters.popitem(last=False)
        return self._interpreters[shapes]
