"""Operators that compute with constants and shapes only: done in NumPy when the file is read.

Converters write `Reshape((7, 3))` of a tensor of unknown batch as SHAPE, STRIDED_SLICE, PACK,
RESHAPE. Folded, the RESHAPE has a constant shape in which the batch is `Unknown`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_octet.errors import ModelFileError
from keras_octet.tflite.graph import Operator, Tensor
from keras_octet.tflite.storage import dequantized

# Of all constants and states that one file makes, over what it holds.
MAX_ELEMENTS = 2**24


@dataclass(frozen=True, eq=False)
class Unknown:
    """A size known only when the model runs; arithmetic with it gives another unknown size.

    In an array of objects among ints. As an int it is -1, which is how a file writes it.

    Attributes:
        tensor, axis: the size is `tensor.shape[axis]`; None if it is the result of arithmetic.
    """

    tensor: keras.KerasTensor | None = None
    axis: int = 0

    def __int__(self) -> int:
        return -1

    @property
    def is_batch(self) -> bool:
        """Whether it is the size of some tensor's first axis."""
        return self.tensor is not None and self.axis == 0

    def _times(self, other: Any) -> Unknown:
        return self if isinstance(other, (int, np.integer)) and other == 1 else Unknown()

    def _plus(self, other: Any) -> Unknown:
        return self if isinstance(other, (int, np.integer)) and other == 0 else Unknown()

    def _opaque(self, other: Any = None) -> Unknown:
        return Unknown()

    __mul__ = __rmul__ = __floordiv__ = __truediv__ = _times
    __add__ = __radd__ = __sub__ = _plus
    __rsub__ = __rfloordiv__ = __rtruediv__ = __mod__ = __rmod__ = __neg__ = _opaque


def as_ints(values: np.ndarray) -> list[int]:
    """Constant sizes or bounds as ints, -1 for an `Unknown`."""
    return [int(value) for value in np.asarray(values).reshape(-1)]


def has_unknown(values: np.ndarray) -> bool:
    return values.dtype == object


def is_folded(
    operator: Operator, tensors: Sequence[Tensor], is_constant: Callable[[int], bool]
) -> bool:
    """Whether an operator is one that `fold` may compute: its inputs are constants or shapes."""
    if operator.code in ("SHAPE", "RANK"):
        return True
    if operator.code not in FOLDERS or not all(i < 0 or is_constant(i) for i in operator.inputs):
        return False
    # What leaves out its zeros is for DENSIFY, and DENSIFY for nothing else.
    if any(tensors[i].sparse for i in operator.inputs if i >= 0) != (operator.code == "DENSIFY"):
        return False
    # Integers that stand for real numbers may be moved, but not added.
    return operator.code in (*_MOVES, "DEQUANTIZE") or not any(
        tensors[i].quantization for i in (*operator.inputs, *operator.outputs) if i >= 0
    )


class Budget:
    """Bounds what constants and states may take, whatever a file claims."""

    def __init__(self, elements: int) -> None:
        self._left = elements

    def spend(self, elements: int) -> None:
        """Raises ModelFileError when there is no more."""
        self._left -= elements
        if elements < 0 or self._left < 0:
            raise ModelFileError(
                "The file computes constants, or keeps states, of more elements than a file of its "
                "size may: convert the model so that constants are stored, or computed from inputs."
            )


