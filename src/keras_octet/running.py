"""A functional model on an engine: from what `predict` is called with to arrays, and back."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np

from keras_octet.dispatch import InputMatcher
from keras_octet.engines import Engine, EngineOptions, Source, is_separable, multiply_adds
from keras_octet.layers import QuantizedLayer, stateful_layers


class Runner:
    """A model compiled for an engine. Its weights are those the model had when this was made.

    Args:
        model: an `ExportableModel`.
        engine: what compiles it.
        options: how the engine runs it.
        choices: see `Source`.

    Raises:
        ExportError: the model has a part that the engine's form of it cannot express.
    """

    def __init__(
        self, model: Any, engine: Engine, options: EngineOptions, choices: dict[str, str]
    ) -> None:
        source = Source(
            inputs=list(model.inputs),
            outputs=list(model.outputs),
            write=partial(model._write, variables_outside=True),
            states=[variable for layer in stateful_layers(model) for variable in layer.states],
            separable=is_separable(model),
            multiply_adds=multiply_adds(model),
            choices=choices,
        )
        self._program = engine.compile(source, options)
        self._match = InputMatcher(model)
        self._outputs_struct = model._outputs_struct
        # Most models have one output, without a structure around it.
        self._single = not keras.tree.is_nested(self._outputs_struct)
        self.float_variables = [
            variable
            for layer in model.layers
            if not isinstance(layer, QuantizedLayer)
            for variable in layer.variables
        ]

    def __call__(self, arrays: Any) -> Any:
        """Outputs for one batch, as arrays; None where the Keras layers must run."""
        inputs = self._match(arrays)
        return None if inputs is None else self._pack(self._program(inputs))

    def predict(self, arrays: Any, batch_size: int) -> Any:
        """Outputs for many samples, as arrays; None where the Keras layers must run."""
        inputs = self._match(arrays)
        if inputs is None or len({len(array) for array in inputs}) > 1:
            return None
        return self._pack(self._program.predict(inputs, batch_size))

    def _pack(self, outputs: list[np.ndarray]) -> Any:
        if self._single:
            return outputs[0]
        return keras.tree.pack_sequence_as(self._outputs_struct, outputs)
