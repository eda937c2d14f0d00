"""int16 operators whose layers are not those of int8."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.tflite.read.binary import parameters, require_coarse_output
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.options import activation_of, padding_of
from keras_octet.tflite.read.unary import FUNCTIONS
from keras_octet.tflite.read.window import axes_of

_BINARY = {
    "ADD": layers.Int16Add,
    "SUB": layers.Int16Subtract,
    "MUL": layers.Int16Multiply,
}
_POOLS = {
    "AVERAGE_POOL_2D": layers.Int16AveragePooling2D,
    "MAX_POOL_2D": layers.Int16MaxPooling2D,
}
_REDUCTIONS = {"MEAN": layers.Int16Mean, "SUM": layers.Int16Sum}


def read_binary(call: ReadCall) -> Any:
    """ADD, SUB, MUL."""
    arguments = parameters(call, 2, factors=call.code == "MUL")
    layer = _BINARY[call.code](activation=activation_of(call), **arguments)
    if call.code in ("ADD", "SUB"):
        require_coarse_output(call, layer, 15)
    return layer([call.tensor(0), call.tensor(1)])


def read_batch_matmul(call: ReadCall) -> Any:
    """BATCH_MATMUL of two int16 tensors."""
    layer = layers.Int16Matmul(
        transpose_first=bool(call.options.adjX),
        transpose_second=bool(call.options.adjY),
        **parameters(call, 2),
    )
    return layer([call.tensor(0), call.tensor(1)])


def read_pool(call: ReadCall) -> Any:
    """AVERAGE_POOL_2D, MAX_POOL_2D."""
    options = call.options
    layer = _POOLS[call.code](
        pool_size=(options.filterHeight, options.filterWidth),
        strides=(options.strideH, options.strideW),
        padding=padding_of(call),
        activation=activation_of(call),
        **parameters(call, 1),
    )
    return layer(call.tensor(0))


def read_reduction(call: ReadCall) -> Any:
    """MEAN, SUM."""
    layer = _REDUCTIONS[call.code](
        axis=axes_of(call), keepdims=bool(call.options.keepDims), **parameters(call, 1)
    )
    return layer(call.tensor(0))


def read_relu(call: ReadCall) -> Any:
    """RELU, RELU6."""
    max_value = 6.0 if call.code == "RELU6" else None
    return layers.Int16ReLU(max_value=max_value, **parameters(call, 1))(call.tensor(0))


def read_leaky_relu(call: ReadCall) -> Any:
    """LEAKY_RELU."""
    layer = layers.Int16LeakyReLU(negative_slope=call.options.alpha, **parameters(call, 1))
    return layer(call.tensor(0))


def read_activation(call: ReadCall) -> Any:
    """LOGISTIC, TANH."""
    name = {"LOGISTIC": "sigmoid", "TANH": "tanh"}[call.code]
    return layers.Int16Activation(activation=name, **parameters(call, 1))(call.tensor(0))


def read_gelu(call: ReadCall) -> Any:
    """GELU."""
    name = "gelu_tanh" if call.options.approximate else "gelu"
    return layers.Int16Activation(activation=name, **parameters(call, 1))(call.tensor(0))


def read_function(call: ReadCall) -> Any:
    """ABS, EXP, LOG, NEG, RSQRT."""
    layer = layers.Int16Function(function=FUNCTIONS[call.code], **parameters(call, 1))
    return layer(call.tensor(0))


def read_softmax(call: ReadCall) -> Any:
    """SOFTMAX over the last axis."""
    layer = layers.Int16Softmax(beta=call.options.beta, **parameters(call, 1))
    return layer(call.tensor(0))


def read_requantize(call: ReadCall) -> Any:
    """QUANTIZE from int16."""
    return layers.Int16Requantize(**parameters(call, 1))(call.tensor(0))