def fold(
    operator: Operator,
    operands: Sequence[Any],
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    budget: Budget,
) -> list[np.ndarray] | None:
    """The outputs as constants, or None if the operator must run with the model.

    Args:
        operator: what to compute.
        operands: arrays, of objects where a size is unknown; None for what is not there. SHAPE
            and RANK also take a KerasTensor.
        inputs, outputs: what the file says of them.
        budget: what is left for this file.

    Raises:
        ModelFileError: the operator does not fit its operands, or the result is too large.
    """
    call = _Fold(operator.code, operator.options, list(operands), inputs, outputs, budget)
    with np.errstate(all="ignore"):
        try:
            made = FOLDERS[operator.code](call)
            if made is None:
                return None
            results = made if isinstance(made, list) else [made]
            return [_typed(value, tensor) for value, tensor in zip(results, outputs, strict=True)]
        except ModelFileError:
            raise
        except Exception as error:
            names = [tensor.name for tensor in outputs]
            raise ModelFileError(
                f"{operator.code} {names} computes a constant that its operands do not allow: "
                f"{error}"
            ) from error


def _typed(value: Any, tensor: Tensor) -> np.ndarray:
    """An array of the declared dtype, or of objects if a size in it is unknown."""
    array = np.asarray(value)
    if array.dtype == object and any(isinstance(item, Unknown) for item in array.reshape(-1)):
        return array
    return array.astype(tensor.dtype)


@dataclass
class _Fold:
    code: str
    options: Any
    operands: list[Any]
    inputs: Sequence[Tensor | None]
    outputs: Sequence[Tensor]
    budget: Budget

    def array(self, index: int) -> np.ndarray:
        return np.asarray(self.operands[index])

    def ints(self, index: int) -> list[int]:
        """Raises ModelFileError when a value is unknown."""
        values = self.array(index)
        if has_unknown(values):
            raise ModelFileError(
                f"{self.code} {self.outputs[0].name!r} depends on a size that is known only when "
                "the model runs. Convert the model with a fixed input shape."
            )
        return as_ints(values)

    def spend(self, *sizes: int) -> None:
        self.budget.spend(math.prod(sizes))


def _shape(call: _Fold) -> np.ndarray:
    operand = call.operands[0]
    sizes = [
        Unknown(operand, axis) if size is None else size for axis, size in enumerate(operand.shape)
    ]
    return np.array(sizes, object if None in tuple(operand.shape) else np.int64)


def _rank(call: _Fold) -> np.ndarray:
    return np.array(len(call.operands[0].shape))


# Element-wise

_UNARY: dict[str, Callable[..., Any]] = {
    "ABS": np.abs,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "LOGICAL_NOT": np.logical_not,
    "NEG": np.negative,
    "SQRT": np.sqrt,
    "SQUARE": np.square,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "FLOOR_DIV": np.floor_divide,
    "FLOOR_MOD": np.mod,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "LOGICAL_AND": np.logical_and,
    "LOGICAL_OR": np.logical_or,
}
# On sizes that are unknown; a comparison has no answer.
_ON_UNKNOWN = frozenset(["ADD", "SUB", "MUL", "DIV", "FLOOR_DIV", "FLOOR_MOD", "NEG", "CAST"])


def _unary(call: _Fold) -> Any:
    values = _numbers(call, 0)
    call.spend(values.size)
    return _UNARY[call.code](values)


def _binary(call: _Fold) -> Any:
    if getattr(call.options, "fusedActivationFunction", 0):
        return None
    first, second = _numbers(call, 0), _numbers(call, 1)
    call.spend(*np.broadcast_shapes(first.shape, second.shape))
    if call.code != "DIV":
        return _BINARY[call.code](first, second)
    if first.dtype.kind == "f":
        return np.divide(first, second)
    quotient = np.floor_divide(first, second)
    if object in (first.dtype, second.dtype):
        return quotient
    # Integers are divided towards zero.
    return quotient + ((quotient < 0) & (quotient * second != first))


def _numbers(call: _Fold, index: int) -> np.ndarray:
    values = call.array(index)
    if call.code not in _ON_UNKNOWN:
        call.ints(index) if has_unknown(values) else None
    return values


def _cast(call: _Fold) -> Any:
    call.spend(call.array(0).size)
    return call.array(0)


