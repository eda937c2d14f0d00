"""int8 operators of one tensor: activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_octet import layers
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.binary import parameters
from keras_octet.tflite.read.call import ReadCall

_ACTIVATIONS = {"LOGISTIC": "sigmoid", "TANH": "tanh", "HARD_SWISH": "hard_silu"}
_MAX_VALUES = {"RELU": None, "RELU6": 6.0}


def read_activation(call: ReadCall) -> Any:
    """LOGISTIC, TANH, HARD_SWISH."""
    layer = layers.QuantizedActivation(activation=_ACTIVATIONS[call.code], **parameters(call, 1))
    return layer(call.tensor(0))


def read_gelu(call: ReadCall) -> Any:
    """GELU."""
    return layers.QuantizedActivation(activation="gelu", **parameters(call, 1))(call.tensor(0))


def read_relu(call: ReadCall) -> Any:
    """RELU, RELU6."""
    layer = layers.QuantizedReLU(max_value=_MAX_VALUES[call.code], **parameters(call, 1))
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
    alpha = call.constant(1)
    source = call.tensor(0)
    alpha = alpha.reshape((1,) * (len(source.shape) - 1 - alpha.ndim) + alpha.shape)
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
    if not np.float32(call.options.beta) == 1:
        raise ModelFileError(f"SOFTMAX {call.name!r} has beta {call.options.beta}.")
    return layers.QuantizedSoftmax(**parameters(call, 1))(call.tensor(0))
