"""The read functions of operators on int16 tensors with parameters."""

from __future__ import annotations

from keras_octet.tflite.read import int16, linear, window
from keras_octet.tflite.read.call import ReadFunction
from keras_octet.tflite.read.rows_int8 import ANY_DTYPE, INT8

# Layers that move or compare values do so in any type.
_AS_INT8 = (
    *ANY_DTYPE,
    "RESHAPE",
    "STRIDED_SLICE",
    "TRANSPOSE",
    "PAD",
    "PADV2",
    "CONCATENATION",
    "SELECT",
    "SELECT_V2",
    "GATHER",
    "EMBEDDING_LOOKUP",
    "SPACE_TO_BATCH_ND",
    "MAXIMUM",
    "MINIMUM",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "DEQUANTIZE",
)
INT16: dict[str, ReadFunction] = {
    **{code: INT8[code] for code in _AS_INT8},
    "CONV_2D": linear.read_conv_2d,
    "DEPTHWISE_CONV_2D": linear.read_depthwise_conv_2d,
    "FULLY_CONNECTED": linear.read_fully_connected,
    "TRANSPOSE_CONV": linear.read_transpose_conv,
    "BATCH_MATMUL": int16.read_batch_matmul,
    "ADD": int16.read_binary,
    "SUB": int16.read_binary,
    "MUL": int16.read_binary,
    "AVERAGE_POOL_2D": int16.read_pool,
    "MAX_POOL_2D": int16.read_pool,
    "MEAN": int16.read_reduction,
    "SUM": int16.read_reduction,
    "RESIZE_BILINEAR": window.read_resize,
    "RESIZE_NEAREST_NEIGHBOR": window.read_resize,
    "RELU": int16.read_relu,
    "RELU6": int16.read_relu,
    "LEAKY_RELU": int16.read_leaky_relu,
    "LOGISTIC": int16.read_activation,
    "TANH": int16.read_activation,
    "GELU": int16.read_gelu,
    "ABS": int16.read_function,
    "EXP": int16.read_function,
    "LOG": int16.read_function,
    "NEG": int16.read_function,
    "RSQRT": int16.read_function,
    "SOFTMAX": int16.read_softmax,
    "QUANTIZE": int16.read_requantize,
}