def _select(call: _Fold) -> Any:
    condition = _numbers(call, 0)
    first, second = call.array(1), call.array(2)
    call.spend(*np.broadcast_shapes(condition.shape, first.shape, second.shape))
    if condition.ndim == 1 and call.code == "SELECT":
        condition = condition.reshape((-1,) + (1,) * (first.ndim - 1))
    return np.where(condition, first, second)


# Reductions

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "SUM": np.sum,
    "REDUCE_PROD": np.prod,
    "REDUCE_MAX": np.max,
    "REDUCE_MIN": np.min,
    "REDUCE_ANY": np.any,
    "REDUCE_ALL": np.all,
}


def _reduce(call: _Fold) -> Any:
    values = call.array(0)
    if has_unknown(values) and call.code not in ("SUM", "REDUCE_PROD"):
        call.ints(0)
    call.spend(values.size)
    axes = tuple(call.ints(1))
    return _REDUCTIONS[call.code](values, axis=axes, keepdims=bool(call.options.keepDims))


# Moving elements


def _copy(call: _Fold) -> np.ndarray:
    call.spend(call.array(0).size)
    return call.array(0)


def _reshape(call: _Fold) -> Any:
    target = call.ints(1) if len(call.operands) > 1 else as_ints(call.options.newShape)
    return _copy(call).reshape(target)


def _expand_dims(call: _Fold) -> Any:
    return np.expand_dims(_copy(call), call.ints(1)[0])


def _squeeze(call: _Fold) -> Any:
    axes = call.options.squeezeDims if call.options else None
    return np.squeeze(_copy(call), tuple(as_ints(axes)) if axes is not None and len(axes) else None)


def _transpose(call: _Fold) -> Any:
    return np.transpose(_copy(call), call.ints(1))


def _reverse(call: _Fold) -> Any:
    return np.flip(_copy(call), tuple(call.ints(1)))


def _joined(call: _Fold) -> list[np.ndarray]:
    arrays = [np.asarray(value) for value in call.operands]
    call.spend(sum(array.size for array in arrays))
    return arrays


def _concatenation(call: _Fold) -> Any:
    if call.options.fusedActivationFunction:
        return None
    return np.concatenate(_joined(call), axis=call.options.axis)


def _pack(call: _Fold) -> Any:
    return np.stack(_joined(call), axis=call.options.axis)


def _unpack(call: _Fold) -> Any:
    values = np.moveaxis(_copy(call), call.options.axis, 0)
    call.spend(len(values))  # rows may be empty
    return [values[i] for i in range(len(values))]


def _split(call: _Fold) -> Any:
    axis, values = call.ints(0)[0], call.array(1)
    call.spend(max(values.size, call.options.numSplits))  # parts may be empty
    return list(np.split(values, call.options.numSplits, axis))


def _split_v(call: _Fold) -> Any:
    values, axis = _copy(call), call.ints(2)[0]
    sizes = part_sizes(values.shape[axis], call.ints(1), call.code)
    return np.split(values, np.cumsum(sizes)[:-1], axis)


def part_sizes(total: int, sizes: Sequence[int], what: str) -> list[int]:
    """Sizes of the parts of `total` values, of which one may be given as -1, the rest.

    Raises:
        ModelFileError: they do not add up; of `what`.
    """
    found = list(sizes)
    if -1 in found:
        found[found.index(-1)] = total - sum(found) - 1
    if min(found, default=0) < 0 or sum(found) != total:
        raise ModelFileError(f"{what} splits {total} values into {list(sizes)}.")
    return found


def _slice(call: _Fold) -> Any:
    key = tuple(
        slice(begin, None if size == -1 else begin + size)
        for begin, size in zip(call.ints(1), call.ints(2), strict=True)
    )
    return _copy(call)[key]


def _strided_slice(call: _Fold) -> Any:
    key = slice_key(call.options, call.ints(1), call.ints(2), call.ints(3))
    return np.asarray(_copy(call)[key])


