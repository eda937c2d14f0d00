"""Options that many operators share, as Keras spells them."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.call import ReadCall

_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: None,
    schema.ActivationFunctionType.RELU: "relu",
    schema.ActivationFunctionType.RELU6: "relu6",
    schema.ActivationFunctionType.RELU_N1_TO_1: "hard_tanh",
}
_PADDING = {schema.Padding.SAME: "same", schema.Padding.VALID: "valid"}


def activation_of(call: ReadCall) -> str | None:
    """The fused activation: None, `"relu"`, `"relu6"` or `"hard_tanh"`."""
    value = call.options.fusedActivationFunction
    if value not in _ACTIVATIONS:
        raise ModelFileError(
            f"{call.code} {call.name!r} has fused activation {value}, which is not supported."
        )
    return _ACTIVATIONS[value]


def padding_of(call: ReadCall) -> str:
    value = call.options.padding
    if value not in _PADDING:
        raise ModelFileError(f"{call.code} {call.name!r} has unknown padding {value}.")
    return _PADDING[value]
