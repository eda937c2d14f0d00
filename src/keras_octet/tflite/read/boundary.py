"""QUANTIZE and DEQUANTIZE of int8 and uint8 tensors."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.tflite.read.call import ReadCall


def read_quantize(call: ReadCall) -> Any:
    """float32 to int8 or uint8."""
    return layers.Quantize(output_qparams=call.output_qparams, name=call.name)(call.tensor(0))


def read_requantize(call: ReadCall) -> Any:
    """int8 or uint8 to int8 or uint8 of another scale."""
    layer = layers.Requantize(
        input_qparams=[call.operand(0).qparams],
        output_qparams=call.output_qparams,
        name=call.name,
    )
    return layer(call.tensor(0))


def read_dequantize(call: ReadCall) -> Any:
    """int8 or uint8 to float32."""
    layer = layers.Dequantize(input_qparams=[call.operand(0).qparams], name=call.name)
    return layer(call.tensor(0))
