"""SLICE and STRIDED_SLICE that begin where another tensor says."""

from __future__ import annotations

from typing import Any

from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.shapes import as_ints, has_unknown


def begins_anywhere(call: ReadCall) -> bool:
    """Whether where the slice begins is computed when the model runs."""
    return not call.operand(1).is_constant


def read_slice(call: ReadCall) -> Any:
    """SLICE of a constant size."""
    source, size = call.tensor(0), call.constant(2)
    if size.shape != (len(source.shape),) or has_unknown(size) or min(as_ints(size)) < 0:
        raise ModelFileError(
            f"SLICE {call.name!r} has a size that is known only when the model runs: "
            f"{size.tolist()}."
        )
    layer = operators.DynamicSlice(size=as_ints(size), name=call.name)
    return layer([source, call.tensor(1)])


def read_strided_slice(call: ReadCall) -> Any:
    """STRIDED_SLICE of one index of some axes, and all of the others."""
    source, begin, options = call.tensor(0), call.tensor(1), call.options
    count = begin.shape[0] if len(begin.shape) == 1 else None
    whole = options.beginMask & options.endMask
    taken = options.shrinkAxisMask
    if (
        count is None
        or count > len(source.shape)
        or options.ellipsisMask
        or options.newAxisMask
        or any(stride != 1 for stride in as_ints(call.constant(3)))
        or any(not (whole | taken) >> axis & 1 for axis in range(count))
    ):
        raise ModelFileError(
            f"STRIDED_SLICE {call.name!r} has a size that is known only when the model runs."
        )
    layer = operators.DynamicIndex(
        shrink_axis_mask=taken,
        begin_mask=options.beginMask,
        end_mask=options.endMask,
        name=call.name,
    )
    return layer([source, begin, call.tensor(2)])
