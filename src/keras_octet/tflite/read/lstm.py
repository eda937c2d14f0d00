"""UNIDIRECTIONAL_SEQUENCE_LSTM: up to 24 inputs, of which most are weights."""

from __future__ import annotations

import math
from typing import Any

from keras_octet import layers
from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.layers.lstm import SequenceLSTM
from keras_octet.tflite.emit.codes import LSTM_INPUTS
from keras_octet.tflite.emit.lstm import ACTIVATIONS
from keras_octet.tflite.read.call import Operand, ReadCall, qparams_of
from keras_octet.tflite.read.shapes import MAX_ELEMENTS

_ACTIVATION_NAMES = {value: name for name, value in ACTIVATIONS.items()}
_INTERMEDIATES = 5


def read_sequence_lstm(call: ReadCall) -> Any:
    """float32, hybrid or int8."""
    if len(call.inputs) not in (20, 24):
        raise ModelFileError(
            f"{call.code} {call.name!r} has {len(call.inputs)} inputs; expected 20 or 24."
        )
    source = call.tensor(0)
    if len(source.shape) != 3:
        raise ModelFileError(
            f"{call.code} {call.name!r} has an input of shape {source.shape}; expected 3 axes."
        )
    weights = {
        name: operand
        for name, operand in zip(LSTM_INPUTS, call.inputs, strict=False)
        if operand is not None and name not in ("input", "output_state", "cell_state")
    }
    layer = _KINDS[call.kind](call, weights, _arguments(call, weights, source.shape))
    _require_fit(call, layer, weights)
    output = layer(source)
    for name, operand in weights.items():
        layer.parts[name].assign(operand.constant)
    return output


def _arguments(call: ReadCall, weights: dict[str, Operand], shape: Any) -> dict[str, Any]:
    """What every kind of the layer takes."""
    options = call.options
    activation = _ACTIVATION_NAMES.get(options.fusedActivationFunction)
    # The integer kernel does not look at it; without one the others read what is not written.
    if activation is None and call.kind != "int8":
        raise ModelFileError(
            f"{call.code} {call.name!r} has activation {options.fusedActivationFunction}; expected "
            f"one of {sorted(filter(None, ACTIVATIONS))}."
        )
    if not (0 <= options.cellClip < math.inf and 0 <= options.projClip < math.inf):
        raise ModelFileError(
            f"{call.code} {call.name!r} clips at {options.cellClip} and {options.projClip}; "
            "expected 0 or more."
        )
    units, features = _matrix(call, "kernel_output")
    recurrent_units, output_size = _matrix(call, "recurrent_output")
    if recurrent_units != units or features != shape[2]:
        raise ModelFileError(
            f"{call.code} {call.name!r} has weights of {units} and {recurrent_units} units and "
            f"{features} features for an input of shape {shape}."
        )
    return {
        "units": units,
        "output_size": output_size,
        "features": features,
        "batch_size": _batch_size(call, units, output_size, shape[1 if options.timeMajor else 0]),
        "input_gate": "kernel_input" in weights,
        "peephole": "peephole_output" in weights,
        "layer_norm": "norm_forget" in weights,
        "projection": "projection" in weights,
        "projection_bias": "projection_bias" in weights,
        "time_major": bool(options.timeMajor),
        "activation": activation,
        "cell_clip": options.cellClip,
        "proj_clip": options.projClip,
        "name": call.name,
    }


def _matrix(call: ReadCall, name: str) -> tuple[int, int]:
    """The shape of a constant that must be there."""
    shape = call.constant(LSTM_INPUTS.index(name)).shape
    if len(shape) != 2 or 0 in shape:
        raise ModelFileError(
            f"{call.code} {call.name!r} has {name} of shape {shape}; expected a matrix. "
            "Diagonal recurrent weights are not supported."
        )
    return int(shape[0]), int(shape[1])


