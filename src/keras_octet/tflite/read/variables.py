"""CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE: see `layers.operators.variables`.

The builder walks the operators in the order of the file and keeps, for each variable, the tensor
that is its value at that point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.graph import RESOURCE, Operator
from keras_octet.tflite.read.call import Handle, Operand, ReadCall
from keras_octet.tflite.read.parse import Subgraph

_TAKE_HANDLES = frozenset(["READ_VARIABLE", "ASSIGN_VARIABLE", "WHILE", "IF"])


def handle_of(options: Any) -> Handle:
    """The variable that a VAR_HANDLE names."""
    if not isinstance(options, schema.VarHandleOptionsT):
        raise ModelFileError("A VAR_HANDLE has no options, or those of another operator.")
    names = (x or b"" for x in (options.container, options.sharedName))
    return Handle(*(x.decode("utf-8", errors="replace") for x in names))


def require_values(operator: Operator, operands: Sequence[Operand | None]) -> None:
    """Raises ModelFileError when an operator would compute with a variable, not with its value."""
    if operator.code in _TAKE_HANDLES:
        return
    for operand in operands:
        if operand is not None and operand.handle is not None:
            raise ModelFileError(
                f"{operator.code} reads {operand.tensor.name!r}, which is a variable. Expected its "
                "value, from READ_VARIABLE."
            )


def initializers(graph: Subgraph) -> Iterator[int]:
    """The subgraphs that give variables their initial values.

    Raises:
        ModelFileError: a CALL_ONCE comes after the use of a variable.
    """
    used = False
    for operator in graph.operators:
        if operator.code == "CALL_ONCE":
            if used or not isinstance(operator.options, schema.CallOnceOptionsT):
                raise ModelFileError(
                    "A CALL_ONCE comes after the use of a variable, or has no options of its own."
                )
            yield operator.options.initSubgraphIndex
        used = used or any(i >= 0 and graph.tensors[i].dtype == RESOURCE for i in operator.inputs)


def stored(
    first: Mapping[Handle, keras.KerasTensor],
    last: Mapping[Handle, keras.KerasTensor],
    output: keras.KerasTensor,
) -> keras.KerasTensor:
    """`output`, computed together with what stores the last values of the variables.

    Args:
        first: what the variables hold before the call.
        last: what they hold after it.
        output: some output of the model.
    """
    for handle in _assigned(first, last):
        output = first[handle]._keras_history.operation(output, update=last[handle])
    return output


def require_unassigned(
    graph: Subgraph,
    first: Mapping[Handle, keras.KerasTensor],
    last: Mapping[Handle, keras.KerasTensor],
) -> None:
    """Raises ModelFileError when a subgraph that may only read variables has assigned one."""
    names = [handle.shared_name for handle in _assigned(first, last)]
    if names:
        raise ModelFileError(
            f"Subgraph {graph.name!r} is the condition of a loop and assigns the variables "
            f"{names}, which is not supported."
        )


def _assigned(
    first: Mapping[Handle, keras.KerasTensor], last: Mapping[Handle, keras.KerasTensor]
) -> list[Handle]:
    return [handle for handle, start in first.items() if last[handle] is not start]


def read_call_once(call: ReadCall) -> Any:
    """CALL_ONCE: `initializers` has found what it does."""
    if call.initial_values is None:
        raise ModelFileError("CALL_ONCE inside a loop or branch is not supported.")
    return []


def read_var_handle(call: ReadCall) -> Any:
    """VAR_HANDLE: the first for a variable becomes its layer."""
    handle = handle_of(call.options)
    if handle not in call.variables:
        initial = (call.initial_values or {}).get(handle)
        if initial is None:
            raise ModelFileError(
                f"VAR_HANDLE {call.name!r} names variable {handle.shared_name!r}, to which no "
                "CALL_ONCE of the same subgraph gives an initial value."
            )
        layer = operators.Variable(
            shape=initial.shape,
            value_dtype=initial.dtype.name,
            shared_name=handle.shared_name,
            container=handle.container,
            name=call.name,
        )
        call.variables[handle] = layer(call.reference)
        layer.set_initial(initial)
    return handle


def read_variable(call: ReadCall) -> Any:
    """READ_VARIABLE."""
    value = call.variables[_handle(call)]
    _require(call, call.outputs[0].dtype == str(value.dtype), value, call.outputs[0])
    return operators.ReadVariable(name=call.name)(value)


def read_assign(call: ReadCall) -> Any:
    """ASSIGN_VARIABLE: shape and type stay as they are."""
    handle, value = _handle(call), call.tensor(1)
    current = call.variables[handle]
    same = tuple(value.shape) == tuple(current.shape) and value.dtype == current.dtype
    _require(call, same, current, value)
    call.variables[handle] = operators.AssignVariable(name=call.name)([current, value])
    return []


def _handle(call: ReadCall) -> Handle:
    handle = call.operand(0).handle
    if handle is None:
        raise ModelFileError(f"{call.code} {call.name!r} is called with no variable.")
    return handle


def _require(call: ReadCall, condition: bool, variable: Any, other: Any) -> None:
    if not condition:
        raise ModelFileError(
            f"{call.code} {call.name!r}: the variable is {variable.dtype} {tuple(variable.shape)}, "
            f"the value {other.dtype} {tuple(other.shape)}."
        )
