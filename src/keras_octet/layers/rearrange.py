"""Operators that move values, in any direction, the batch included; one layer for each.

Values are not changed, so the layers take any dtype, and a quantized output has the parameters of
the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_octet.layers.base import QuantizedLayer, register


class QuantizedMovement(QuantizedLayer):
    """Subclasses say with `keras.ops`, in `_move`, where each value goes."""

    def _move(self, inputs: Any) -> Any:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        return self._move(inputs)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        # Fresh tensors, so that the operations of `_move` are not recorded on those of the model.
        def fresh(tensor: Any) -> keras.KerasTensor:
            return keras.KerasTensor(tensor.shape, dtype=tensor.dtype)

        return keras.tree.map_structure(fresh, self._move(keras.tree.map_structure(fresh, inputs)))


@register
class QuantizedTranspose(QuantizedMovement):
    """Axes in another order, as `keras.ops.transpose`."""

    config_keys = ("axes",)

    def __init__(self, *, axes: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = tuple(axes)

    def _move(self, inputs: Any) -> Any:
        return ops.transpose(inputs, self.axes)


@register
class QuantizedStridedSlice(QuantizedMovement):
    """`inputs[begin:end:strides]` along each axis; None is an open bound.

    Args:
        begin, end: as in Python's `slice`, one for each axis.
        strides: not 0.
        shrink: axes of which only the first value of the slice is taken, and which then go.
    """

    config_keys = ("begin", "end", "strides", "shrink")

    def __init__(
        self,
        *,
        begin: Sequence[int | None],
        end: Sequence[int | None],
        strides: Sequence[int],
        shrink: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.begin, self.end, self.strides = tuple(begin), tuple(end), tuple(strides)
        self.shrink = tuple(shrink)

    def _move(self, inputs: Any) -> Any:
        key: list[Any] = [slice(None)] * len(self.begin)
        for axis, bounds in enumerate(zip(self.begin, self.end, self.strides, strict=True)):
            if axis in self.shrink:
                key[axis] = self.begin[axis]
            elif bounds[2] > 0:
                key[axis] = slice(*bounds)
            else:
                # Not every backend slices backwards.
                inputs = ops.take(inputs, np.arange(inputs.shape[axis])[slice(*bounds)], axis=axis)
        return inputs[tuple(key)]


@register
class QuantizedPad(QuantizedMovement):
    """`(before, after)` values added along each axis; all have the integer `value`."""

    config_keys = ("paddings", "value")

    def __init__(self, *, paddings: Sequence[Sequence[int]], value: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paddings = tuple((int(before), int(after)) for before, after in paddings)
        self.value = value

    def _move(self, inputs: Any) -> Any:
        # Padded as int32: not every backend pads int8.
        padded = ops.pad(ops.cast(inputs, "int32"), self.paddings, constant_values=self.value)
        return ops.cast(padded, inputs.dtype)
