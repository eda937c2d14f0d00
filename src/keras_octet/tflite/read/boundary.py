"""QUANTIZE and DEQUANTIZE of int8, uint8 and int16 tensors."""

from __future__ import annotations

from typing import Any

from keras_octet import layers
from keras_octet.tflite.read.call import ReadCall


def read_quantize(call: ReadCall) -> Any:
    """float32 to int8, uint8 or int16."""
    kind = layers.Int16Quantize if call.outputs[0].dtype == "int16" else layers.Quantize
    return kind(output_qparams=call.output_qparams, name=call.name)(call.tensor(0))


def read_requantize(call: ReadCall) -> Any:
    """int8 or uint8 to another scale, or to int16."""
    kind = layers.Int16Requantize if call.outputs[0].dtype == "int16" else layers.Requantize
    layer = kind(
        input_qparams=[call.operand(0).qparams],
        output_qparams=call.output_qparams,
        name=call.name,
    )
    return layer(call.tensor(0))


def read_dequantize(call: ReadCall) -> Any:
    """int8, uint8 or int16 to float32."""
    layer = layers.Dequantize(input_qparams=[call.operand(0).qparams], name=call.name)
    return layer(call.tensor(0))
