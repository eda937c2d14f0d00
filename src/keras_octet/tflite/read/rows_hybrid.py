"""The read functions of operators on float tensors with integer weights."""

from __future__ import annotations

from keras_octet.tflite.read import hybrid, linear
from keras_octet.tflite.read.call import ReadFunction

HYBRID: dict[str, ReadFunction] = {
    "CONV_2D": linear.read_conv_2d,
    "DEPTHWISE_CONV_2D": linear.read_depthwise_conv_2d,
    "FULLY_CONNECTED": linear.read_fully_connected,
    "TRANSPOSE_CONV": linear.read_transpose_conv,
    "BATCH_MATMUL": hybrid.read_matmul,
    "EMBEDDING_LOOKUP": hybrid.read_embedding_lookup,
}
# With a scale for each block of a weight.
BLOCKWISE: dict[str, ReadFunction] = {"FULLY_CONNECTED": linear.read_fully_connected}
