"""Tensors of a shape in which a size is known only when the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer


class _Shaped(OperatorLayer):
    """A layer whose output shape has, instead of some sizes, those of an axis of another tensor.

    Args:
        shape: sizes; None for one that is that of `axis`.
        axis: of the first input.
    """

    config_keys: tuple[str, ...] = ("shape", "axis")

    def __init__(self, *, shape: Sequence[int | None], axis: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape, self.axis = tuple(shape), int(axis)

    def _sizes(self, reference: Any) -> tuple[Any, ...]:
        unknown = ops.shape(reference)[self.axis]
        return tuple(unknown if size is None else size for size in self.shape)


@register
class Fill(_Shaped):
    """One value everywhere; the input gives a size only.

    Args:
        value: a number or bool.
        output_type: dtype.
    """

    config_keys = ("shape", "axis", "value", "output_type")

    def __init__(self, *, value: Any, output_type: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value, self.output_type = value, output_type

    def call(self, inputs: Any) -> Any:
        return ops.full(self._sizes(inputs), self.value, dtype=self.output_type)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self._sizes(inputs), dtype=self.output_type)


@register
class BroadcastTo(_Shaped):
    """The second input repeated to fill the shape; the first gives a size only."""

    def call(self, inputs: Any) -> Any:
        reference, x = inputs
        sizes = self._sizes(reference)
        if None in sizes:
            raise ValueError(f"BroadcastTo needs known sizes. Received: {sizes}.")
        return ops.broadcast_to(x, sizes)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        reference, x = inputs
        return keras.KerasTensor(self._sizes(reference), dtype=x.dtype)
