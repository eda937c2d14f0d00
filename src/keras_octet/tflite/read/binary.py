"""int8 operators of two tensors."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.arithmetic import MULTIPLY_RATIO_RANGE
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.options import activation_of

_ARITHMETIC = {
    "ADD": layers.QuantizedAdd,
    "SUB": layers.QuantizedSubtract,
    "MUL": layers.QuantizedMultiply,
    "DIV": layers.QuantizedDivide,
}
_PLAIN = {
    "MAXIMUM": layers.QuantizedMaximum,
    "MINIMUM": layers.QuantizedMinimum,
    "SQUARED_DIFFERENCE": layers.QuantizedSquaredDifference,
}


def parameters(call: ReadCall, inputs: int) -> dict[str, Any]:
    """Name and parameters of a layer of this many quantized inputs."""
    return {
        "input_qparams": [call.operand(index).qparams for index in range(inputs)],
        "output_qparams": call.output_qparams,
        "name": call.name,
    }


def read_arithmetic(call: ReadCall) -> Any:
    """ADD, SUB, MUL, DIV; a constant operand is a layer of its own."""
    layer = _ARITHMETIC[call.code](activation=activation_of(call), **parameters(call, 2))
    if call.code == "MUL":
        _check_product(call, layer)
    return layer([call.tensor(0), call.tensor(1)])


def _check_product(call: ReadCall, layer: Any) -> None:
    """Raises ModelFileError for a product in so small steps that LiteRT overflows 16 bits."""
    first, second = layer.input_qparams
    ratio = first.scale * second.scale / layer.output_qparams.scale
    if ratio >= MULTIPLY_RATIO_RANGE[1]:
        raise ModelFileError(
            f"MUL {call.name!r} has an output scale {ratio:.0f} times smaller than the product of "
            "the input scales, for which LiteRT overflows."
        )


def read_plain(call: ReadCall) -> Any:
    """MAXIMUM, MINIMUM, SQUARED_DIFFERENCE."""
    return _PLAIN[call.code](**parameters(call, 2))([call.tensor(0), call.tensor(1)])


def read_comparison(call: ReadCall) -> Any:
    """EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL."""
    qparams = [call.operand(index).qparams for index in (0, 1)]
    if max(q.scale for q in qparams) >= 1:
        raise ModelFileError(
            f"{call.code} {call.name!r} compares tensors of scale 1 or more, on which LiteRT ends "
            "the process."
        )
    layer = layers.QuantizedComparison(
        comparison=call.code.lower(), input_qparams=qparams, name=call.name
    )
    return layer([call.tensor(0), call.tensor(1)])


def read_batch_matmul(call: ReadCall) -> Any:
    """BATCH_MATMUL."""
    right = call.operand(1).tensor.quantization
    if right is not None and right.scale.size > 1:
        raise ModelFileError(
            f"BATCH_MATMUL {call.name!r} has a scale for each channel of its second operand, which "
            "LiteRT multiplies by 0."
        )
    layer = layers.QuantizedMatmul(
        transpose_first=bool(call.options.adjX),
        transpose_second=bool(call.options.adjY),
        **parameters(call, 2),
    )
    return layer([call.tensor(0), call.tensor(1)])
