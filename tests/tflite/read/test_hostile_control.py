"""Loops, branches and variables that do not fit together: a `ModelFileError`, and soon."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.tflite.read import builder, shapes
from keras_octet.tflite.run import Interpreter
from tests.golden import record
from tests.tflite.read.test_hostile import repacked

CODES = {name: value for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
FLOAT32, INT8, BOOL = schema.TensorType.FLOAT32, schema.TensorType.INT8, schema.TensorType.BOOL


def operator(model: Any, code: str, graph: int = 0) -> Any:
    """The first operator of this code in a subgraph."""
    codes = [x.builtinCode for x in model.operatorCodes]
    return next(x for x in model.subgraphs[graph].operators if codes[x.opcodeIndex] == CODES[code])


def tensor(model: Any, graph: int, index: int) -> Any:
    return model.subgraphs[graph].tensors[index]


def of_while(model: Any) -> tuple[int, int]:
    """The subgraphs of the loop: condition and body."""
    options = operator(model, "WHILE").builtinOptions
    return options.condSubgraphIndex, options.bodySubgraphIndex


def drop(values: Any) -> np.ndarray:
    return np.array(values[:-1], np.int32)


def replaced(values: Any, position: int, index: int) -> np.ndarray:
    changed = np.array(values, np.int32)
    changed[position] = index
    return changed


# Loops


def body_out_of_range(model: Any) -> None:
    operator(model, "WHILE").builtinOptions.bodySubgraphIndex = 9


def body_negative(model: Any) -> None:
    operator(model, "WHILE").builtinOptions.bodySubgraphIndex = -1


def body_is_main(model: Any) -> None:
    operator(model, "WHILE").builtinOptions.bodySubgraphIndex = 0


def no_loop_options(model: Any) -> None:
    operator(model, "WHILE").builtinOptions = None
    operator(model, "WHILE").builtinOptionsType = 0


def body_holds_itself(model: Any) -> None:
    _, body = of_while(model)
    loop, graph = operator(model, "WHILE"), model.subgraphs[body]
    again = schema.OperatorT(
        opcodeIndex=loop.opcodeIndex,
        inputs=graph.inputs,
        outputs=graph.outputs,
        builtinOptionsType=loop.builtinOptionsType,
        builtinOptions=loop.builtinOptions,
    )
    graph.operators = [again]


def body_has_too_few_inputs(model: Any) -> None:
    _, body = of_while(model)
    model.subgraphs[body].inputs = np.zeros(0, np.int32)


def body_has_too_few_outputs(model: Any) -> None:
    _, body = of_while(model)
    model.subgraphs[body].outputs = np.zeros(0, np.int32)


def body_has_too_many_outputs(model: Any) -> None:
    _, body = of_while(model)
    model.subgraphs[body].outputs = np.repeat(model.subgraphs[body].outputs, 2)


def loop_has_too_few_outputs(model: Any) -> None:
    loop = operator(model, "WHILE")
    loop.inputs = np.repeat(loop.inputs, 2)


def body_takes_another_type(model: Any) -> None:
    _, body = of_while(model)
    tensor(model, body, model.subgraphs[body].inputs[0]).type = INT8


def body_takes_another_shape(model: Any) -> None:
    _, body = of_while(model)
    tensor(model, body, model.subgraphs[body].inputs[0]).shape = np.array([3], np.int32)


def body_gives_another_shape(model: Any) -> None:
    _, body = of_while(model)
    constant = next(x for x in operator(model, "MUL", body).inputs[1:])
    two = np.array([2, 2], np.float32)
    model.buffers.append(schema.BufferT(data=np.frombuffer(np.tile(two, (4, 1)).tobytes(), "u1")))
    scale = tensor(model, body, constant)
    scale.shape, scale.buffer = np.array([4, 2], np.int32), len(model.buffers) - 1


def condition_gives_no_bool(model: Any) -> None:
    condition, _ = of_while(model)
    total = operator(model, "SUM", condition).outputs
    model.subgraphs[condition].outputs = np.array(total, np.int32)


def condition_gives_two(model: Any) -> None:
    condition, _ = of_while(model)
    model.subgraphs[condition].outputs = np.repeat(model.subgraphs[condition].outputs, 2)


def a_constant_of_the_body_is_a_variable(model: Any) -> None:
    _, body = of_while(model)
    weight = tensor(model, body, operator(model, "MUL", body).inputs[1])
    weight.isVariable, weight.buffer = True, 0


def condition_assigns(model: Any) -> None:
    condition, body = of_while(model)
    graph, theirs = model.subgraphs[condition], model.subgraphs[body]
    handle = next(i for i in graph.inputs if graph.tensors[i].type == schema.TensorType.RESOURCE)
    read, assign = (operator(model, code, body) for code in ("READ_VARIABLE", "ASSIGN_VARIABLE"))
    graph.tensors.append(theirs.tensors[read.outputs[0]])
    value = len(graph.tensors) - 1
    nothing = np.zeros(0, np.int32)
    graph.operators += [
        schema.OperatorT(opcodeIndex=code, inputs=np.array(inputs, np.int32), outputs=outputs)
        for code, inputs, outputs in (
            (read.opcodeIndex, [handle], np.array([value], np.int32)),
            (assign.opcodeIndex, [handle, value], nothing),
        )
    ]


# Branches


def branch_out_of_range(model: Any) -> None:
    operator(model, "IF").builtinOptions.elseSubgraphIndex = 2**31 - 1


def branches_are_main(model: Any) -> None:
    options = operator(model, "IF").builtinOptions
    options.thenSubgraphIndex = options.elseSubgraphIndex = 0


def branch_on_a_number(model: Any) -> None:
    operator(model, "IF").inputs = np.array([0, 0], np.int32)


def branch_without_condition(model: Any) -> None:
    operator(model, "IF").inputs = np.zeros(0, np.int32)


def branch_gives_nothing(model: Any) -> None:
    model.subgraphs[operator(model, "IF").builtinOptions.thenSubgraphIndex].outputs = np.zeros(
        0, np.int32
    )


def branches_take_nothing(model: Any) -> None:
    operator(model, "IF").inputs = drop(operator(model, "IF").inputs)


def if_gives_an_integer(model: Any) -> None:
    tensor(model, 0, operator(model, "IF").outputs[0]).type = INT8


# Variables


def never_initialized(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.operators = [x for x in graph.operators if x is not operator(model, "CALL_ONCE")]


def initialized_too_late(model: Any) -> None:
    graph = model.subgraphs[0]
    once = operator(model, "CALL_ONCE")
    graph.operators = [*(x for x in graph.operators if x is not once), once]


def initialized_by_nothing(model: Any) -> None:
    model.subgraphs[operator(model, "CALL_ONCE").builtinOptions.initSubgraphIndex].operators = []


def initialized_by_main(model: Any) -> None:
    operator(model, "CALL_ONCE").builtinOptions.initSubgraphIndex = 0


def initializer_out_of_range(model: Any) -> None:
    operator(model, "CALL_ONCE").builtinOptions.initSubgraphIndex = 77


def other_variable(model: Any) -> None:
    operator(model, "VAR_HANDLE").builtinOptions.sharedName = b"another"


def handle_without_name(model: Any) -> None:
    handle = operator(model, "VAR_HANDLE")
    handle.builtinOptions, handle.builtinOptionsType = None, 0


def handle_is_a_number(model: Any) -> None:
    operator(model, "READ_VARIABLE").inputs = np.array([0], np.int32)


def handle_is_missing(model: Any) -> None:
    operator(model, "ASSIGN_VARIABLE").inputs = np.zeros(0, np.int32)


def handle_of_type_float(model: Any) -> None:
    tensor(model, 0, operator(model, "VAR_HANDLE").outputs[0]).type = FLOAT32


def read_as_bool(model: Any) -> None:
    tensor(model, 0, operator(model, "READ_VARIABLE").outputs[0]).type = BOOL


def assigned_another_shape(model: Any) -> None:
    assign = operator(model, "ASSIGN_VARIABLE")
    assign.inputs = replaced(assign.inputs, 1, 0)


def initial_value_of_another_type(model: Any) -> None:
    once = operator(model, "CALL_ONCE").builtinOptions.initSubgraphIndex
    value = operator(model, "ASSIGN_VARIABLE", once).inputs[1]
    tensor(model, once, value).type = schema.TensorType.INT32


def output_is_a_handle(model: Any) -> None:
    model.subgraphs[0].outputs = np.array(operator(model, "VAR_HANDLE").outputs, np.int32)


def input_is_a_handle(model: Any) -> None:
    tensor(model, 0, 0).type = schema.TensorType.RESOURCE


def added_to_a_handle(model: Any) -> None:
    join = operator(model, "CONCATENATION")
    join.inputs = replaced(join.inputs, 1, operator(model, "VAR_HANDLE").outputs[0])


def loop_gives_another_variable(model: Any) -> None:
    _, body = of_while(model)
    graph = model.subgraphs[body]
    kinds = [graph.tensors[i].type for i in graph.inputs]
    place = kinds.index(schema.TensorType.RESOURCE)
    value = operator(model, "READ_VARIABLE", body).outputs[0]
    graph.outputs = replaced(graph.outputs, place, value)


def loop_takes_a_number_for_a_handle(model: Any) -> None:
    loop = operator(model, "WHILE")
    handle = operator(model, "VAR_HANDLE").outputs[0]
    loop.inputs = np.array([0 if i == handle else i for i in loop.inputs], np.int32)


CASES: dict[str, list[Callable[[Any], None]]] = {
    "while_float": [
        body_out_of_range,
        body_negative,
        body_is_main,
        no_loop_options,
        body_holds_itself,
        body_has_too_few_inputs,
        body_has_too_few_outputs,
        body_has_too_many_outputs,
        loop_has_too_few_outputs,
        body_takes_another_type,
        body_takes_another_shape,
        body_gives_another_shape,
        condition_gives_no_bool,
        condition_gives_two,
    ],
    "if_float": [
        branch_out_of_range,
        branches_are_main,
        branch_on_a_number,
        branch_without_condition,
        branch_gives_nothing,
        branches_take_nothing,
        if_gives_an_integer,
    ],
    "read_variable_float": [
        never_initialized,
        initialized_too_late,
        initialized_by_nothing,
        initialized_by_main,
        initializer_out_of_range,
        other_variable,
        handle_without_name,
        handle_is_a_number,
        handle_is_missing,
        handle_of_type_float,
        read_as_bool,
        assigned_another_shape,
        initial_value_of_another_type,
        output_is_a_handle,
        input_is_a_handle,
        added_to_a_handle,
    ],
    "read_variable_float_while": [loop_gives_another_variable, loop_takes_a_number_for_a_handle],
}


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name, changes in CASES.items() for change in changes],
    ids=lambda x: x if isinstance(x, str) else x.__name__,
)
def test_nonsense(name: str, change: Callable[[Any], None]) -> None:
    content, _ = record.load(name)
    ko.load_model(repacked(content, lambda model: None))
    with pytest.raises(ko.ModelFileError):
        ko.load_model(repacked(content, change))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("while_float", body_is_main),
        ("while_float", body_holds_itself),
        ("if_float", branches_are_main),
        ("read_variable_float", initialized_by_main),
    ],
)
def test_cycles_are_named(name: str, change: Callable[[Any], None]) -> None:
    content, _ = record.load(name)
    with pytest.raises(ko.ModelFileError, match="in a cycle"):
        ko.load_model(repacked(content, change))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("while_float", a_constant_of_the_body_is_a_variable, "variable tensor inside a loop"),
        ("read_variable_float_while", condition_assigns, "is the condition of a loop and assigns"),
    ],
)
def test_what_would_compute_something_else(
    name: str, change: Callable[[Any], None], message: str
) -> None:
    content, _ = record.load(name)
    with pytest.raises(ko.ModelFileError, match=message):
        ko.load_model(repacked(content, change))


def test_parts_of_a_list_without_inputs() -> None:
    """Those that are read together, in the body of a loop."""
    content, _ = record.load("while_float_list")
    parts = ("SLICE", "CONCATENATION", "RESHAPE", "ADD")
    for position in range(12):
        for kept in range(3):

            def change(model: Any, position: int = position, kept: int = kept) -> None:
                _, body = of_while(model)
                cut = model.subgraphs[body].operators[position]
                if model.operatorCodes[cut.opcodeIndex].builtinCode in map(CODES.get, parts):
                    cut.inputs = np.array(cut.inputs[:kept], np.int32)

            with contextlib.suppress(ko.OctetError):
                ko.load_model(repacked(content, change))


def test_states_of_a_file_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    content, _ = record.load("unidirectional_sequence_lstm_float_stack")
    spent: list[int] = []
    monkeypatch.setattr(shapes.Budget, "spend", lambda self, elements: spent.append(elements))
    ko.load_model(content)
    monkeypatch.undo()
    states = [size for size in spent if size]
    assert len(states) >= 4
    monkeypatch.setattr(builder, "Budget", lambda elements: shapes.Budget(sum(states) - 1))
    with pytest.raises(ko.ModelFileError, match="keeps states, of more elements"):
        ko.load_model(content)
    monkeypatch.setattr(builder, "Budget", lambda elements: shapes.Budget(sum(states)))
    ko.load_model(content)


def calls_of_calls(count: int) -> bytes:
    """A file in which each subgraph has a branch whose two sides are the next subgraph."""
    content, _ = record.load("if_float")

    def change(model: Any) -> None:
        main, choose = model.subgraphs[0], operator(model, "IF")
        last = model.subgraphs[2]
        model.subgraphs = [main]
        for number in range(1, count):
            condition = schema.TensorT(shape=np.zeros(0, np.int32), type=BOOL, name=b"c")
            tensors = [
                schema.TensorT(shape=x.shape, type=x.type, name=x.name)
                for x in (last.tensors[0], last.tensors[0])
            ]
            model.buffers.append(schema.BufferT(data=np.ones(1, np.uint8)))
            condition.buffer = len(model.buffers) - 1
            options = schema.IfOptionsT(thenSubgraphIndex=number + 1, elseSubgraphIndex=number + 1)
            model.subgraphs.append(
                schema.SubGraphT(
                    tensors=[*tensors, condition],
                    inputs=np.array([0], np.int32),
                    outputs=np.array([1], np.int32),
                    operators=[
                        schema.OperatorT(
                            opcodeIndex=choose.opcodeIndex,
                            inputs=np.array([2, 0], np.int32),
                            outputs=np.array([1], np.int32),
                            builtinOptionsType=choose.builtinOptionsType,
                            builtinOptions=options,
                        )
                    ],
                    name=f"level_{number}",
                )
            )
        model.subgraphs.append(last)
        choose.builtinOptions.thenSubgraphIndex = choose.builtinOptions.elseSubgraphIndex = 1

    return repacked(content, change)


def test_a_tower_of_branches_loads() -> None:
    """Two sides of two sides are four copies; a few levels are what a file may have."""
    content = calls_of_calls(2)
    model = ko.load_model(content)
    x = np.array([1.0, 2.0], np.float32)
    np.testing.assert_array_equal(model.predict_on_batch(x), Interpreter(content)(x)[0])


@pytest.mark.parametrize(("count", "message"), [(14, "too often"), (40, "deeper than|too often")])
def test_calls_of_calls_of_calls(count: int, message: str) -> None:
    """2 ** 14 copies of a subgraph, and more levels than Python has frames for."""
    started = time.monotonic()
    with pytest.raises(ko.ModelFileError, match=message):
        ko.load_model(calls_of_calls(count))
    assert time.monotonic() - started < 20


def test_an_endless_loop_loads() -> None:
    """What a loop does is known only when the model runs; loading does not run it."""

    def change(model: Any) -> None:
        condition, _ = of_while(model)
        limit = tensor(model, condition, operator(model, "LESS", condition).inputs[1])
        model.buffers[limit.buffer].data = np.frombuffer(np.float32(np.inf).tobytes(), np.uint8)

    content, _ = record.load("while_float")
    model = ko.load_model(repacked(content, change))
    assert len(model.layers) == 2
    model.to_tflite()
