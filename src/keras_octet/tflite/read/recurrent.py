"""RNN, UNIDIRECTIONAL_SEQUENCE_RNN and SVDF."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from keras_octet import layers
from keras_octet.layers import operators
from keras_octet.tflite.emit.codes import RNN_INPUTS, SVDF_INPUTS
from keras_octet.tflite.read.call import ReadCall, qparams_of
from keras_octet.tflite.read.stateful import Parts


def read_rnn(call: ReadCall) -> Any:
    """float32 or hybrid; one step, or a sequence."""
    parts = Parts(call, RNN_INPUTS, ["hidden_state"])
    sequence = call.code == "UNIDIRECTIONAL_SEQUENCE_RNN"
    source = call.tensor(0)
    time_major = sequence and bool(call.options.timeMajor)
    units, features = parts.matrix("kernel")
    _require_rows(parts, source.shape, 3 if sequence else 2, features)
    arguments: dict[str, Any] = {
        "units": units,
        "features": features,
        "batch_size": parts.batch_size(source.shape[1 if time_major else 0]),
        "sequence": sequence,
        "time_major": time_major,
        "activation": parts.activation(),
        "name": call.name,
    }
    if call.kind == "float":
        return parts.build(operators.FusedRNN(**arguments), source)
    return parts.build(layers.HybridRNN(**_hybrid(parts), **arguments), source)


def read_svdf(call: ReadCall) -> Any:
    """float32, hybrid or int8."""
    parts = Parts(call, SVDF_INPUTS, ["memory_state"])
    source = call.tensor(0)
    filters, features = parts.matrix("kernel")
    rank = call.options.rank
    if rank < 1 or filters % rank:
        raise parts.refuse(f"rank {rank} and {filters} filters; expected a multiple of the rank.")
    _require_rows(parts, source.shape, 2, features)
    arguments = {
        "units": filters // rank,
        "rank": rank,
        "memory": parts.matrix("time")[1],
        "features": features,
        "batch_size": parts.batch_size(source.shape[0]),
        "use_bias": "bias" in parts.weights,
        "activation": parts.activation(),
        "name": call.name,
    }
    return parts.build(_SVDF[call.kind](parts, arguments), source)


def _require_rows(parts: Parts, shape: Any, rank: int, features: int) -> None:
    if len(shape) != rank or shape[-1] != features:
        raise parts.refuse(
            f"an input of shape {shape}; expected {rank} axes, the last of {features} features."
        )


def _hybrid(parts: Parts) -> dict[str, Any]:
    asymmetric = bool(parts.call.options.asymmetricQuantizeInputs)
    return {"scales": parts.scales(), "asymmetric_inputs": asymmetric}


def _float_svdf(parts: Parts, arguments: dict[str, Any]) -> Any:
    return operators.SVDF(**arguments)


def _hybrid_svdf(parts: Parts, arguments: dict[str, Any]) -> Any:
    return layers.HybridSVDF(**_hybrid(parts), **arguments)


def _int8_svdf(parts: Parts, arguments: dict[str, Any]) -> Any:
    call = parts.call
    if call.options.fusedActivationFunction != schema.ActivationFunctionType.RELU:
        raise parts.refuse(
            f"activation {call.options.fusedActivationFunction}; expected RELU, the only one that "
            "LiteRT runs on int8."
        )
    return layers.QuantizedSVDF(
        scales=parts.scales(),
        input_qparams=[call.operand(0).qparams],
        output_qparams=call.output_qparams,
        state_qparams=[qparams_of(parts.states["memory_state"])],
        **arguments,
    )


_SVDF = {"float": _float_svdf, "hybrid": _hybrid_svdf, "int8": _int8_svdf}
