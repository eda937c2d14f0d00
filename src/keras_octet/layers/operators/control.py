"""Loops and branches: layers that hold the functional models they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer


class _Control(OperatorLayer):
    """A layer with functional models among its arguments, which `model_keys` lists.

    Args:
        variable_positions: which of the inputs are values of variables, which may change.
    """

    is_atomic = True  # for `capture`
    model_keys: tuple[str, ...] = ()
    config_keys = ("variable_positions",)

    def __init__(self, *, variable_positions: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.variable_positions = tuple(variable_positions)

    def build(self, input_shape: Any) -> None:
        """The models are built already."""

    def get_config(self) -> dict[str, Any]:
        save = keras.saving.serialize_keras_object
        return super().get_config() | {key: save(getattr(self, key)) for key in self.model_keys}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        load = keras.saving.deserialize_keras_object
        return cls(**(config | {key: load(config[key]) for key in cls.model_keys}))


@register
class While(_Control):
    """`while condition(*values): values = body(*values)`.

    Shapes and dtypes of the values stay as they are. It runs for as long as the condition holds,
    which may be for ever, as in LiteRT.

    Args:
        condition: functional model of the values; gives one bool.
        body: functional model of the values; gives the next ones.
    """

    model_keys = ("condition", "body")

    def __init__(self, *, condition: keras.Model, body: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.condition, self.body = condition, body

    def call(self, inputs: Any) -> Any:
        def holds(*values: Any) -> Any:
            return ops.reshape(run(self.condition, values)[0], ())

        def step(*values: Any) -> tuple[Any, ...]:
            return tuple(run(self.body, values))

        return list(ops.while_loop(holds, step, tuple(keras.tree.flatten(inputs))))

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        return [self._like(x) for x in keras.tree.flatten(inputs)]


@register
class If(_Control):
    """`then(*values) if condition else otherwise(*values)`.

    Inputs are the condition and the values. Without values both models take the condition.

    Args:
        then, otherwise: functional models of the values, with outputs of the same shapes and
            dtypes; after those of the operator come the new values of the variables.
    """

    model_keys = ("then", "otherwise")

    def __init__(self, *, then: keras.Model, otherwise: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.then, self.otherwise = then, otherwise

    def call(self, inputs: Any) -> Any:
        condition, *values = keras.tree.flatten(inputs)
        values = values or [condition]
        return ops.cond(
            ops.reshape(condition, ()),
            lambda: run(self.then, values),
            lambda: run(self.otherwise, values),
        )

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        _, *values = keras.tree.flatten(inputs)
        known = [tuple(x.shape) for x in self.then.inputs]
        outputs = self.then.outputs
        if values and known != [tuple(x.shape) for x in values]:
            outputs = keras.tree.flatten(self.then.compute_output_spec(values))
        return [self._like(x) for x in outputs]


def run(model: keras.Model, values: Sequence[Any]) -> list[Any]:
    """The outputs of a functional model, in order."""
    arguments = list(values)
    return keras.tree.flatten(model(arguments if len(arguments) > 1 else arguments[0]))
