"""`.tflite` operators on float and integer tensors that Keras has no layer or operation for."""

from keras_octet.layers.operators.arithmetic import (
    ArgExtremum,
    BatchMatmul,
    CumulativeSum,
    FullyConnected,
    L2Normalization,
    LocalResponseNormalization,
    SquaredDifference,
    TopK,
)
from keras_octet.layers.operators.base import OperatorLayer
from keras_octet.layers.operators.blocks import (
    BatchToSpace,
    DepthToSpace,
    SpaceToBatch,
    SpaceToDepth,
)
from keras_octet.layers.operators.control import If, While
from keras_octet.layers.operators.creation import BroadcastTo, Fill
from keras_octet.layers.operators.dynamic import DynamicIndex, DynamicSlice
from keras_octet.layers.operators.images import AveragePooling2D, L2Pooling2D, ResizeImage
from keras_octet.layers.operators.matrices import MatrixDiag, MatrixSetDiag
from keras_octet.layers.operators.recurrent import SVDF, FusedLSTM, FusedRNN
from keras_octet.layers.operators.rows import SetRow, SizeOf
from keras_octet.layers.operators.slicing import (
    Gather,
    GatherND,
    MirrorPad,
    OneHot,
    ReverseSequence,
    Split,
)
from keras_octet.layers.operators.spectra import RFFT2D, ComplexPart
from keras_octet.layers.operators.strided import StridedSlice
from keras_octet.layers.operators.variables import AssignVariable, ReadVariable, Variable

__all__ = [
    "RFFT2D",
    "SVDF",
    "ArgExtremum",
    "AssignVariable",
    "AveragePooling2D",
    "BatchMatmul",
    "BatchToSpace",
    "BroadcastTo",
    "ComplexPart",
    "CumulativeSum",
    "DepthToSpace",
    "DynamicIndex",
    "DynamicSlice",
    "Fill",
    "FullyConnected",
    "FusedLSTM",
    "FusedRNN",
    "Gather",
    "GatherND",
    "If",
    "L2Normalization",
    "L2Pooling2D",
    "LocalResponseNormalization",
    "MatrixDiag",
    "MatrixSetDiag",
    "MirrorPad",
    "OneHot",
    "OperatorLayer",
    "ReadVariable",
    "ResizeImage",
    "ReverseSequence",
    "SetRow",
    "SizeOf",
    "SpaceToBatch",
    "SpaceToDepth",
    "Split",
    "SquaredDifference",
    "StridedSlice",
    "TopK",
    "Variable",
    "While",
]
