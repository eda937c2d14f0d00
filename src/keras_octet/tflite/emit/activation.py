"""Activations: layers, `keras.ops` operations, and the activation inside another layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.arithmetic import binary, transpose, unary
from keras_octet.tflite.emit.common import (
    FUSED_ACTIVATIONS,
    NO_ACTIVATION,
    activation_name,
    argument,
)
from keras_octet.tflite.graph import Graph, Quantization, to_numpy

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def relu(graph: Graph, source: int, output: int, max_value: float | None = None) -> None:
    """`min(max(x, 0), max_value)`."""
    codes = {None: "RELU", 6.0: "RELU6"}
    if max_value in codes:
        unary(graph, codes[max_value], source, output)
        return
    assert max_value is not None
    binary(graph, "MINIMUM", unary(graph, "RELU", source), float(max_value), output)


def leaky_relu(graph: Graph, source: int, output: int, negative_slope: float) -> None:
    """`x` above 0, else `negative_slope * x`."""
    graph.operator(
        "LEAKY_RELU", [source], [output], schema.LeakyReluOptionsT(alpha=float(negative_slope))
    )


def elu(graph: Graph, source: int, output: int, alpha: float = 1.0) -> None:
    """`x` above 0, else `alpha * (exp(x) - 1)`; ELU is the operator for alpha 1."""
    if alpha == 1.0:
        unary(graph, "ELU", source, output)
        return
    negative = unary(graph, "ELU", binary(graph, "MINIMUM", source, 0.0))
    scaled = binary(graph, "MUL", negative, float(alpha))
    binary(graph, "ADD", unary(graph, "RELU", source), scaled, output)


def selu(graph: Graph, source: int, output: int) -> None:
    """`scale * elu(x, alpha)` with the constants of the SELU paper (Klambauer et al., 2017)."""
    inner = graph.temporary(like=source, name="elu")
    elu(graph, source, inner, _SELU_ALPHA)
    binary(graph, "MUL", inner, _SELU_SCALE, output)


def gelu(graph: Graph, source: int, output: int, approximate: bool = False) -> None:
    """`x * Phi(x)`, or its tanh approximation."""
    graph.operator("GELU", [source], [output], schema.GeluOptionsT(approximate=approximate))


def softmax(graph: Graph, source: int, output: int, axis: int = -1) -> None:
    """SOFTMAX works on the last axis; another one is brought there and back."""
    options = schema.SoftmaxOptionsT(beta=1.0)
    rank = graph.rank(source)
    if axis % rank == rank - 1:
        graph.operator("SOFTMAX", [source], [output], options)
        return
    swap = list(range(rank))
    swap[axis % rank], swap[-1] = swap[-1], swap[axis % rank]
    # Softmax has scale 1/256 whatever its input has: take it before going back.
    moved = transpose(graph, source, swap)
    result = graph.temporary(graph.shape(moved), like=output, name="softmax")
    graph.operator("SOFTMAX", [moved], [result], options)
    transpose(graph, result, swap, output)


def silu(graph: Graph, source: int, output: int) -> None:
    """`x * sigmoid(x)`."""
    binary(graph, "MUL", source, unary(graph, "LOGISTIC", source), output)


def softplus(graph: Graph, source: int, output: int | None = None) -> int:
    """`max(x, 0) + log(1 + exp(-|x|))`, which does not overflow."""
    decay = unary(graph, "EXP", unary(graph, "NEG", unary(graph, "ABS", source)))
    logarithm = unary(graph, "LOG", binary(graph, "ADD", decay, 1.0))
    return binary(graph, "ADD", unary(graph, "RELU", source), logarithm, output)


def softsign(graph: Graph, source: int, output: int) -> None:
    """`x / (1 + |x|)`."""
    binary(graph, "DIV", source, binary(graph, "ADD", unary(graph, "ABS", source), 1.0), output)


def mish(graph: Graph, source: int, output: int) -> None:
    """`x * tanh(softplus(x))`."""
    binary(graph, "MUL", source, unary(graph, "TANH", softplus(graph, source)), output)


def hard_sigmoid(graph: Graph, source: int, output: int) -> None:
    """`relu6(x + 3) / 6`."""
    bounded = binary(graph, "ADD", source, 3.0, activation=schema.ActivationFunctionType.RELU6)
    binary(graph, "MUL", bounded, 1.0 / 6.0, output)


def log_sigmoid(graph: Graph, source: int, output: int) -> None:
    """`-softplus(-x)`."""
    unary(graph, "NEG", softplus(graph, unary(graph, "NEG", source)), output)


def tanh_shrink(graph: Graph, source: int, output: int) -> None:
    """`x - tanh(x)`."""
    binary(graph, "SUB", source, unary(graph, "TANH", source), output)


def celu(graph: Graph, source: int, output: int, alpha: float = 1.0) -> None:
    """`max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`."""
    scaled = binary(graph, "MUL", binary(graph, "MINIMUM", source, 0.0), 1.0 / alpha)
    negative = binary(graph, "MUL", unary(graph, "ELU", scaled), float(alpha))
    binary(graph, "ADD", unary(graph, "RELU", source), negative, output)


def _operator_of(code: str) -> Callable[[Graph, int, int], None]:
    def emit(graph: Graph, source: int, output: int) -> None:
        unary(graph, code, source, output)

    return emit


ACTIVATIONS: dict[str, Callable[[Graph, int, int], None]] = {
    "linear": lambda graph, source, output: graph.alias(source, output),
    "relu": relu,
    "relu6": lambda graph, source, output: relu(graph, source, output, 6.0),
    "sigmoid": _operator_of("LOGISTIC"),
    "tanh": _operator_of("TANH"),
    "hard_silu": _operator_of("HARD_SWISH"),
    "hard_swish": _operator_of("HARD_SWISH"),
    "exponential": _operator_of("EXP"),
    "log_softmax": _operator_of("LOG_SOFTMAX"),
    "elu": elu,
    "selu": selu,
    "celu": celu,
    "gelu": gelu,
    "gelu_tanh": lambda graph, source, output: gelu(graph, source, output, True),
    "leaky_relu": lambda graph, source, output: leaky_relu(graph, source, output, 0.2),
    "silu": silu,
    "swish": silu,
    "softmax": softmax,
    "softplus": softplus,  # type: ignore[dict-item]
    "softsign": softsign,
    "mish": mish,
    "hard_sigmoid": hard_sigmoid,
    "log_sigmoid": log_sigmoid,
    "hard_tanh": _operator_of("RELU_N1_TO_1"),
    "tanh_shrink": tanh_shrink,
}


def activate(graph: Graph, name: str, source: int, output: int) -> None:
    """`output = name(source)` for a Keras activation name.

    Raises:
        ExportError: the activation has no .tflite form.
    """
    if name not in ACTIVATIONS:
        raise ExportError(
            f"has activation {name!r}, which has no .tflite form; expected one of "
            f"{sorted(ACTIVATIONS)}."
        )
    ACTIVATIONS[name](graph, source, output)


def with_activation(
    layer: Any, graph: Graph, output: int, emit: Callable[[int, int], None]
) -> None:
    """Run `emit(target, fused_activation)` for a layer that may have an activation.

    An activation that operators can fuse goes into the option; another becomes operators after.
    """
    name = activation_name(layer)
    if name in FUSED_ACTIVATIONS:
        emit(output, FUSED_ACTIVATIONS[name])
        return
    linear = graph.temporary(like=output, name="linear")
    emit(linear, NO_ACTIVATION)
    activate(graph, name, linear, output)


# Layers


def emit_relu(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """ReLU, with a bound or a negative slope or both."""
    slope = float(getattr(layer, "negative_slope", 0.0) or 0.0)
    threshold = float(getattr(layer, "threshold", 0.0) or 0.0)
    if threshold:
        raise ExportError(f"has threshold={threshold!r}; expected 0.")
    max_value = None if layer.max_value is None else float(layer.max_value)
    if not slope:
        relu(graph, inputs[0], output, max_value)
    elif max_value is None:
        leaky_relu(graph, inputs[0], output, slope)
    else:
        inner = graph.temporary(like=output, name="leaky_relu")
        leaky_relu(graph, inputs[0], inner, slope)
        binary(graph, "MINIMUM", inner, max_value, output)


def emit_leaky_relu(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """LEAKY_RELU."""
    leaky_relu(graph, inputs[0], output, layer.negative_slope)


def emit_prelu(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """PRELU; `alpha` has the shape of the input without the batch, 1 where it is shared."""
    alpha = graph.constant(
        to_numpy(layer.alpha),
        name="alpha",
        quantization=Quantization.of(getattr(layer, "alpha_qparams", None)),
    )
    graph.operator("PRELU", [inputs[0], alpha], [output])


def emit_elu(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """ELU; the int8 operator has alpha 1."""
    alpha = float(getattr(layer, "alpha", 1.0))
    if alpha != 1.0 and graph.dtype(inputs[0]) == "int8":
        raise ExportError(f"has alpha={alpha!r}; an int8 ELU has alpha 1.")
    elu(graph, inputs[0], output, alpha)


def emit_activation(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """An Activation layer, by the name of its function."""
    activate(graph, activation_name(layer), inputs[0], output)


def emit_softmax(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """SOFTMAX over one axis."""
    if len(inputs) > 1:
        raise ExportError("is a Softmax called with a mask, which has no .tflite form.")
    axis = layer.axis
    if not isinstance(axis, int):
        if len(axis) != 1:
            raise ExportError(f"is a Softmax over axes {axis!r}; expected one axis.")
        (axis,) = axis
    softmax(graph, inputs[0], output, axis)


# Operations of keras.ops


def emit_activation_operation(name: str) -> Callable[[Any, Graph, list[int], int], None]:
    """The emit function of an operation that is an activation without parameters."""

    def emit(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
        activate(graph, name, inputs[0], output)

    return emit


def emit_gelu_operation(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.gelu`."""
    gelu(graph, inputs[0], output, bool(argument(graph, "approximate", True)))


def emit_leaky_relu_operation(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.leaky_relu`."""
    leaky_relu(graph, inputs[0], output, argument(graph, "negative_slope", 0.2))


def emit_elu_operation(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.elu`."""
    elu(graph, inputs[0], output, float(argument(graph, "alpha", 1.0)))


def emit_celu_operation(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.celu`."""
    celu(graph, inputs[0], output, float(argument(graph, "alpha", 1.0)))


def emit_softmax_operation(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.softmax` over one axis."""
    axis = argument(graph, "axis", -1)
    if not isinstance(axis, int):
        raise ExportError(f"is a softmax over axes {axis!r}; expected one axis.")
    softmax(graph, inputs[0], output, axis)


def emit_log_softmax_operation(
    operation: Any, graph: Graph, inputs: list[int], output: int
) -> None:
    """LOG_SOFTMAX, over the last axis only."""
    axis, rank = argument(graph, "axis", -1), graph.rank(inputs[0])
    if axis % rank != rank - 1:
        raise ExportError(f"is a log_softmax over axis {axis!r}; expected the last axis.")
    activate(graph, "log_softmax", inputs[0], output)
