"""Prediction on the Keras layers, compiled by PyTorch: one graph for the whole model.

Keras has PyTorch's compiler follow `Layer.__call__`. It does so in pieces, for it cannot follow
what NumPy works out from the parameters of a quantized layer. Here PyTorch exports the model first,
which runs that arithmetic and keeps what it gives.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras


class TorchGraphs:
    """Takes the place of the `predict_function` that Keras makes; compiles for each input shape.

    Args:
        model: a `QuantizedModel` without state.
        otherwise: Keras's function, for a model that PyTorch cannot export.
    """

    def __init__(self, model: Any, otherwise: Callable[[Any], Any]) -> None:
        self._model = model
        self._otherwise = otherwise
        self._graphs: dict[Any, Callable[..., Any] | None] = {}
        self._lock = threading.Lock()  # While PyTorch exports, the layers have no real weights.

    def __call__(self, data: Sequence[Any]) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data[0])
        with sys.modules["torch"].no_grad():
            inputs = self._model._standardize_inputs(x)
            shapes = tuple(tuple(tensor.shape) for tensor in inputs)
            with self._lock:
                if shapes not in self._graphs:
                    self._model._check_shapes(inputs)
                    self._graphs[shapes] = self._compile(inputs)
                graph = self._graphs[shapes]
            return self._otherwise(data) if graph is None else graph(*inputs)

    def _compile(self, inputs: Sequence[Any]) -> Callable[..., Any] | None:
        torch = sys.modules["torch"]
        module = torch.nn.Module()
        module.model = self._model  # where PyTorch finds the weights, which it shares
        structure = self._model._inputs_struct
        module.forward = lambda *tensors: self._model.call(
            keras.tree.pack_sequence_as(structure, tensors)
        )
        try:
            exported = torch.export.export(module, tuple(inputs), strict=False)
        except Exception as error:  # Whatever a float layer does that cannot be exported.
            warnings.warn(
                f"PyTorch cannot export model {self._model.name!r}, so that it is compiled in "
                f"pieces: {error}",
                stacklevel=2,
            )
            return None
        compiled: Callable[..., Any] = torch.compile(exported.module())
        return compiled
