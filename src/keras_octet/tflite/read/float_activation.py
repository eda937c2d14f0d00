"""Float activations."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.canonical import make_layer, make_weighted_layer
from keras_octet.capture.keras_private import nn_operations, numpy_operations
from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.float_common import fused_activation

ACTIVATIONS = {
    "LOGISTIC": "sigmoid",
    "TANH": "tanh",
    "HARD_SWISH": "hard_silu",
    "LOG_SOFTMAX": "log_softmax",
    "RELU_N1_TO_1": "hard_tanh",
}
_MAX_VALUES = {"RELU": None, "RELU6": 6.0, "RELU_0_TO_1": 1.0}


def read_activation(call: ReadCall) -> Any:
    """An activation that Keras has a name for."""
    layer = make_layer(keras.layers.Activation, call.name, activation=ACTIVATIONS[call.code])
    return layer(call.tensor(0))


def read_relu(call: ReadCall) -> Any:
    """RELU, RELU6, RELU_0_TO_1."""
    layer = make_layer(keras.layers.ReLU, call.name, max_value=_MAX_VALUES[call.code])
    return layer(call.tensor(0))


def read_leaky_relu(call: ReadCall) -> Any:
    """LEAKY_RELU."""
    slope = float(call.options.alpha)
    return make_layer(keras.layers.LeakyReLU, call.name, negative_slope=slope)(call.tensor(0))


def read_elu(call: ReadCall) -> Any:
    """ELU, of alpha 1."""
    return make_layer(keras.layers.ELU, call.name)(call.tensor(0))


def read_gelu(call: ReadCall) -> Any:
    """GELU, exact or approximated by tanh."""
    if call.operator.options is not None and call.options.approximate:
        return call.apply(nn_operations.Gelu, call.tensor(0), approximate=True)
    return make_layer(keras.layers.Activation, call.name, activation="gelu")(call.tensor(0))


def read_prelu(call: ReadCall) -> Any:
    """PRELU; `alpha` broadcasts against the input without its batch."""
    source, alpha = call.tensor(0), call.constant(1)
    rank = len(source.shape)
    if alpha.ndim == rank and alpha.shape[0] == 1:
        alpha = alpha[0]
    alpha = alpha.reshape((1,) * (rank - 1 - alpha.ndim) + alpha.shape)
    shared = [
        axis
        for axis, size in enumerate(alpha.shape, start=1)
        if size == 1 and source.shape[axis] != 1
    ]
    layer = make_weighted_layer(
        keras.layers.PReLU,
        call.name,
        source.shape,
        {"alpha": alpha},
        shared_axes=shared or None,
    )
    return layer(source)


def read_softmax(call: ReadCall) -> Any:
    """SOFTMAX over the last axis; a beta other than 1 is a multiplication before."""
    source, beta = call.tensor(0), float(call.options.beta)
    if beta != 1.0:
        name = call.unique(f"{call.name}_beta")
        source = numpy_operations.Multiply(name=name)(source, beta)
    return make_layer(keras.layers.Softmax, call.name)(source)


def read_l2_normalization(call: ReadCall) -> Any:
    """L2_NORMALIZATION along the last axis."""
    if fused_activation(call):
        raise ModelFileError(f"L2_NORMALIZATION {call.name!r} has a fused activation.")
    return operators.L2Normalization(name=call.name)(call.tensor(0))


def read_local_response_normalization(call: ReadCall) -> Any:
    """LOCAL_RESPONSE_NORMALIZATION."""
    options = call.options
    layer = operators.LocalResponseNormalization(
        radius=options.radius,
        bias=float(options.bias),
        alpha=float(options.alpha),
        beta=float(options.beta),
        name=call.name,
    )
    return layer(call.tensor(0))
