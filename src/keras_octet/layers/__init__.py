"""Quantized Keras layers: int8 in, int8 out, the arithmetic of LiteRT's default CPU path."""

from keras_octet.layers.activation import (
    QuantizedActivation,
    QuantizedELU,
    QuantizedLeakyReLU,
    QuantizedPReLU,
    QuantizedReLU,
    QuantizedSoftmax,
    Requantize,
)
from keras_octet.layers.base import QuantizedLayer
from keras_octet.layers.boundary import Dequantize, Quantize
from keras_octet.layers.constant import Constant
from keras_octet.layers.convolution import (
    QuantizedConv2D,
    QuantizedConv2DTranspose,
    QuantizedDepthwiseConv2D,
)
from keras_octet.layers.elementwise import (
    QuantizedAdd,
    QuantizedMaximum,
    QuantizedMinimum,
    QuantizedMultiply,
    QuantizedSubtract,
)
from keras_octet.layers.hybrid import (
    HybridConv2D,
    HybridConv2DTranspose,
    HybridDense,
    HybridDepthwiseConv2D,
    HybridEmbedding,
    HybridMatmul,
)
from keras_octet.layers.linear import (
    QuantizedDense,
    QuantizedLinear,
    QuantizedMatmul,
    QuantizedScale,
    qparams_of_bias,
)
from keras_octet.layers.movement import (
    QuantizedConcatenate,
    QuantizedCropping2D,
    QuantizedFlatten,
    QuantizedPermute,
    QuantizedReshape,
    QuantizedResizing,
    QuantizedUpSampling2D,
    QuantizedZeroPadding2D,
)
from keras_octet.layers.pooling import (
    QuantizedAveragePooling2D,
    QuantizedGlobalMaxPooling2D,
    QuantizedMaxPooling2D,
    QuantizedMean,
)
from keras_octet.layers.rearrange import (
    QuantizedPad,
    QuantizedStridedSlice,
    QuantizedTranspose,
)

__all__ = [
    "Constant",
    "Dequantize",
    "HybridConv2D",
    "HybridConv2DTranspose",
    "HybridDense",
    "HybridDepthwiseConv2D",
    "HybridEmbedding",
    "HybridMatmul",
    "Quantize",
    "QuantizedActivation",
    "QuantizedAdd",
    "QuantizedAveragePooling2D",
    "QuantizedConcatenate",
    "QuantizedConv2D",
    "QuantizedConv2DTranspose",
    "QuantizedCropping2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "QuantizedELU",
    "QuantizedFlatten",
    "QuantizedGlobalMaxPooling2D",
    "QuantizedLayer",
    "QuantizedLeakyReLU",
    "QuantizedLinear",
    "QuantizedMatmul",
    "QuantizedMaxPooling2D",
    "QuantizedMaximum",
    "QuantizedMean",
    "QuantizedMinimum",
    "QuantizedMultiply",
    "QuantizedPReLU",
    "QuantizedPad",
    "QuantizedPermute",
    "QuantizedReLU",
    "QuantizedReshape",
    "QuantizedResizing",
    "QuantizedScale",
    "QuantizedSoftmax",
    "QuantizedStridedSlice",
    "QuantizedSubtract",
    "QuantizedTranspose",
    "QuantizedUpSampling2D",
    "QuantizedZeroPadding2D",
    "Requantize",
    "qparams_of_bias",
]
