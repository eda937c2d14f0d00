"""int8 operators of two tensors: ADD, SUB, MUL, MAXIMUM, MINIMUM, BATCH_MATMUL."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.options import activation_of

_ARITHMETIC = {
    "ADD": layers.QuantizedAdd,
    "SUB": layers.QuantizedSubtract,
    "MUL": layers.QuantizedMultiply,
}
_SELECTION = {"MAXIMUM": layers.QuantizedMaximum, "MINIMUM": layers.QuantizedMinimum}


def parameters(call: ReadCall, inputs: int) -> dict[str, Any]:
    """Name and parameters of a layer of this many quantized inputs."""
    return {
        "input_qparams": [call.operand(index).qparams for index in range(inputs)],
        "output_qparams": call.output_qparams,
        "name": call.name,
    }


def read_arithmetic(call: ReadCall) -> Any:
    """ADD, SUB, MUL; a constant operand is a layer of its own."""
    layer = _ARITHMETIC[call.code](activation=activation_of(call), **parameters(call, 2))
    return layer([call.tensor(0), call.tensor(1)])


def read_selection(call: ReadCall) -> Any:
    """MAXIMUM, MINIMUM."""
    return _SELECTION[call.code](**parameters(call, 2))([call.tensor(0), call.tensor(1)])


def read_batch_matmul(call: ReadCall) -> Any:
    """BATCH_MATMUL."""
    return layers.QuantizedMatmul(**parameters(call, 2))([call.tensor(0), call.tensor(1)])
