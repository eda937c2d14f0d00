"""WHILE and IF: operators that run other subgraphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.graph import RESOURCE, Shape
from keras_octet.tflite.read.call import Handle, Operand, ReadCall
from keras_octet.tflite.read.parse import Subgraph


def read_while(call: ReadCall) -> Any:
    """WHILE: a variable among the values is its own next value."""
    arguments = _arguments(call, 0)
    values = [x.value for x in arguments]
    condition = call.submodel(call.options.condSubgraphIndex, arguments, assigns=False)
    handles = [x.handle for x in arguments]
    body = call.submodel(call.options.bodySubgraphIndex, arguments, returns=handles)
    (holds,) = _expect(call, "condition", condition.outputs, 1)
    if str(holds.dtype) != "bool" or _has_several(holds.shape):
        raise ModelFileError(f"WHILE {call.name!r} has a condition that gives {_spec(holds)}.")
    _require_same(call, "body", body.outputs, values)
    layer = operators.While(
        condition=condition, body=body, variable_positions=_positions(handles), name=call.name
    )
    return _bind(call, layer(values), handles)


def read_if(call: ReadCall) -> Any:
    """IF: each branch gives its outputs, then the values of the variables it was called with."""
    condition, arguments = call.operand(0), _arguments(call, 1)
    if condition.tensor.dtype != "bool" or _has_several(call.tensor(0).shape):
        raise ModelFileError(f"IF {call.name!r} has a condition of {_spec(call.tensor(0))}.")
    if any(x.dtype == RESOURCE for x in call.outputs):
        raise ModelFileError(f"IF {call.name!r} chooses between variables; expected values.")
    handles = list(dict.fromkeys(x.handle for x in arguments if x.handle is not None))
    then, otherwise = (
        call.submodel(
            index, arguments, reference=None if arguments else call.tensor(0), values_of=handles
        )
        for index in (call.options.thenSubgraphIndex, call.options.elseSubgraphIndex)
    )
    _require_same(call, "else branch", otherwise.outputs, then.outputs)
    layer = operators.If(
        then=then,
        otherwise=otherwise,
        variable_positions=_positions([None, *(x.handle for x in arguments)]),
        name=call.name,
    )
    results = layer([call.tensor(0), *(x.value for x in arguments)])
    plain: list[Handle | None] = [None] * (len(results) - len(handles))
    return _bind(call, results, [*plain, *handles])[: len(plain)]


def require_match(graph: Subgraph, arguments: Sequence[Operand]) -> None:
    """Raises ModelFileError when a subgraph cannot be called with these arguments."""
    if len(graph.inputs) != len(arguments):
        raise ModelFileError(
            f"Subgraph {graph.name!r} has {len(graph.inputs)} inputs and is called with "
            f"{len(arguments)}."
        )
    for index, argument in zip(graph.inputs, arguments, strict=True):
        tensor = graph.tensors[index]
        same = tensor.dtype == argument.tensor.dtype
        if not same or (argument.handle is None and not _fits(argument, tensor.shape)):
            raise ModelFileError(
                f"Input {tensor.name!r} of subgraph {graph.name!r} is {tensor.dtype} "
                f"{tensor.shape}, and is called with {argument.tensor.name!r}, which is "
                f"{argument.tensor.dtype} {argument.tensor.shape}."
            )


def require_handles(
    graph: Subgraph, found: Sequence[Handle | None], expected: Sequence[Handle | None]
) -> None:
    """Raises ModelFileError unless the outputs of a subgraph are these variables; None: values."""
    if list(found) != [*expected, *[None] * (len(found) - len(expected))]:
        raise ModelFileError(
            f"Subgraph {graph.name!r} gives variables {_names(found)}; expected {_names(expected)}."
        )


def _names(handles: Sequence[Handle | None]) -> list[str | None]:
    return [None if handle is None else handle.shared_name for handle in handles]


def _fits(argument: Operand, shape: Shape) -> bool:
    assert argument.value is not None
    given = tuple(argument.value.shape)
    return len(given) == len(shape) and all(
        None in pair or pair[0] == pair[1] for pair in zip(given, shape, strict=True)
    )


def _arguments(call: ReadCall, start: int) -> list[Operand]:
    """Inputs from `start` on, all as KerasTensors."""
    return [
        Operand(call.operand(i).tensor, value=call.tensor(i), handle=call.operand(i).handle)
        for i in range(start, len(call.inputs))
    ]


def _positions(handles: Sequence[Handle | None]) -> list[int]:
    return [i for i, handle in enumerate(handles) if handle is not None]


def _bind(call: ReadCall, results: Any, handles: Sequence[Handle | None]) -> list[Any]:
    """Results of the layer, in which a variable is its handle and has its new value."""
    bound: list[Any] = []
    for result, handle in zip(keras.tree.flatten(results), handles, strict=True):
        if handle is not None:
            call.variables[handle] = result
        bound.append(handle or result)
    for tensor, result in zip(call.outputs, bound, strict=False):
        dtype = RESOURCE if isinstance(result, Handle) else str(result.dtype)
        if tensor.dtype != dtype:
            raise ModelFileError(
                f"{call.code} {call.name!r} makes {tensor.name!r}, which is {tensor.dtype}, of "
                f"{dtype}."
            )
    return bound


def _expect(call: ReadCall, what: str, found: Sequence[Any], count: int) -> Sequence[Any]:
    if len(found) != count:
        raise ModelFileError(
            f"The {what} of {call.code} {call.name!r} gives {len(found)} tensors; expected {count}."
        )
    return found


def _require_same(call: ReadCall, what: str, found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Raises ModelFileError unless shapes and dtypes are those of `expected`."""
    _expect(call, what, found, len(expected))
    for ours, theirs in zip(found, expected, strict=True):
        if _spec(ours) != _spec(theirs):
            raise ModelFileError(
                f"The {what} of {call.code} {call.name!r} gives {_spec(ours)} where "
                f"{_spec(theirs)} is expected. Shapes and types must not change."
            )


def _spec(tensor: Any) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _has_several(shape: Sequence[int | None]) -> bool:
    return any(size != 1 for size in shape)
