"""int8 operators of one tensor: activations."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.binary import parameters
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.options import activation_of

_ACTIVATIONS = {"LOGISTIC": "sigmoid", "TANH": "tanh", "HARD_SWISH": "hard_silu"}
_CLIPPED: dict[str, dict[str, Any]] = {
    "RELU": {},
    "RELU6": {"max_value": 6.0},
    "RELU_N1_TO_1": {"max_value": 1.0, "min_value": -1.0},
    "RELU_0_TO_1": {"max_value": 1.0},
}
FUNCTIONS = {
    "ABS": "abs",
    "EXP": "exp",
    "LOG": "log",
    "NEG": "negative",
    "RSQRT": "rsqrt",
    "SQRT": "sqrt",
}


def read_activation(call: ReadCall) -> Any:
    """LOGISTIC, TANH, HARD_SWISH."""
    layer = layers.QuantizedActivation(activation=_ACTIVATIONS[call.code], **parameters(call, 1))
    return layer(call.tensor(0))


def read_gelu(call: ReadCall) -> Any:
    """GELU."""
    name = "gelu_tanh" if call.options.approximate else "gelu"
    return layers.QuantizedActivation(activation=name, **parameters(call, 1))(call.tensor(0))


def read_relu(call: ReadCall) -> Any:
    """RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1."""
    return layers.QuantizedReLU(**_CLIPPED[call.code], **parameters(call, 1))(call.tensor(0))


def read_function(call: ReadCall) -> Any:
    """ABS, EXP, LOG, NEG, RSQRT, SQRT."""
    layer = layers.QuantizedFunction(function=FUNCTIONS[call.code], **parameters(call, 1))
    return layer(call.tensor(0))


def read_leaky_relu(call: ReadCall) -> Any:
    """LEAKY_RELU."""
    layer = layers.QuantizedLeakyReLU(negative_slope=call.options.alpha, **parameters(call, 1))
    return layer(call.tensor(0))


def read_elu(call: ReadCall) -> Any:
    """ELU."""
    return layers.QuantizedELU(**parameters(call, 1))(call.tensor(0))


def read_prelu(call: ReadCall) -> Any:
    """PRELU; `alpha` broadcasts against the input without its batch."""
    alpha, source = call.constant(1), call.tensor(0)
    rank = len(source.shape)
    if alpha.ndim == rank and alpha.shape[0] == 1:
        alpha = alpha[0]
    if alpha.ndim >= rank:
        raise ModelFileError(f"PRELU {call.name!r} has slopes for each sample of a batch.")
    alpha = alpha.reshape((1,) * (rank - 1 - alpha.ndim) + alpha.shape)
    layer = layers.QuantizedPReLU(
        alpha_qparams=call.operand(1).qparams,
        shared_axes=[axis for axis, size in enumerate(alpha.shape, start=1) if size == 1],
        **parameters(call, 1),
    )
    output = layer(source)
    layer.alpha.assign(alpha)
    return output


def read_softmax(call: ReadCall) -> Any:
    """SOFTMAX over the last axis."""
    layer = layers.QuantizedSoftmax(beta=call.options.beta, **parameters(call, 1))
    return layer(call.tensor(0))


def read_log_softmax(call: ReadCall) -> Any:
    """LOG_SOFTMAX over the last axis."""
    return layers.QuantizedLogSoftmax(**parameters(call, 1))(call.tensor(0))


def read_l2_normalization(call: ReadCall) -> Any:
    """L2_NORMALIZATION over the last axis."""
    if activation_of(call):
        raise ModelFileError(f"L2_NORMALIZATION {call.name!r} has a fused activation.")
    return layers.QuantizedL2Normalization(**parameters(call, 1))(call.tensor(0))
