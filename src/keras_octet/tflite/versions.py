"""The version each operator declares, and the oldest runtime that knows it.

A runtime refuses an operator whose declared version is above the one it implements, so the lowest
version that describes the operator keeps a file readable by the most runtimes. The rules are those
of LiteRT's own converter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from keras_octet.tflite.graph import NO_TENSOR, Operator, Tensor

# An int8 first input raises these to version 2.
_INT8_IS_VERSION_2 = frozenset(
    [
        "SUB",
        "MAXIMUM",
        "MINIMUM",
        "CONCATENATION",
        "SOFTMAX",
        "MEAN",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "SUM",
        "RELU",
        "RELU6",
        "LOGISTIC",
        "TANH",
        "GELU",
        "PAD",
        "TRANSPOSE",
        "SLICE",
        "STRIDED_SLICE",
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
        "GATHER",
        "PACK",
        "UNPACK",
        "L2_NORMALIZATION",
        "SQUARED_DIFFERENCE",
        "RSQRT",
    ]
)
# An int16 first input raises these to this version.
_INT16_VERSIONS = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "BATCH_MATMUL": 3,
    "CONCATENATION": 3,
    "DEQUANTIZE": 3,
    "EXP": 2,
    "GELU": 2,
    "LEAKY_RELU": 2,
    "LOG": 2,
    "LOGISTIC": 3,
    "MAX_POOL_2D": 3,
    "MAXIMUM": 4,
    "MEAN": 3,
    "MINIMUM": 4,
    "PACK": 3,
    "PAD": 3,
    "PADV2": 3,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RSQRT": 2,
    "SLICE": 4,
    "SOFTMAX": 3,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TRANSPOSE": 5,
    "UNPACK": 4,
}
# The first version that accepts more than 4 dimensions.
_ABOVE_4_DIMENSIONS = {"TRANSPOSE": 4, "SLICE": 5, "STRIDED_SLICE": 4, "PAD": 4}
_ABOVE_4_WHEN_BROADCAST = {"SUB": 3, "DIV": 2, "MAXIMUM": 3, "MINIMUM": 3}


def operator_version(operator: Operator, tensors: Sequence[Tensor]) -> int:
    """The lowest version that describes `operator`."""
    rule = _RULES.get(operator.code)
    if rule is not None:
        return rule(operator, tensors)
    code = operator.code
    if not operator.inputs:
        return 1
    first = tensors[operator.inputs[0]]
    version = 2 if code in _INT8_IS_VERSION_2 and first.dtype == "int8" else 1
    if first.dtype == "int16":
        version = _INT16_VERSIONS.get(code, 1)
    if code == "QUANTIZE" and tensors[operator.outputs[0]].dtype == "int16":
        version = 2
    if len(first.shape) > 4 and code in _ABOVE_4_DIMENSIONS:
        version = max(
            version,
            6 if code == "TRANSPOSE" and len(first.shape) > 5 else _ABOVE_4_DIMENSIONS[code],
        )
    if code in _ABOVE_4_WHEN_BROADCAST:
        shapes = [tensors[i].shape for i in operator.inputs]
        if shapes[0] != shapes[1] and max(map(len, shapes)) > 4:
            version = _ABOVE_4_WHEN_BROADCAST[code]
    return version


def _per_channel(tensor: Tensor) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale.size > 1


def _conv_2d(operator: Operator, tensors: Sequence[Tensor]) -> int:
    source, kernel = (tensors[i] for i in operator.inputs[:2])
    if source.dtype == "int16" and operator.options.quantizedBiasType:
        return 8
    if source.shape[-1] != kernel.shape[-1]:
        return 6  # grouped
    if source.dtype == "int8":
        return 7 if kernel.dtype == "int4" else 3
    if source.dtype == "float32" and kernel.dtype == "int8":
        return 5 if _per_channel(kernel) else 2
    return 1


def _depthwise_conv_2d(operator: Operator, tensors: Sequence[Tensor]) -> int:
    source, kernel = (tensors[i] for i in operator.inputs[:2])
    if source.dtype == "int8":
        return 7 if kernel.dtype == "int4" else 3
    if source.dtype == "float32" and kernel.dtype == "int8":
        return 6 if _per_channel(kernel) else 4
    dilations = operator.options.dilationHFactor, operator.options.dilationWFactor
    return 1 if dilations == (1, 1) else 2


def _fully_connected(operator: Operator, tensors: Sequence[Tensor]) -> int:
    source, kernel = (tensors[i] for i in operator.inputs[:2])
    if source.dtype == "int16" and kernel.dtype == "int4":
        return 13
    if source.dtype == "float32" and kernel.dtype == "int8" and _per_channel(kernel):
        return 12
    if source.dtype == "int16" and operator.options.quantizedBiasType:
        return 11
    if len(operator.inputs) == 2:
        return 6
    if operator.options.keepNumDims:
        return 5
    if source.dtype == "int8":
        return 10 if kernel.dtype == "int4" else 4
    if source.dtype == "float32" and kernel.dtype == "int8":
        return 9 if operator.options.asymmetricQuantizeInputs else 3
    return 1


def _transpose_conv(operator: Operator, tensors: Sequence[Tensor]) -> int:
    if tensors[operator.inputs[2]].dtype == "int16" and operator.options.quantizedBiasType:
        return 5
    if operator.options.fusedActivationFunction:
        return 4
    if len(operator.inputs) == 4 and operator.inputs[3] != NO_TENSOR:
        return 3
    return 2 if tensors[operator.inputs[1]].dtype == "int8" else 1


def _batch_matmul(operator: Operator, tensors: Sequence[Tensor]) -> int:
    first, second = (tensors[i] for i in operator.inputs)
    if first.dtype in ("int8", "int16"):
        return 2 if first.dtype == "int8" else 3
    asymmetric = second.dtype == "int8" and operator.options.asymmetricQuantizeInputs
    return 4 if asymmetric else 1


def _embedding_lookup(operator: Operator, tensors: Sequence[Tensor]) -> int:
    table = tensors[operator.inputs[1]]
    return 4 if table.dtype == "int4" or _per_channel(table) else 1


def _mul(operator: Operator, tensors: Sequence[Tensor]) -> int:
    first, second, output = (tensors[i] for i in (*operator.inputs, *operator.outputs))
    quantizations = (first.quantization, second.quantization, output.quantization)
    if None not in quantizations and first.dtype != "int16":
        scales = [float(q.scale[0]) for q in quantizations if q is not None]
        if scales[0] * scales[1] / scales[2] >= 1.0:
            return 3
    return {"int64": 5, "int16": 4, "int8": 2}.get(first.dtype, 1)


def _resize(operator: Operator, tensors: Sequence[Tensor]) -> int:
    dtype = tensors[operator.inputs[0]].dtype
    if operator.options.halfPixelCenters and dtype != "int16":
        return 3
    return {"int8": 2, "int16": 4}.get(dtype, 1)


def _tile(operator: Operator, tensors: Sequence[Tensor]) -> int:
    return 3 if tensors[operator.inputs[0]].dtype == "int8" else 1


def _split(operator: Operator, tensors: Sequence[Tensor]) -> int:
    return {"int8": 2, "int32": 3, "int16": 4}.get(tensors[operator.inputs[1]].dtype, 1)


def _gather(operator: Operator, tensors: Sequence[Tensor]) -> int:
    if operator.options.batchDims:
        return 5
    return {"int8": 2, "bool": 3, "int16": 4}.get(tensors[operator.inputs[0]].dtype, 1)


def _cast(operator: Operator, tensors: Sequence[Tensor]) -> int:
    dtypes = {tensors[i].dtype for i in (*operator.inputs, *operator.outputs)}
    ladder = (({"float64", "float16"}, 5), ({"uint16"}, 4), ({"int8"}, 3), ({"uint32"}, 2))
    return next((version for kinds, version in ladder if kinds & dtypes), 1)


def _dequantize(operator: Operator, tensors: Sequence[Tensor]) -> int:
    source = tensors[operator.inputs[0]]
    if source.dtype == "int4":
        return 6
    if source.quantization is not None and source.quantization.scale.size > 1:
        return 5
    return {"int8": 2, "int16": 3, "float16": 3}.get(source.dtype, 1)


def _recurrent(
    kernel: int, *, integer: int = 1, hybrid: int = 2, asymmetric: int = 3
) -> Callable[[Operator, Sequence[Tensor]], int]:
    """By the types of the input and of input `kernel`, an integer one of float is hybrid."""

    def version(operator: Operator, tensors: Sequence[Tensor]) -> int:
        source, weights = tensors[operator.inputs[0]], tensors[operator.inputs[kernel]]
        if source.dtype == "int8":
            return integer
        if weights.dtype == "int8":
            return asymmetric if operator.options.asymmetricQuantizeInputs else hybrid
        return 1

    return version


def _by_dtype(**versions: int) -> Callable[[Operator, Sequence[Tensor]], int]:
    """The version for each dtype of the first input, 1 for others."""
    return lambda operator, tensors: versions.get(tensors[operator.inputs[0]].dtype, 1)


_RULES: dict[str, Callable[[Operator, Sequence[Tensor]], int]] = {
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transpose_conv,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "MUL": _mul,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "TILE": _tile,
    "SPLIT": _split,
    "GATHER": _gather,
    "CAST": _cast,
    "DEQUANTIZE": _dequantize,
    "ABS": _by_dtype(int8=2, int16=2, int32=5),
    "FILL": lambda operator, tensors: {"int8": 3, "int16": 3}.get(
        tensors[operator.inputs[1]].dtype, 1
    ),
    "ADD": _by_dtype(int8=2, int64=4),
    "FLOOR_DIV": _by_dtype(float32=2),
    "SIGN": _by_dtype(int32=2),
    "BROADCAST_TO": lambda operator, tensors: 2,
    "LSTM": _recurrent(2, hybrid=3, asymmetric=4),
    "RNN": _recurrent(1),
    "SVDF": _recurrent(1, integer=3, asymmetric=4),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent(2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent(1),
    "CUSTOM": lambda operator, tensors: 1,
}

# The oldest runtime for version 1, 2, ... of an operator, where that is newer than `_OLDEST`.
# What LiteRT lists no runtime for counts as the one before (the list has gaps upstream too).
_OLDEST = "1.15.0"
_RUNTIMES: dict[str, tuple[str, ...]] = {
    "ABS": ("", "2.4.0", "2.6.0", "2.6.0", "2.12.0"),
    "ADD": ("", "", "2.4.0", "2.6.0"),
    "ASSIGN_VARIABLE": ("2.6.0",),
    "ATAN2": ("2.10.0",),
    "AVERAGE_POOL_2D": ("", "", "2.3.0"),
    "BATCH_MATMUL": ("2.3.0", "2.3.0", "2.4.0", "2.5.0"),
    "BITWISE_XOR": ("2.13.0",),
    "BROADCAST_TO": ("2.5.0", "2.5.0"),
    "BUCKETIZE": ("2.8.0",),
    "CALL_ONCE": ("2.6.0",),
    "CAST": ("", "2.7.0", "2.8.0", "2.9.0", "2.17.0"),
    "COMPLEX_ABS": ("2.5.0",),
    "CONCATENATION": ("", "", "2.3.0"),
    "CONV_2D": ("", "", "", "2.3.0", "2.4.0", "2.9.0", "2.11.0", "2.15.0"),
    "CONV_3D": ("2.5.0",),
    "CONV_3D_TRANSPOSE": ("2.6.0",),
    "CUMSUM": ("2.4.0",),
    "DEPTH_TO_SPACE": ("2.1.0",),
    "DEPTHWISE_CONV_2D": ("", "", "", "2.2.0", "2.3.0", "2.3.0", "2.11.0"),
    "DEQUANTIZE": ("", "", "", "2.2.0", "2.7.0", "2.18.0"),
    "DIV": ("", "2.3.0"),
    "EMBEDDING_LOOKUP": ("", "", "", "2.18.0"),
    "FULLY_CONNECTED": (
        "",
        "",
        "",
        "",
        "2.0.0",
        "2.1.0",
        "2.3.0",
        "2.3.0",
        "2.3.0",
        "2.11.0",
        "2.15.0",
        "2.17.0",
        "2.18.0",
    ),
    "GATHER": ("", "", "", "2.4.0", "2.5.0"),
    "GELU": ("2.9.0", "2.9.0"),
    "HARD_SWISH": ("1.15.0",),
    "IMAG": ("2.5.0",),
    "LEAKY_RELU": ("", "2.3.0"),
    "LOGISTIC": ("", "", "2.3.0"),
    "LSTM": ("", "", "", "2.3.0"),
    "MAXIMUM": ("", "", "2.3.0", "2.3.0"),
    "MAX_POOL_2D": ("", "", "2.3.0"),
    "MEAN": ("", "", "2.4.0"),
    "MINIMUM": ("", "", "2.3.0", "2.3.0"),
    "MUL": ("", "", "1.15.0", "2.3.0", "2.6.0"),
    "PACK": ("", "", "2.3.0"),
    "PAD": ("", "", "2.4.0", "2.6.0"),
    "PADV2": ("", "", "2.4.0", "2.6.0"),
    "REAL": ("2.5.0",),
    "READ_VARIABLE": ("2.6.0",),
    "REDUCE_ALL": ("2.6.0",),
    "REDUCE_MAX": ("", "", "2.5.0"),
    "REDUCE_MIN": ("", "", "2.5.0"),
    "REDUCE_PROD": ("", "2.6.0"),
    "RELU": ("", "2.1.0", "2.5.0"),
    "RELU6": ("", "", "2.5.0"),
    "RELU_0_TO_1": ("2.10.0",),
    "RESIZE_BILINEAR": ("", "", "2.2.0"),
    "RESIZE_NEAREST_NEIGHBOR": ("", "", "2.3.0"),
    "RFFT2D": ("2.5.0",),
    "RIGHT_SHIFT": ("2.14.0",),
    "RNN": ("", "", "2.3.0"),
    "RSQRT": ("", "2.5.0"),
    "SCATTER_ND": ("2.1.0",),
    "SELECT_V2": ("2.2.0",),
    "SIGN": ("2.11.0", "2.12.0"),
    "SLICE": ("", "", "", "2.4.0", "2.5.0"),
    "SOFTMAX": ("", "", "2.3.0"),
    "SQUARED_DIFFERENCE": ("", "2.5.0"),
    "STRIDED_SLICE": ("", "", "2.1.0", "2.2.0"),
    "SUB": ("", "", "2.3.0", "2.4.0", "2.4.0"),
    "SVDF": ("", "", "2.2.0", "2.3.0"),
    "TANH": ("", "", "2.3.0"),
    "TILE": ("", "2.2.0", "2.8.0"),
    "TRANSPOSE": ("", "", "", "2.3.0", "2.4.0", "2.12.0"),
    "TRANSPOSE_CONV": ("", "2.2.0", "2.3.0", "2.13.0", "2.15.0"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("", "", "2.3.0"),
    "UNIDIRECTIONAL_SEQUENCE_RNN": ("", "", "2.3.0"),
    "UNPACK": ("", "", "2.2.0", "2.3.0"),
    "VAR_HANDLE": ("2.6.0",),
}


def minimum_runtime(operators: Iterable[tuple[str, int]]) -> str:
    """The oldest runtime that knows all of `(operator, version)`, such as `"2.3.0"`."""
    found = [_OLDEST]
    for code, version in operators:
        known = _RUNTIMES.get(code, ())
        if known:
            found.append(known[min(version, len(known)) - 1] or _OLDEST)
    return max(found, key=lambda text: tuple(map(int, text.split("."))))
