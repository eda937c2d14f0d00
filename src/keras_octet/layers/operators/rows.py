"""Tensors as lists of rows, which loops fill one by one."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer


@register
class SetRow(OperatorLayer):
    """A tensor with `row` at position `index` of the first axis; a position outside is nowhere.

    Inputs are the tensor, `index`, `index + 1`, and the row, which lacks the first axis.
    """

    def call(self, inputs: Any) -> Any:
        rows, index, _, row = inputs
        count = ops.shape(rows)[0]
        places = ops.reshape(ops.arange(count, dtype="int32"), (-1, *(1,) * len(row.shape)))
        chosen = ops.equal(places, ops.cast(ops.reshape(index, ()), "int32"))
        return ops.where(chosen, ops.expand_dims(row, 0), rows)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        return self._like(inputs[0])


@register
class SizeOf(OperatorLayer):
    """The size of an axis, int32, where it is known only when the model runs.

    Args:
        axis: of the input.
    """

    config_keys = ("axis",)

    def __init__(self, *, axis: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis)

    def call(self, inputs: Any) -> Any:
        return ops.cast(ops.shape(inputs)[self.axis], "int32")

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        return self._like(inputs, shape=(), dtype="int32")
