"""The LSTM operators: dozens of inputs, of which most are weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import keras
from ai_edge_litert import schema_py_generated as schema

from keras_octet import layers
from keras_octet.capture.canonical import make_layer
from keras_octet.capture.keras_private import numpy_operations
from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.emit.codes import LSTM_INPUTS
from keras_octet.tflite.read.call import ReadCall, qparams_of
from keras_octet.tflite.read.stateful import Parts

STATES = ("output_state", "cell_state")
# Values for each sequence that LiteRT's float kernel has left beside those of the units.
_SPARE_VALUES = {"UNIDIRECTIONAL_SEQUENCE_LSTM": 16}
_INTERMEDIATES = 5


def read_lstm(call: ReadCall) -> Any:
    """float32, hybrid or int8; one step, or a sequence."""
    sequence = call.code == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    if not sequence and call.options.kernelType != schema.LSTMKernelType.FULL:
        raise ModelFileError(
            f"LSTM {call.name!r} is of the basic kind with 5 inputs, which is not supported."
        )
    return _build(call, call.tensor(0), 3 if sequence else 2)


def read_bidirectional_lstm(call: ReadCall) -> Any:
    """As today's converters write it: an LSTM, another on the reversed sequence, both joined."""
    options, source = call.options, call.tensor(0)
    if len(call.inputs) != 48 or any(operand is not None for operand in call.inputs[39:]):
        raise ModelFileError(
            f"{call.code} {call.name!r} has {len(call.inputs)} inputs, or a second input; expected "
            "48, of which the last 9 are not there."
        )
    time = 0 if options.timeMajor else 1
    if options.mergeOutputs and time == 1 and source.shape[0] != 1:
        raise ModelFileError(
            f"{call.code} {call.name!r} joins its outputs for {source.shape[0]} sequences that are "
            "not time major, for which LiteRT reads beyond its states."
        )
    name = call.name
    call.operator_name = call.unique(f"{name}_weights")  # two layers hold them

    def direction(suffix: str, weights: slice, states: slice, source: Any) -> Any:
        inputs = [call.inputs[0], *call.inputs[weights], *call.inputs[states]]
        part = replace(call, inputs=inputs, name=call.unique(f"{name}_{suffix}"))
        return _build(part, source, 3)

    def reverse(tensor: Any, suffix: str) -> Any:
        return numpy_operations.Flip(axis=(time,), name=call.unique(f"{name}_{suffix}"))(tensor)

    forward = direction("forward", slice(1, 18), slice(35, 37), source)
    reversed_source = reverse(source, "reversed")
    backward = direction("backward", slice(18, 35), slice(37, 39), reversed_source)
    restored = reverse(backward, "restored")
    if not options.mergeOutputs:
        return [forward, restored]
    return make_layer(keras.layers.Concatenate, name, axis=2)([forward, restored])


def _build(call: ReadCall, source: Any, rank: int) -> Any:
    parts = Parts(call, LSTM_INPUTS, STATES)
    if len(call.inputs) not in (20, 24):
        raise parts.refuse(f"{len(call.inputs)} inputs; expected 20 or 24.")
    if len(source.shape) != rank:
        raise parts.refuse(f"an input of shape {source.shape}; expected {rank} axes.")
    return parts.build(_KINDS[call.kind](parts, _arguments(parts, source.shape)), source)


def _arguments(parts: Parts, shape: Any) -> dict[str, Any]:
    """What every kind of the layer takes."""
    options, weights = parts.call.options, parts.weights
    if not (0 <= options.cellClip < math.inf and 0 <= options.projClip < math.inf):
        raise parts.refuse(
            f"bounds {options.cellClip} and {options.projClip} of its values; expected 0 or more."
        )
    units, features = parts.matrix("kernel_output")
    # Diagonal matrices have one axis, and are not supported.
    recurrent_units, output_size = parts.matrix("recurrent_output")
    if recurrent_units != units or features != shape[-1]:
        raise parts.refuse(
            f"weights of {units} and {recurrent_units} units and {features} features for an input "
            f"of shape {shape}."
        )
    time_major = len(shape) == 3 and bool(options.timeMajor)
    batch_size = parts.batch_size(shape[1 if time_major else 0])
    at_once = 1 if len(shape) == 3 and not time_major else batch_size
    _require_room(parts, batch_size, at_once, units, output_size)
    # The integer kernel does not look at it; without one the others read what is not written.
    activation = parts.activation(required=parts.call.kind != "int8")
    return {
        "units": units,
        "output_size": output_size,
        "features": features,
        "batch_size": batch_size,
        "input_gate": "kernel_input" in weights,
        "peephole": "peephole_output" in weights,
        "layer_norm": "norm_forget" in weights,
        "projection": "projection" in weights,
        "projection_bias": "projection_bias" in weights,
        "sequence": len(shape) == 3,
        "time_major": time_major,
        "activation": activation,
        "cell_clip": options.cellClip,
        "proj_clip": options.projClip,
        "name": parts.call.name,
    }


def _require_room(
    parts: Parts, batch_size: int, at_once: int, units: int, output_size: int
) -> None:
    """Raises ModelFileError for a projection that LiteRT computes beyond the end of its buffer.

    The float and hybrid kernels put the projections of `at_once` sequences where they have room for
    the units of all.
    """
    call = parts.call
    if call.kind == "int8":
        return
    spare = _SPARE_VALUES.get(call.code, 0) if call.kind == "float" else 0
    if at_once * output_size > batch_size * (units + spare):
        raise parts.refuse(
            f"a projection to {output_size} values of {units} units for {batch_size} sequences, "
            f"which LiteRT writes beyond its memory; expected at most "
            f"{batch_size * (units + spare) // at_once} values."
        )


def _float(parts: Parts, arguments: dict[str, Any]) -> Any:
    return operators.FusedLSTM(**arguments)


def _hybrid(parts: Parts, arguments: dict[str, Any]) -> Any:
    asymmetric = bool(parts.call.options.asymmetricQuantizeInputs)
    return layers.HybridLSTM(scales=parts.scales(), asymmetric_inputs=asymmetric, **arguments)


def _int8(parts: Parts, arguments: dict[str, Any]) -> Any:
    call = parts.call
    if len(call.intermediates) != _INTERMEDIATES:
        raise parts.refuse(f"{len(call.intermediates)} intermediates; expected {_INTERMEDIATES}.")
    if arguments["peephole"] and arguments["output_size"] > arguments["units"]:
        raise parts.refuse("peepholes and a larger output than state, which LiteRT reads beyond.")
    gates, hidden = call.intermediates[:4], call.intermediates[4]
    return layers.QuantizedLSTM(
        scales=parts.scales(),
        input_qparams=[call.operand(0).qparams],
        output_qparams=call.output_qparams,
        state_qparams=[qparams_of(parts.states[name]) for name in STATES],
        hidden_qparams=qparams_of(hidden),
        gate_qparams=[qparams_of(x) for x in gates] if arguments["layer_norm"] else [],
        **arguments,
    )


_KINDS = {"float": _float, "hybrid": _hybrid, "int8": _int8}