def _batch_size(call: ReadCall, units: int, output_size: int, given: int | None) -> int:
    """How many sequences the states are of, which must be as many as the input has."""
    output, cell = call.state(18), call.state(19)
    size = cell.shape[0] if cell.shape else None
    expected = [(output, (size, output_size)), (cell, (size, units))]
    if not size or size * max(units, output_size) > MAX_ELEMENTS or given not in (None, size):
        raise ModelFileError(
            f"{call.code} {call.name!r} keeps states of shapes {output.shape} and {cell.shape} for "
            f"a batch of {given}; expected a row a sequence, and at most {MAX_ELEMENTS} values."
        )
    for tensor, shape in expected:
        if tensor.shape != shape:
            raise ModelFileError(
                f"{call.code} {call.name!r} keeps {tensor.name!r} of shape {tensor.shape}; "
                f"expected {shape}."
            )
    return size


def _require_fit(call: ReadCall, layer: SequenceLSTM, weights: dict[str, Operand]) -> None:
    """Raises ModelFileError unless there are just the weights of the layer, of its shapes."""
    expected = dict(layer.part_shapes())
    if set(expected) != set(weights):
        odd = sorted(set(expected) ^ set(weights))
        raise ModelFileError(
            f"{call.code} {call.name!r} has some but not all weights of a gate or of an option: "
            f"{', '.join(odd)}."
        )
    for name, operand in weights.items():
        constant = call.constant(LSTM_INPUTS.index(name))
        dtype = layer.part_dtype(name)
        if constant.shape != expected[name] or operand.tensor.dtype != dtype:
            raise ModelFileError(
                f"{call.code} {call.name!r} has {name} of type {operand.tensor.dtype} and shape "
                f"{constant.shape}; expected {dtype} and {expected[name]}."
            )
    dtypes = (call.state(18).dtype, call.state(19).dtype)
    if dtypes != layer.state_dtypes:
        raise ModelFileError(
            f"{call.code} {call.name!r} keeps states of types {dtypes}; expected "
            f"{layer.state_dtypes}."
        )


def _float(call: ReadCall, weights: dict[str, Operand], arguments: dict[str, Any]) -> Any:
    return operators.FusedLSTM(**arguments)


def _hybrid(call: ReadCall, weights: dict[str, Operand], arguments: dict[str, Any]) -> Any:
    return layers.HybridLSTM(
        scales=_scales(call, weights),
        asymmetric_inputs=bool(call.options.asymmetricQuantizeInputs),
        **arguments,
    )


def _int8(call: ReadCall, weights: dict[str, Operand], arguments: dict[str, Any]) -> Any:
    if len(call.intermediates) != _INTERMEDIATES:
        raise ModelFileError(
            f"{call.code} {call.name!r} has {len(call.intermediates)} intermediates; expected "
            f"{_INTERMEDIATES}."
        )
    gates, hidden = call.intermediates[:4], call.intermediates[4]
    return layers.QuantizedLSTM(
        scales=_scales(call, weights),
        input_qparams=[call.operand(0).qparams],
        output_qparams=call.output_qparams,
        state_qparams=[qparams_of(call.state(18)), qparams_of(call.state(19))],
        hidden_qparams=qparams_of(hidden),
        gate_qparams=[qparams_of(x) for x in gates] if arguments["layer_norm"] else [],
        **arguments,
    )


def _scales(call: ReadCall, weights: dict[str, Operand]) -> dict[str, float]:
    """The scale of each weight that has one, as all of 8 or 16 bits have."""
    found = {}
    for name, operand in weights.items():
        if operand.tensor.quantization is None and operand.tensor.dtype not in ("int8", "int16"):
            continue
        quantization = operand.quantization
        if quantization.scale.size != 1 or quantization.zero_point.any():
            raise ModelFileError(
                f"{call.code} {call.name!r} has {name} with {quantization.scale.size} scales and "
                f"zero points {quantization.zero_point[:4]}; expected one scale and 0."
            )
        found[name] = float(quantization.scale[0])
    return found


_KINDS = {"float": _float, "hybrid": _hybrid, "int8": _int8}
