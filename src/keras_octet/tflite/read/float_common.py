"""What the read functions of float and integer operators share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from ai_edge_litert import schema_py_generated as schema

from keras_octet.capture.canonical import make_layer
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.call import ReadCall

_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: None,
    schema.ActivationFunctionType.RELU: "relu",
    schema.ActivationFunctionType.RELU6: "relu6",
    schema.ActivationFunctionType.RELU_N1_TO_1: "hard_tanh",
}


def fused_activation(call: ReadCall) -> str | None:
    """Name of the Keras activation in the options of an operator."""
    value = call.options.fusedActivationFunction
    if value not in _ACTIVATIONS:
        raise ModelFileError(
            f"{call.code} {call.name!r} has fused activation {value}, which LiteRT does not "
            "compute. Expected one of NONE, RELU, RELU6, RELU_N1_TO_1."
        )
    return _ACTIVATIONS[value]


def with_activation(call: ReadCall, make: Callable[[str], Any]) -> Any:
    """What `make(name)` gives, and a layer for the fused activation if there is one."""
    activation = fused_activation(call)
    if activation is None:
        return make(call.name)
    call.operator_name = call.unique(f"{call.name}_linear")
    return activation_layer(activation, call.name)(make(call.operator_name))


def activation_layer(activation: str, name: str) -> keras.layers.Layer:
    """ReLU where that says it, else Activation."""
    if activation == "relu":
        return make_layer(keras.layers.ReLU, name)
    if activation == "relu6":
        return make_layer(keras.layers.ReLU, name, max_value=6.0)
    return make_layer(keras.layers.Activation, name, activation=activation)


def is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def values(call: ReadCall, *indices: int) -> list[Any]:
    """Inputs as arguments of an operation, at least one of them a KerasTensor."""
    found = [call.value(index) for index in indices]
    if not any(map(is_tensor, found)):
        found[0] = call.tensor(indices[0])
    return found


def positive_axis(axis: int, rank: int, call: ReadCall) -> int:
    if not -rank <= axis < rank:
        raise ModelFileError(f"{call.code} {call.name!r} has axis {axis} of {rank} axes.")
    return axis % rank
