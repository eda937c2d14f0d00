"""Operators that take parts of a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer, check_sizes, part


@register
class Split(OperatorLayer):
    """Parts of these sizes along an axis."""

    config_keys = ("sizes", "axis")

    def __init__(self, *, sizes: Sequence[int], axis: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes, self.axis = tuple(sizes), int(axis)

    def call(self, inputs: Any) -> Any:
        return list(ops.split(inputs, np.cumsum(self.sizes)[:-1].tolist(), axis=self.axis))


@register
class Gather(OperatorLayer):
    """Rows of a table, `take` along `axis`, separately for each index of the first `batch_dims`.

    Inputs are the table and the indices.
    """

    config_keys = ("axis", "batch_dims")

    def __init__(self, *, axis: int, batch_dims: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.batch_dims = int(axis), int(batch_dims)

    def call(self, inputs: Any) -> Any:
        table, indices = inputs
        rank, outer = len(table.shape), self.batch_dims
        inner = self.axis % rank
        if not outer:
            return ops.take(table, indices, axis=inner)
        # Bring the axis behind those of the batch, take, and bring what was taken back.
        order = [*range(outer), inner, *(i for i in range(outer, rank) if i != inner)]
        values = ops.transpose(table, order)
        batch, wanted = _sizes(indices.shape[:outer]), indices.shape[outer:]
        places = (*batch, math.prod(wanted), *(1,) * (rank - outer - 1))
        taken = ops.take_along_axis(values, ops.reshape(indices, places), axis=outer)
        rest = values.shape[outer + 1 :]
        taken = ops.reshape(taken, (*batch, *wanted, *rest))
        start, end = outer + len(wanted), inner + len(wanted)
        total = len(taken.shape)
        moved = [*range(start, end), *range(outer, start), *range(end, total)]
        return ops.transpose(taken, [*range(outer), *moved])


def _sizes(shape: Sequence[int | None]) -> list[int]:
    return [-1 if size is None else size for size in shape]


@register
class GatherND(OperatorLayer):
    """`table[indices[..., 0], indices[..., 1], ...]`; inputs are the table and the indices."""

    def call(self, inputs: Any) -> Any:
        table, indices = inputs
        depth = indices.shape[-1]
        sizes = table.shape[:depth]
        strides = [int(np.prod(sizes[i + 1 :])) for i in range(depth)]
        flat = ops.sum(
            ops.multiply(ops.cast(indices, "int32"), np.array(strides, "int32")), axis=-1
        )
        rows = ops.reshape(table, (-1, *_sizes(table.shape[depth:])))
        return ops.take(rows, ops.cast(flat, "int32"), axis=0)


@register
class ReverseSequence(OperatorLayer):
    """The first `length` values along an axis in reverse order, for each index of the batch axis.

    Inputs are the tensor and the lengths.
    """

    config_keys = ("axis", "batch_axis")

    def __init__(self, *, axis: int, batch_axis: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.batch_axis = int(axis), int(batch_axis)

    def call(self, inputs: Any) -> Any:
        x, lengths = inputs
        rank = len(x.shape)
        place = np.arange(x.shape[self.axis], dtype="int32")[None]
        length = ops.expand_dims(ops.cast(lengths, "int32"), 1)
        source = ops.where(ops.less(place, length), ops.subtract(length, place + 1), place)
        if self.axis < self.batch_axis:
            source = ops.transpose(source)
        others = tuple(i for i in range(rank) if i not in (self.axis, self.batch_axis))
        return ops.take_along_axis(x, ops.expand_dims(source, others), axis=self.axis)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        x, lengths = inputs
        axes, rank = {self.axis, self.batch_axis}, len(x.shape)
        if len(axes) != 2 or not axes <= set(range(rank)) or len(lengths.shape) != 1:
            raise ValueError(
                f"Values along axis {self.axis} for each index of axis {self.batch_axis} are to be "
                f"reversed. Received: tensor {tuple(x.shape)}, lengths {tuple(lengths.shape)}"
            )
        sizes = {lengths.shape[0], x.shape[self.batch_axis]} - {None}
        if len(sizes) > 1:
            raise ValueError(f"A length for each of the batch is needed. Received: {sizes}")
        check_sizes(x.shape[self.axis])
        return self._like(x)


@register
class MirrorPad(OperatorLayer):
    """Values of the tensor itself, mirrored at its borders.

    Args:
        paddings: `(before, after)` for each axis.
        mode: `"reflect"` mirrors at the last value, `"symmetric"` repeats it.
    """

    config_keys = ("paddings", "mode")

    def __init__(
        self,
        *,
        paddings: Sequence[Sequence[int]],
        mode: Literal["reflect", "symmetric"],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.paddings = tuple((int(before), int(after)) for before, after in paddings)
        self.mode: Literal["reflect", "symmetric"] = mode

    def call(self, inputs: Any) -> Any:
        # Keras on PyTorch repeats the border for "symmetric", and pads some axes only.
        border = int(self.mode == "reflect")
        for axis, (before, after) in enumerate(self.paddings):
            if before or after:
                size = inputs.shape[axis]
                if size is None:
                    raise ValueError(f"Axis {axis}, which is to be mirrored, has no fixed size.")
                if max(before, after) > size - border:
                    raise ValueError(
                        f"Axis {axis} of {size} values is to be mirrored by {(before, after)}; "
                        f"mode {self.mode!r} allows at most {size - border}."
                    )
                start, end = (
                    ops.flip(part(inputs, axis, slice(first, first + length)), axis)
                    for first, length in ((border, before), (size - border - after, after))
                )
                inputs = ops.concatenate([start, inputs, end], axis)
        return inputs


@register
class OneHot(OperatorLayer):
    """`on` at the index and `off` elsewhere along a new axis; an index outside is nowhere.

    Args:
        depth: size of the new axis.
        axis: where it is in the output.
        on, off: numbers or bools.
        output_type: dtype.
    """

    config_keys = ("depth", "axis", "on", "off", "output_type")

    def __init__(
        self,
        *,
        depth: int,
        axis: int = -1,
        on: float = 1,
        off: float = 0,
        output_type: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.depth, self.axis = int(depth), int(axis)
        self.on, self.off, self.output_type = on, off, output_type

    def call(self, inputs: Any) -> Any:
        rank = len(inputs.shape)
        axis = self.axis % (rank + 1)
        places = np.arange(self.depth, dtype="int32").reshape((-1,) + (1,) * (rank - axis))
        chosen = ops.equal(ops.expand_dims(inputs, axis), places)
        return ops.cast(ops.where(chosen, self.on, self.off), self.output_type)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        check_sizes(self.depth)
        axis = self.axis % (len(inputs.shape) + 1)
        shape = (*inputs.shape[:axis], self.depth, *inputs.shape[axis:])
        return self._like(inputs, shape=shape, dtype=self.output_type)
