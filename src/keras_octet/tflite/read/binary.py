"""int8 operators of two tensors."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.arithmetic import ADD_RATIO_RANGE, MULTIPLY_RATIO_RANGE
from keras_octet.errors import ModelFileError
from keras_octet.gemmlowp import quantize_multiplier
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


def parameters(call: ReadCall, inputs: int, *, factors: bool = False) -> dict[str, Any]:
    """Name and parameters of a layer of this many quantized inputs, which may be `factors`."""
    operands = [call.operand(index) for index in range(inputs)]
    return {
        "input_qparams": [x.factor_qparams if factors else x.qparams for x in operands],
        "output_qparams": call.output_qparams,
        "name": call.name,
    }


def read_arithmetic(call: ReadCall) -> Any:
    """ADD, SUB, MUL, DIV; a constant operand is a layer of its own."""
    layer = _ARITHMETIC[call.code](activation=activation_of(call), **parameters(call, 2))
    _require_coarse_steps(call, layer)
    if call.code == "SUB":
        require_coarse_output(call, layer, 20)
    return layer([call.tensor(0), call.tensor(1)])


def _require_coarse_steps(call: ReadCall, layer: Any) -> None:
    """Raises ModelFileError for a product or sum in such small steps that LiteRT overflows.

    It does where it computes whole vectors, and not in the few values left over.
    """
    first, second = (qparams.scale for qparams in layer.input_qparams)
    limits = {
        "MUL": (first * second, MULTIPLY_RATIO_RANGE[1], "product"),
        "ADD": (max(first, second), ADD_RATIO_RANGE[1], "larger"),
    }
    if call.code not in limits:
        return
    scale, limit, which = limits[call.code]
    ratio = scale / layer.output_qparams.scale
    if ratio >= limit:
        raise ModelFileError(
            f"{call.code} {call.name!r} has an output scale {ratio:.0f} times smaller than the "
            f"{which} of the input scales, for which LiteRT overflows."
        )


def require_coarse_output(call: ReadCall, layer: Any, bits: int, power: int = 1) -> None:
    """Raises ModelFileError for a sum, difference or square in too small steps for LiteRT.

    The built-in kernel shifts the operands, in units of twice the larger scale, by `bits`, and
    scales the result with a factor below 1: with another it overflows or ends the process.
    """
    unit = 2 * max(qparams.scale for qparams in layer.input_qparams)
    ratio = (unit / 2**bits) ** power / layer.output_qparams.scale
    if quantize_multiplier(ratio)[1] > 0:
        raise ModelFileError(
            f"{call.code} {call.name!r} has an output scale of {layer.output_qparams.scale} for "
            f"inputs of scales up to {unit / 2}, on which LiteRT overflows or ends the process."
        )


def read_plain(call: ReadCall) -> Any:
    """MAXIMUM, MINIMUM, SQUARED_DIFFERENCE."""
    layer = _PLAIN[call.code](**parameters(call, 2))
    if call.code == "SQUARED_DIFFERENCE":
        require_coarse_output(call, layer, 7, power=2)
    return layer([call.tensor(0), call.tensor(1)])


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
