"""Operations on corresponding elements of one or two tensors."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.arithmetic import binary, cast, options_of, unary
from keras_octet.tflite.emit.common import EmitFunction, argument, fused_activation
from keras_octet.tflite.graph import Graph


def emit_merge(code: str, *, average: bool = False) -> EmitFunction:
    """The emit function of a merge layer, float or quantized; three or more inputs are chained."""

    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        if len(inputs) < 2:
            raise ExportError(f"merges {len(inputs)} tensor; expected at least 2.")
        total = inputs[0]
        for index in inputs[1:-1]:
            total = binary(graph, code, total, index)
        target = None if average else output
        activation = fused_activation(layer)
        total = binary(graph, code, total, inputs[-1], target, activation)
        if average:
            binary(graph, "MUL", total, 1.0 / len(inputs), output)

    return emit


def emit_binary_operation(code: str) -> EmitFunction:
    """The emit function of a binary operation of `keras.ops`; one operand may be a constant."""

    def emit(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
        first, second = operands(graph, inputs)
        binary(graph, code, first, second, output)

    return emit


def operands(graph: Graph, inputs: list[int]) -> list[int]:
    """Both operands of the operation being emitted, cast to one dtype."""
    assert graph.call is not None
    names = list(inspect.signature(graph.call.operation.call).parameters)[:2]
    values = [argument(graph, name) for name in names]
    dtypes = [
        graph.dtype(graph.index(value)) for value in values if isinstance(value, keras.KerasTensor)
    ]
    dtype = dtypes[0]
    if len(dtypes) == 2 and dtypes[0] != dtypes[1]:
        dtype = keras.backend.result_type(*dtypes)
    elif len(dtypes) == 1:
        constant = next(value for value in values if not isinstance(value, keras.KerasTensor))
        if "float" not in dtype and np.asarray(constant).dtype.kind == "f":
            dtype = "float32"
    found = []
    for value in values:
        if isinstance(value, keras.KerasTensor):
            found.append(cast(graph, graph.index(value), dtype))
        else:
            if hasattr(value, "path") or hasattr(value, "device"):
                value = keras.ops.convert_to_numpy(value)
            found.append(graph.constant(np.asarray(value).astype(dtype), name="value"))
    return found


def emit_power(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """POW; the exponents 2 and 0.5 have operators that XNNPACK takes."""
    base, exponent = operands(graph, inputs)
    value = graph.tensors[exponent].data
    code = None
    if value is not None and value.ndim == 0 and graph.dtype(base) == "float32":
        code = {2.0: "SQUARE", 0.5: "SQRT"}.get(float(value))
    if code is not None:
        unary(graph, code, base, output)
    else:
        binary(graph, "POW", base, exponent, output)


def emit_unary_operation(code: str) -> EmitFunction:
    """The emit function of an operation of one tensor that is one operator."""

    def emit(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
        unary(graph, code, cast(graph, inputs[0], graph.dtype(output)), output)

    return emit


def emit_cast(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CAST."""
    cast(graph, inputs[0], graph.dtype(output), output)


def emit_identity(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """What an operation that does nothing at inference becomes: another name of its input."""
    graph.alias(inputs[0], output)


def emit_reciprocal(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`1 / x`."""
    binary(graph, "DIV", 1.0, inputs[0], output)


def emit_log1p(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`log(x + 1)`."""
    unary(graph, "LOG", binary(graph, "ADD", inputs[0], 1.0), output)


def emit_scaled_log(base: float) -> EmitFunction:
    """Logarithm to `base`."""

    def emit(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
        natural = unary(graph, "LOG", inputs[0])
        binary(graph, "MUL", natural, float(1.0 / np.log(base)), output)

    return emit


def emit_clip(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """MAXIMUM, then MINIMUM."""
    low, high = (argument(graph, name) for name in ("x_min", "x_max"))
    lowest = binary(graph, "MAXIMUM", inputs[0], graph.operand(low, like=inputs[0]))
    binary(graph, "MINIMUM", lowest, graph.operand(high, like=inputs[0]), output)


def emit_where(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """SELECT_V2 with a bool condition."""
    condition, first, second = (argument(graph, name) for name in ("condition", "x1", "x2"))
    if first is None or second is None:
        raise ExportError("is a `where` with one argument, whose output size depends on the data.")
    chosen = cast(graph, graph.operand(condition), "bool")
    values = [graph.operand(value, like=output) for value in (first, second)]
    graph.operator("SELECT_V2", [chosen, *values], [output], options_of("SELECT_V2"))


def emit_round(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """ROUND, half to even."""
    if argument(graph, "decimals", 0):
        raise ExportError("rounds to decimals, which has no .tflite form; expected decimals=0.")
    unary(graph, "ROUND", inputs[0], output)