def slice_key(
    options: Any, begin: Sequence[int], end: Sequence[int], strides: Sequence[int]
) -> tuple[Any, ...]:
    """The key with which Python takes a STRIDED_SLICE."""
    key: list[Any] = []
    for i in range(len(begin)):
        bit = 1 << i
        if options.ellipsisMask & bit:
            key.append(Ellipsis)
        elif options.newAxisMask & bit:
            key.append(None)
        elif options.shrinkAxisMask & bit:
            key.append(begin[i])
        else:
            start = None if options.beginMask & bit else begin[i]
            stop = None if options.endMask & bit else end[i]
            if stop is not None and options.offset:
                stop += begin[i]
            key.append(slice(start, stop, strides[i]))
    return tuple(key)


def _gather(call: _Fold) -> Any:
    if call.options.batchDims:
        return None
    table, indices, axis = call.array(0), np.array(call.ints(1)), call.options.axis
    indices = indices.reshape(call.array(1).shape)
    call.spend(indices.size, table.size // max(1, table.shape[axis]))
    return np.take(table, indices, axis=axis)


# Constants from sizes


def _fill(call: _Fold) -> Any:
    if has_unknown(call.array(0)):
        return None
    sizes = call.ints(0)
    call.spend(*sizes)
    return np.full(sizes, call.array(1))


def _broadcast_to(call: _Fold) -> Any:
    if has_unknown(call.array(1)):
        return None
    call.spend(*call.ints(1))
    return np.broadcast_to(call.array(0), call.ints(1))


def _broadcast_args(call: _Fold) -> Any:
    first, second = (list(call.array(i).reshape(-1)) for i in (0, 1))
    rank = max(len(first), len(second))
    first, second = ([1] * (rank - len(sizes)) + sizes for sizes in (first, second))
    sizes = [
        b if not isinstance(a, Unknown) and a == 1 else a
        for a, b in zip(first, second, strict=True)
    ]
    return np.array(sizes, object if any(isinstance(x, Unknown) for x in sizes) else np.int64)


def _tile(call: _Fold) -> Any:
    if has_unknown(call.array(1)):
        return None
    call.spend(call.array(0).size, *call.ints(1))
    return np.tile(call.array(0), call.ints(1))


def _range(call: _Fold) -> Any:
    if any(has_unknown(call.array(i)) for i in range(3)):
        call.ints(1)
    start, limit, delta = (call.array(i).reshape(-1)[0] for i in range(3))
    length = (float(limit) - float(start)) / float(delta)
    call.spend(max(0, math.ceil(length)))
    return np.arange(start, limit, delta)


def _zeros_like(call: _Fold) -> Any:
    return np.zeros_like(_copy(call))


def _dequantize(call: _Fold) -> Any:
    """float16 to float32, or integers with their scales."""
    values, tensor = call.array(0), call.inputs[0]
    call.spend(values.size)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if tensor is None or tensor.quantization is None:
        return None
    return dequantized(values, tensor.quantization)


_MOVES: dict[str, Callable[[_Fold], Any]] = {
    "DENSIFY": _copy,  # the reader has made it dense
    "RESHAPE": _reshape,
    "EXPAND_DIMS": _expand_dims,
    "SQUEEZE": _squeeze,
    "TRANSPOSE": _transpose,
    "REVERSE_V2": _reverse,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "BROADCAST_TO": _broadcast_to,
    "FILL": _fill,
    "TILE": _tile,
}
FOLDERS: dict[str, Callable[[_Fold], Any]] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys([*_BINARY, "DIV"], _binary),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **_MOVES,
    "SHAPE": _shape,
    "RANK": _rank,
    "CAST": _cast,
    "SELECT": _select,
    "SELECT_V2": _select,
    "BROADCAST_ARGS": _broadcast_args,
    "RANGE": _range,
    "ZEROS_LIKE": _zeros_like,
    "DEQUANTIZE": _dequantize,
}
