"""The read functions of int8 operators."""

from __future__ import annotations

from keras_octet.tflite.read import binary, boundary, linear, movement, unary, window
from keras_octet.tflite.read.call import ReadFunction

INT8: dict[str, ReadFunction] = {
    "CONV_2D": linear.read_conv_2d,
    "DEPTHWISE_CONV_2D": linear.read_depthwise_conv_2d,
    "FULLY_CONNECTED": linear.read_fully_connected,
    "TRANSPOSE_CONV": linear.read_transpose_conv,
    "BATCH_MATMUL": binary.read_batch_matmul,
    "ADD": binary.read_arithmetic,
    "SUB": binary.read_arithmetic,
    "MUL": binary.read_arithmetic,
    "MAXIMUM": binary.read_selection,
    "MINIMUM": binary.read_selection,
    "AVERAGE_POOL_2D": window.read_pool,
    "MAX_POOL_2D": window.read_pool,
    "MEAN": window.read_mean,
    "REDUCE_MAX": window.read_reduce_max,
    "RESIZE_NEAREST_NEIGHBOR": window.read_resize,
    "RESIZE_BILINEAR": window.read_resize,
    "RELU": unary.read_relu,
    "RELU6": unary.read_relu,
    "LEAKY_RELU": unary.read_leaky_relu,
    "PRELU": unary.read_prelu,
    "ELU": unary.read_elu,
    "GELU": unary.read_gelu,
    "LOGISTIC": unary.read_activation,
    "TANH": unary.read_activation,
    "HARD_SWISH": unary.read_activation,
    "SOFTMAX": unary.read_softmax,
    "RESHAPE": movement.read_reshape,
    "TRANSPOSE": movement.read_transpose,
    "STRIDED_SLICE": movement.read_strided_slice,
    "PAD": movement.read_pad,
    "PADV2": movement.read_pad,
    "CONCATENATION": movement.read_concatenation,
    "QUANTIZE": boundary.read_requantize,
    "DEQUANTIZE": boundary.read_dequantize,
}
