"""STRIDED_SLICE with all its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer, part


@register
class StridedSlice(OperatorLayer):
    """`inputs[begin:end:strides]`, as `tf.strided_slice` has it.

    Args:
        begin, end, strides: one of each for an entry of the index.
        begin_mask, end_mask: bit `i` leaves that bound of entry `i` open.
        ellipsis_mask: entry `i` is `...`.
        new_axis_mask: entry `i` adds an axis of size 1.
        shrink_axis_mask: entry `i` is the index `begin[i]`, and its axis goes.
    """

    mask_keys = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    config_keys = ("begin", "end", "strides", *mask_keys)

    def __init__(
        self,
        *,
        begin: Sequence[int],
        end: Sequence[int],
        strides: Sequence[int],
        begin_mask: int = 0,
        end_mask: int = 0,
        ellipsis_mask: int = 0,
        new_axis_mask: int = 0,
        shrink_axis_mask: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.begin, self.end, self.strides = tuple(begin), tuple(end), tuple(strides)
        self.begin_mask, self.end_mask = begin_mask, end_mask
        self.ellipsis_mask, self.new_axis_mask = ellipsis_mask, new_axis_mask
        self.shrink_axis_mask = shrink_axis_mask

    def call(self, inputs: Any) -> Any:
        key = self._key(len(inputs.shape))
        axis = 0
        for position, item in enumerate(key):
            if isinstance(item, slice) and item.step is not None and item.step < 0:
                # Not every backend slices backwards.
                size = inputs.shape[axis]
                if size is None:
                    raise ValueError(f"Axis {axis}, sliced backwards, has no fixed size.")
                places = range(size)[item][::-1]
                start, stop = (places[0], places[-1] + 1) if places else (0, 0)
                forwards = part(inputs, axis, slice(start, stop, -item.step))
                inputs = ops.flip(forwards, axis)
                key[position] = slice(None)
            axis += item is not None
        return inputs[tuple(key)]

    def _key(self, rank: int) -> list[Any]:
        """An int, a slice or None for each axis of the input or of the output."""
        count = len(self.begin)
        adding = [bool(self.new_axis_mask >> i & 1) for i in range(count)]
        dots = [i for i in range(count) if self.ellipsis_mask >> i & 1]
        place = dots[0] if dots else count
        given = sum(not adds for i, adds in enumerate(adding) if i != place)
        key: list[Any] = [self._entry(i) for i in range(count) if i != place]
        key[place:place] = [slice(None)] * (rank - given)
        return key

    def _entry(self, i: int) -> Any:
        if self.new_axis_mask >> i & 1:
            return None
        if self.shrink_axis_mask >> i & 1:
            return self.begin[i]
        begin = None if self.begin_mask >> i & 1 else self.begin[i]
        end = None if self.end_mask >> i & 1 else self.end[i]
        return slice(begin, end, self.strides[i])
