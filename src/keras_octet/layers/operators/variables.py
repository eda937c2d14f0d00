"""Resource variables: tensors that outlive a call.

A functional graph has no order of side effects, so what a variable holds at some point of the graph
is a tensor there: `Variable` gives the first, `AssignVariable` the next ones, loops and branches
take it and give it back, and `Variable`, called again, keeps the last for the next call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer
from keras_octet.layers.state import StatefulLayer


@register
class Variable(StatefulLayer, OperatorLayer):
    """A variable with an initial value.

    Called on any tensor it gives what it holds. Called on a tensor and an `update`, it holds that
    from then on, and gives the tensor back.

    Args:
        shape, value_dtype: of the variable.
        shared_name, container: what the file calls it.
    """

    capture_refusal = (
        "keeps a variable from call to call, so the model can be run, saved and exported, but not "
        "captured: quantized, or exported as part of another model."
    )
    config_keys = ("shape", "value_dtype", "shared_name", "container")

    def __init__(
        self,
        *,
        shape: Sequence[int],
        value_dtype: str,
        shared_name: str,
        container: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shape, self.value_dtype = tuple(shape), value_dtype
        self.shared_name, self.container = shared_name, container

    def build(self, input_shape: Any) -> None:
        self.initial = self.add_weight(
            name="initial",
            shape=self.shape,
            dtype=self.value_dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        self.value = self.add_state("value", self.shape, self.value_dtype, self.initial)

    def set_initial(self, value: np.ndarray) -> None:
        """Set the initial value, and start from it."""
        self.initial.assign(value)
        self.reset_state()

    def share(self, other: Variable) -> None:
        """Hold what `other` holds from now on, a layer of another signature of the same file."""
        for variable in (self.initial, self.value):
            self._untrack_variable(variable)
        self._tracker.unlock()
        for variable in (other.initial, other.value):
            self._track_variable(variable)
        self.initial, self.value = other.initial, other.value
        self._tracker.lock()
        self.states, self._initial_values = [self.value], [self.initial]

    def call(self, inputs: Any, update: Any = None) -> Any:
        if update is None:
            # PyTorch assigns in place.
            return ops.copy(self.value)
        self.value.assign(update)
        return inputs

    def compute_output_spec(self, inputs: Any, update: Any = None) -> keras.KerasTensor:
        if update is None:
            return keras.KerasTensor(self.shape, dtype=self.value_dtype)
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


def share_variables(models: Sequence[keras.Model]) -> None:
    """Let variables of the same name be one, in whichever of the models they are.

    Raises:
        ValueError: two differ in shape, type or initial value; nothing is shared then.
    """
    known: dict[tuple[str, str], Variable] = {}
    pairs = []
    for layer in (layer for model in models for layer in model.layers):
        if isinstance(layer, Variable):
            first = known.setdefault((layer.container, layer.shared_name), layer)
            if first.value is not layer.value:
                _require_alike(first, layer)
                pairs.append((layer, first))
    for layer, first in pairs:
        layer.share(first)


def _require_alike(one: Variable, other: Variable) -> None:
    mine, theirs = (ops.convert_to_numpy(x.initial) for x in (one, other))
    if (one.shape, one.value_dtype) != (other.shape, other.value_dtype):
        difference = f"{one.value_dtype} {one.shape} and {other.value_dtype} {other.shape}"
    elif not np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"):
        difference = "different initial values"
    else:
        return
    raise ValueError(
        f"Signatures have variables of the same name, {one.shared_name!r}, of {difference}."
    )


@register
class ReadVariable(OperatorLayer):
    """What a variable holds."""

    def call(self, inputs: Any) -> Any:
        return inputs


@register
class AssignVariable(OperatorLayer):
    """What a variable holds once it is assigned: inputs are what it holds, and the new value."""

    variable_positions = (0,)

    def call(self, inputs: Any) -> Any:
        return inputs[1]
