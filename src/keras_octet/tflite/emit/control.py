"""Loops, branches and variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.common import argument
from keras_octet.tflite.graph import RESOURCE, Function, Graph, to_numpy


def emit_while(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """WHILE; a variable goes in and comes out as its handle."""
    assert graph.call is not None
    outputs = graph.call.outputs
    condition, body = (graph.function(model, inputs) for model in (layer.condition, layer.body))
    for source, target in zip(inputs, outputs, strict=True):
        if graph.dtype(source) == RESOURCE:
            graph.make_handle(target)
    options = schema.WhileOptionsT(condSubgraphIndex=condition, bodySubgraphIndex=body)
    graph.operator("WHILE", inputs, outputs, options)


def emit_if(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """IF; the handles of variables, which follow its outputs, stay what they are."""
    assert graph.call is not None
    values = inputs[1:]
    handles = list(dict.fromkeys(i for i in values if graph.dtype(i) == RESOURCE))
    count = len(graph.call.outputs) - len(handles)
    otherwise, then = (
        graph.function(model, values, count) for model in (layer.otherwise, layer.then)
    )
    for source, target in zip(handles, graph.call.outputs[count:], strict=True):
        graph.make_handle(target)
        graph.alias(source, target)
    options = schema.IfOptionsT(thenSubgraphIndex=then, elseSubgraphIndex=otherwise)
    graph.operator("IF", inputs, graph.call.outputs[:count], options)


def emit_variable(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """VAR_HANDLE; at the end nothing, as the last ASSIGN_VARIABLE is there already."""
    update = argument(graph, "update")
    if update is None:
        if graph.outside is not None:
            graph.outside[layer] = output, output
            return
        graph.make_handle(output)
        graph.operator("VAR_HANDLE", [], [output], handle_options(layer))
        return
    last = graph.index(update)
    if graph.outside is not None:
        graph.outside[layer] = graph.outside[layer][0], last
    else:
        _require_handle(graph, last)
    graph.alias(inputs[0], output)


def handle_options(layer: Any) -> Any:
    """The name of a variable."""
    return schema.VarHandleOptionsT(container=layer.container, sharedName=layer.shared_name)


def initial_values(layers: Sequence[Any]) -> Function:
    """A subgraph that gives variables their initial values."""
    graph = Graph()
    for layer in layers:
        name = layer.shared_name or layer.name
        handle = graph.tensor(f"{name}/handle", (), RESOURCE)
        graph.operator("VAR_HANDLE", [], [handle], handle_options(layer))
        value = graph.constant(to_numpy(layer.initial).astype(layer.value_dtype), name=name)
        graph.operator("ASSIGN_VARIABLE", [handle, value], [], schema.AssignVariableOptionsT())
    return Function(graph, [], [], "NoOp")


def emit_read_variable(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """READ_VARIABLE."""
    if graph.outside is not None:
        graph.alias(inputs[0], output)
        return
    _require_handle(graph, inputs[0])
    graph.operator("READ_VARIABLE", inputs, [output], schema.ReadVariableOptionsT())


def emit_assign_variable(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """ASSIGN_VARIABLE: the handle stays what it is."""
    if graph.outside is not None:
        graph.alias(inputs[1], output)
        return
    _require_handle(graph, inputs[0])
    graph.make_handle(output)
    graph.alias(inputs[0], output)
    graph.operator("ASSIGN_VARIABLE", inputs, [], schema.AssignVariableOptionsT())


def _require_handle(graph: Graph, index: int) -> None:
    if graph.dtype(index) != RESOURCE:
        raise ExportError(
            "is called with a tensor that is not what a variable holds. Expected one that a "
            "Variable, an AssignVariable, or a loop or branch with the variable gives."
        )
