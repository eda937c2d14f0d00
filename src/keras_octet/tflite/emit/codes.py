"""Operations of `keras.ops` that are one operator each, by operator.

The writer takes any class of a row; the reader makes the first.
"""

from __future__ import annotations

from keras_octet.capture.keras_private import math_operations as math
from keras_octet.capture.keras_private import numpy_operations as numpy

BINARY_OPERATIONS: dict[str, tuple[type, ...]] = {
    "ADD": (numpy.Add,),
    "SUB": (numpy.Subtract,),
    "MUL": (numpy.Multiply,),
    "DIV": (numpy.Divide, numpy.TrueDivide),
    "MAXIMUM": (numpy.Maximum,),
    "MINIMUM": (numpy.Minimum,),
    "FLOOR_DIV": (numpy.FloorDivide,),
    "FLOOR_MOD": (numpy.Mod,),
    "EQUAL": (numpy.Equal,),
    "NOT_EQUAL": (numpy.NotEqual,),
    "LESS": (numpy.Less,),
    "LESS_EQUAL": (numpy.LessEqual,),
    "GREATER": (numpy.Greater,),
    "GREATER_EQUAL": (numpy.GreaterEqual,),
    "LOGICAL_AND": (numpy.LogicalAnd,),
    "LOGICAL_OR": (numpy.LogicalOr,),
    "ATAN2": (numpy.Arctan2,),
    "BITWISE_XOR": (numpy.BitwiseXor,),
    "RIGHT_SHIFT": (numpy.RightShift, numpy.BitwiseRightShift),
}
UNARY_OPERATIONS: dict[str, tuple[type, ...]] = {
    "ABS": (numpy.Absolute, numpy.Abs),
    "CEIL": (numpy.Ceil,),
    "COS": (numpy.Cos,),
    "EXP": (numpy.Exp,),
    "FLOOR": (numpy.Floor,),
    "LOG": (numpy.Log,),
    "LOGICAL_NOT": (numpy.LogicalNot,),
    "NEG": (numpy.Negative,),
    "RSQRT": (math.Rsqrt,),
    "SIGN": (numpy.Sign,),
    "SIN": (numpy.Sin,),
    "SQRT": (numpy.Sqrt,),
    "SQUARE": (numpy.Square,),
    "TANH": (numpy.Tanh,),
    "ZEROS_LIKE": (numpy.ZerosLike,),
}
REDUCTIONS: dict[str, tuple[type, ...]] = {
    "MEAN": (numpy.Mean,),
    "SUM": (numpy.Sum,),
    "REDUCE_MAX": (numpy.Max, numpy.Amax),
    "REDUCE_MIN": (numpy.Min, numpy.Amin),
    "REDUCE_PROD": (numpy.Prod,),
    "REDUCE_ANY": (numpy.Any,),
    "REDUCE_ALL": (numpy.All,),
}
# By the `part` of the layer.
COMPLEX_PARTS = {"REAL": "real", "IMAG": "imag", "COMPLEX_ABS": "abs"}

# The inputs of recurrent operators in order, by the names of the layer's variables.
LSTM_INPUTS = (
    "input",
    "kernel_input",
    "kernel_forget",
    "kernel_cell",
    "kernel_output",
    "recurrent_input",
    "recurrent_forget",
    "recurrent_cell",
    "recurrent_output",
    "peephole_input",
    "peephole_forget",
    "peephole_output",
    "bias_input",
    "bias_forget",
    "bias_cell",
    "bias_output",
    "projection",
    "projection_bias",
    "output_state",
    "cell_state",
    "norm_input",
    "norm_forget",
    "norm_cell",
    "norm_output",
)
RNN_INPUTS = ("input", "kernel", "recurrent", "bias", "hidden_state")
SVDF_INPUTS = ("input", "kernel", "time", "bias", "memory_state")
