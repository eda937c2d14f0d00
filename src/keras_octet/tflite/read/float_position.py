"""Operators that look values up, or say where they are."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_octet.capture.canonical import make_weighted_layer
from keras_octet.capture.keras_private import (
    core_operations,
    numpy_operations,
)
from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.read.call import Operand, ReadCall
from keras_octet.tflite.read.float_common import positive_axis, values
from keras_octet.tflite.read.shapes import as_ints

_EXTREMA = {"ARG_MAX": numpy_operations.Argmax, "ARG_MIN": numpy_operations.Argmin}


def read_gather(call: ReadCall) -> Any:
    """GATHER: an Embedding layer for rows of a constant table."""
    table, options = call.operand(0), call.options
    axis = positive_axis(options.axis, len(_shape(table)), call)
    _require_whole_bytes(call, table, axis)
    if options.batchDims:
        batch_dims = positive_axis(options.batchDims, len(_shape(call.operand(1))) + 1, call)
        layer = operators.Gather(axis=axis, batch_dims=batch_dims, name=call.name)
        return layer([call.tensor(0), call.tensor(1)])
    if _is_embedding(table) and axis == 0 and not call.operand(1).is_constant:
        return _embedding(call, call.constant(0), call.tensor(1))
    return call.apply(numpy_operations.Take, *values(call, 0, 1), axis=axis)


def read_embedding_lookup(call: ReadCall) -> Any:
    """EMBEDDING_LOOKUP: indices first."""
    require_same_type(call, 1)
    _require_whole_bytes(call, call.operand(1), 0)
    if _is_embedding(call.operand(1)):
        return _embedding(call, call.constant(1), call.tensor(0))
    return call.apply(numpy_operations.Take, *values(call, 1, 0), axis=0)


def require_same_type(call: ReadCall, table: int) -> None:
    """Raises ModelFileError if output and table differ in type: LiteRT copies bytes."""
    given, made = call.operand(table).tensor.dtype, call.outputs[0].dtype
    if given != made:
        raise ModelFileError(
            f"{call.code} {call.name!r} has a table of type {given} and an output of type {made}; "
            "expected the same, or a table of int8 or int4 with scales and an output of float32."
        )


def _require_whole_bytes(call: ReadCall, table: Operand, axis: int) -> None:
    """Raises ModelFileError if rows of int4 begin inside a byte, where LiteRT does not look."""
    size = math.prod(x or 1 for x in _shape(table)[axis + 1 :])
    if table.tensor.dtype == "int4" and size % 2:
        raise ModelFileError(
            f"{call.code} {call.name!r} has a table of type int4 with rows of {size} values; "
            "LiteRT takes only rows of an even number from it."
        )


def _shape(operand: Operand) -> tuple[Any, ...]:
    source = operand.constant if operand.value is None else operand.value
    assert source is not None
    return tuple(source.shape)


def _is_embedding(table: Operand) -> bool:
    array = table.constant
    return array is not None and array.ndim == 2 and array.dtype == np.float32


def _embedding(call: ReadCall, table: np.ndarray, indices: Any) -> Any:
    layer = make_weighted_layer(
        keras.layers.Embedding,
        call.name,
        indices.shape,
        {"embeddings": table},
        input_dim=table.shape[0],
        output_dim=table.shape[1],
    )
    return layer(indices)


def read_gather_nd(call: ReadCall) -> Any:
    """GATHER_ND."""
    return operators.GatherND(name=call.name)([call.tensor(0), call.tensor(1)])


def read_scatter_nd(call: ReadCall) -> Any:
    """SCATTER_ND into zeros of a constant shape."""
    shape = tuple(as_ints(call.constant(2)))
    return call.apply(core_operations.Scatter, *values(call, 0, 1), shape=shape)


def read_one_hot(call: ReadCall) -> Any:
    """ONE_HOT."""
    source = call.tensor(0)
    on, off = (call.constant(i).reshape(-1)[0].item() for i in (2, 3))
    layer = operators.OneHot(
        depth=as_ints(call.constant(1))[0],
        axis=positive_axis(call.options.axis, len(source.shape) + 1, call),
        on=on,
        off=off,
        output_type=call.outputs[0].dtype,
        name=call.name,
    )
    return layer(source)


def read_arg_extremum(call: ReadCall) -> Any:
    """ARG_MAX, ARG_MIN; `keras.ops` gives int32."""
    source = call.tensor(0)
    axis = positive_axis(as_ints(call.constant(1))[0], len(source.shape), call)
    if call.outputs[0].dtype == "int32":
        return call.apply(_EXTREMA[call.code], source, axis=axis)
    layer = operators.ArgExtremum(axis=axis, smallest=call.code == "ARG_MIN", name=call.name)
    return layer(source)


def read_top_k(call: ReadCall) -> Any:
    """TOPK_V2: values and positions along the last axis."""
    return operators.TopK(k=as_ints(call.constant(1))[0], name=call.name)(call.tensor(0))


def read_cumsum(call: ReadCall) -> Any:
    """CUMSUM."""
    source, options = call.tensor(0), call.options
    axis = positive_axis(as_ints(call.constant(1))[0], len(source.shape), call)
    if options.exclusive or options.reverse:
        layer = operators.CumulativeSum(
            axis=axis,
            exclusive=bool(options.exclusive),
            reverse=bool(options.reverse),
            name=call.name,
        )
        return layer(source)
    return call.apply(numpy_operations.Cumsum, source, axis=axis)


def read_bucketize(call: ReadCall) -> Any:
    """BUCKETIZE: the number of boundaries that are not above each value."""
    boundaries = np.asarray(call.options.boundaries, np.float32).reshape(-1)
    return call.apply(numpy_operations.Digitize, call.tensor(0), boundaries)


def read_reverse_sequence(call: ReadCall) -> Any:
    """REVERSE_SEQUENCE."""
    options = call.options
    layer = operators.ReverseSequence(
        axis=options.seqDim, batch_axis=options.batchDim, name=call.name
    )
    return layer([call.tensor(0), call.tensor(1)])


def read_matrix_diag(call: ReadCall) -> Any:
    """MATRIX_DIAG."""
    return operators.MatrixDiag(name=call.name)(call.tensor(0))


def read_matrix_set_diag(call: ReadCall) -> Any:
    """MATRIX_SET_DIAG."""
    return operators.MatrixSetDiag(name=call.name)([call.tensor(0), call.tensor(1)])
