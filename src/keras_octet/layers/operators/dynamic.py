"""Slices that begin where another tensor says; their sizes are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer


@register
class DynamicSlice(OperatorLayer):
    """`size` values along each axis, from `begin` on: inputs are the tensor and `begin`.

    Args:
        size: one int for each axis.
    """

    config_keys = ("size",)

    def __init__(self, *, size: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = tuple(int(length) for length in size)

    def call(self, inputs: Any) -> Any:
        x, begin = inputs
        return ops.slice(x, ops.cast(begin, "int32"), self.size)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        return self._like(inputs[0], shape=self.size)


@register
class DynamicIndex(OperatorLayer):
    """`x[begin[i]]` along some axes, which go; inputs are the tensor, `begin` and `begin + 1`.

    Args:
        shrink_axis_mask: bit `i` for axis `i`.
        begin_mask, end_mask: what the file says of the other axes, which are taken whole.
    """

    config_keys = ("shrink_axis_mask", "begin_mask", "end_mask")

    def __init__(
        self, *, shrink_axis_mask: int, begin_mask: int = 0, end_mask: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.shrink_axis_mask = shrink_axis_mask
        self.begin_mask, self.end_mask = begin_mask, end_mask

    def call(self, inputs: Any) -> Any:
        x, begin, _ = inputs
        for axis in reversed(range(begin.shape[0])):
            if self.shrink_axis_mask >> axis & 1:
                place = ops.cast(begin[axis], "int32")
                place = ops.where(place < 0, place + ops.shape(x)[axis], place)
                x = ops.take(x, place, axis=axis)
        return x
