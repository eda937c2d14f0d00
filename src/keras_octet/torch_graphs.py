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

# As many as PyTorch compiles of one function by default.
MOST_GRAPHS = 8
# PyTorch exports one model at a time: it keeps in the process what it is doing.
_exporting = threading.Lock()


class TorchGraphs:
    """Takes the place of the `predict_function` that Keras makes; compiles for each input shape.

    The graphs share the model's weights. PyTorch's hooks on layers do not run.

    Args:
        model: a functional model without state.
        otherwise: Keras's function, for shapes beyond `MOST_GRAPHS`, inputs that are None, and
            models that PyTorch cannot export.
    """

    def __init__(self, model: Any, otherwise: Callable[[Any], Any]) -> None:
        self._model = model
        self._otherwise = otherwise
        self._graphs: dict[Any, Callable[..., Any] | None] = {}

    def __call__(self, data: Sequence[Any]) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data[0])
        with sys.modules["torch"].no_grad():
            inputs = self._model._standardize_inputs(x)
            graph = None if any(tensor is None for tensor in inputs) else self._graph(inputs)
            return self._otherwise(data) if graph is None else graph(*inputs)

    def _graph(self, inputs: Sequence[Any]) -> Callable[..., Any] | None:
        key = tuple((tensor.shape, tensor.device) for tensor in inputs)
        if key in self._graphs:
            return self._graphs[key]
        # Keras's error for a wrong shape; inside the export it would count as a failure of that.
        self._model._assert_input_compatibility(inputs)
        with _exporting:
            if key not in self._graphs and len(self._graphs) < MOST_GRAPHS:
                self._graphs[key] = self._compile(inputs)
            return self._graphs.get(key)

    def _compile(self, inputs: Sequence[Any]) -> Callable[..., Any] | None:
        torch = sys.modules["torch"]
        structure = self._model._inputs_struct
        module = torch.nn.Module()
        module.model = self._model  # where PyTorch finds the weights
        module.forward = lambda *tensors: self._model.call(
            keras.tree.pack_sequence_as(structure, tensors), training=False
        )
        try:
            exported = torch.export.export(module, tuple(inputs), strict=False)
        except Exception as error:  # Whatever a float layer does that cannot be exported.
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(
                f"PyTorch {torch.__version__} cannot export model {self._model.name!r}, so that it "
                f"is compiled in pieces: {reason}",
                stacklevel=6,
            )
            return None
        compiled: Callable[..., Any] = torch.compile(exported.module())
        return compiled
