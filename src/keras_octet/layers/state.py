"""Layers that remember something from one call to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


class StatefulLayer(keras.layers.Layer):
    """Mixin for a layer whose calls change its state, as Keras's recurrent layers with `stateful`.

    The state is what LiteRT keeps in the variable tensors or resources of an interpreter: it has
    its initial value in a new or loaded layer, changes with each call, and is put back by
    `reset_state`. A subclass makes its variables in `build` with `add_state`, and in `call` reads
    them with `keras.ops.convert_to_tensor` and sets them with `variable.assign`.

    Attributes:
        states: the variables, in the order they were added.
    """

    stateful = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.states: list[keras.Variable] = []
        self._initial_values: list[Any] = []

    def add_state(
        self, name: str, shape: Sequence[int], dtype: str, initial: float | keras.Variable = 0
    ) -> keras.Variable:
        """A variable that is not trainable and outlives a call.

        Args:
            name: of the variable.
            shape, dtype: of the variable.
            initial: its initial value: a number, or a weight of the layer that holds it.
        """
        variable = self.add_weight(
            name=name,
            shape=tuple(shape),
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        self.states.append(variable)
        self._initial_values.append(initial)
        variable.assign(_filled(variable, initial))
        return variable

    def reset_state(self) -> None:
        """Put every variable of the state back to its initial value."""
        for variable, initial in zip(self.states, self._initial_values, strict=True):
            variable.assign(_filled(variable, initial))

    def load_own_variables(self, store: Any) -> None:
        """As Keras does; a loaded layer starts from its initial state."""
        super().load_own_variables(store)
        self.reset_state()


def stateful_layers(model: Any) -> Iterator[Any]:
    """The layers of a model, and of models in it, that keep state; Keras's own included."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from stateful_layers(layer)
        elif getattr(layer, "stateful", False):
            yield layer


def _filled(variable: keras.Variable, initial: Any) -> Any:
    if isinstance(initial, keras.Variable):
        return ops.copy(initial)  # JAX gives a buffer away once only
    return np.full(variable.shape, initial, str(variable.dtype))
