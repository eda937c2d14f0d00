"""Operations on corresponding elements of float, integer and bool tensors."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.canonical import make_layer
from keras_octet.capture.keras_private import core_operations, numpy_operations
from keras_octet.layers import operators
from keras_octet.tflite.emit.codes import BINARY_OPERATIONS, UNARY_OPERATIONS
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.float_common import is_tensor, values, with_activation

_MERGES = {
    "ADD": keras.layers.Add,
    "SUB": keras.layers.Subtract,
    "MUL": keras.layers.Multiply,
    "MAXIMUM": keras.layers.Maximum,
    "MINIMUM": keras.layers.Minimum,
}


def read_binary(call: ReadCall) -> Any:
    """An operator of two tensors without options that matter."""
    return _binary(call, call.name)


def read_arithmetic(call: ReadCall) -> Any:
    """ADD, SUB, MUL, DIV: they may have a fused activation."""
    return with_activation(call, lambda name: _binary(call, name))


def _binary(call: ReadCall, name: str) -> Any:
    """A merge layer for two float tensors of like shape, else a `keras.ops` operation."""
    first, second = values(call, 0, 1)
    if (
        call.code in _MERGES
        and call.kind == "float"
        and is_tensor(first)
        and is_tensor(second)
        and len(first.shape) == len(second.shape) > 0
        and first.shape[0] == second.shape[0]
    ):
        return make_layer(_MERGES[call.code], name)([first, second])
    return BINARY_OPERATIONS[call.code][0](name=name)(first, second)


def read_power(call: ReadCall) -> Any:
    """POW."""
    return call.apply(numpy_operations.Power, *values(call, 0, 1))


def read_squared_difference(call: ReadCall) -> Any:
    """SQUARED_DIFFERENCE."""
    layer = operators.SquaredDifference(name=call.name)
    return layer([call.tensor(0), call.tensor(1)])


def read_add_n(call: ReadCall) -> Any:
    """ADD_N: written again as a chain of ADD."""
    tensors = [call.tensor(i) for i in range(len(call.inputs))]
    return make_layer(keras.layers.Add, call.name)(tensors) if len(tensors) > 1 else tensors


def read_unary(call: ReadCall) -> Any:
    """An operator of one tensor."""
    return call.apply(UNARY_OPERATIONS[call.code][0], call.tensor(0))


def read_round(call: ReadCall) -> Any:
    """ROUND, half to even."""
    return call.apply(numpy_operations.Round, call.tensor(0))


def read_cast(call: ReadCall) -> Any:
    """CAST."""
    return call.apply(core_operations.Cast, call.tensor(0), dtype=call.outputs[0].dtype)


def read_select(call: ReadCall) -> Any:
    """SELECT and SELECT_V2; the first chooses along the first axis by a condition of rank 1."""
    condition, first, second = values(call, 0, 1, 2)
    rank = max(len(getattr(x, "shape", ())) for x in (first, second))
    if call.code == "SELECT" and len(getattr(condition, "shape", ())) == 1 < rank:
        name = call.unique(f"{call.name}_condition")
        axes = tuple(range(1, rank))
        condition = numpy_operations.ExpandDims(axis=axes, name=name)(condition)
    return call.apply(numpy_operations.Where, condition, first, second)
