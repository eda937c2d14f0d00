"""The table of emit functions, by class."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_octet import layers as quantized
from keras_octet.capture.keras_private import core_operations as core
from keras_octet.capture.keras_private import math_operations
from keras_octet.capture.keras_private import nn_operations as nn
from keras_octet.capture.keras_private import numpy_operations as numpy
from keras_octet.layers import operators
from keras_octet.tflite.emit import (
    activation,
    affine,
    attention,
    bridge,
    control,
    convolution,
    dense,
    elementwise,
    hybrid,
    int8,
    pooling,
    position,
    recurrent,
    resize,
    shape,
)
from keras_octet.tflite.emit.codes import BINARY_OPERATIONS, REDUCTIONS, UNARY_OPERATIONS
from keras_octet.tflite.emit.common import EmitFunction
from keras_octet.tflite.emit.operators import OPERATOR_LAYERS
from keras_octet.tflite.emit.stateful import STATEFUL_LAYERS

EMITTERS: dict[type, EmitFunction] = {}


def add_emitter(emit: EmitFunction, *classes: type) -> None:
    """Say that `emit` writes exactly `classes`; a class that has a function already is an error."""
    for cls in classes:
        if cls in EMITTERS:
            raise ValueError(f"{cls.__name__} already has an emit function.")
        EMITTERS[cls] = emit


def _add_quantizable() -> None:
    """Float layers of the flat model, each with the quantized layer of the same meaning."""
    K, Q = keras.layers, quantized
    add_emitter(dense.emit_dense, K.Dense, Q.QuantizedDense)
    add_emitter(convolution.emit_conv_2d, K.Conv2D, Q.QuantizedConv2D)
    add_emitter(convolution.emit_depthwise_conv_2d, K.DepthwiseConv2D, Q.QuantizedDepthwiseConv2D)
    add_emitter(convolution.emit_conv_2d_transpose, K.Conv2DTranspose, Q.QuantizedConv2DTranspose)
    add_emitter(dense.emit_matmul, numpy.Matmul)
    for code, pair in {
        "ADD": (K.Add, Q.QuantizedAdd),
        "SUB": (K.Subtract, Q.QuantizedSubtract),
        "MUL": (K.Multiply, Q.QuantizedMultiply),
        "MAXIMUM": (K.Maximum, Q.QuantizedMaximum),
        "MINIMUM": (K.Minimum, Q.QuantizedMinimum),
    }.items():
        add_emitter(elementwise.emit_merge(code), *pair)
    add_emitter(shape.emit_concatenate, K.Concatenate, Q.QuantizedConcatenate)
    add_emitter(
        pooling.emit_pooling_2d("AVERAGE_POOL_2D"),
        K.AveragePooling2D,
        Q.QuantizedAveragePooling2D,
    )
    add_emitter(pooling.emit_pooling_2d("MAX_POOL_2D"), K.MaxPooling2D, Q.QuantizedMaxPooling2D)
    add_emitter(
        pooling.emit_global_pooling("REDUCE_MAX"),
        K.GlobalMaxPooling1D,
        K.GlobalMaxPooling2D,
        K.GlobalMaxPooling3D,
        Q.QuantizedGlobalMaxPooling2D,
    )
    add_emitter(shape.emit_reshape, K.Reshape, Q.QuantizedReshape, K.Flatten, Q.QuantizedFlatten)
    add_emitter(shape.emit_permute, K.Permute, Q.QuantizedPermute)
    add_emitter(shape.emit_cropping_2d, K.Cropping2D, Q.QuantizedCropping2D)
    add_emitter(shape.emit_zero_padding, K.ZeroPadding2D, Q.QuantizedZeroPadding2D)
    add_emitter(
        resize.emit_resize,
        K.UpSampling2D,
        Q.QuantizedUpSampling2D,
        K.Resizing,
        Q.QuantizedResizing,
    )
    add_emitter(activation.emit_relu, K.ReLU)
    add_emitter(activation.emit_leaky_relu, K.LeakyReLU, Q.QuantizedLeakyReLU)
    add_emitter(activation.emit_prelu, K.PReLU, Q.QuantizedPReLU)
    add_emitter(activation.emit_elu, K.ELU, Q.QuantizedELU)
    add_emitter(activation.emit_activation, K.Activation, Q.QuantizedActivation)
    add_emitter(activation.emit_softmax, K.Softmax)
    # Layers that exist in one of the two worlds only, or differ in how they are described.
    add_emitter(affine.emit_rescaling, K.Rescaling)
    add_emitter(affine.emit_quantized_scale, Q.QuantizedScale)
    add_emitter(bridge.emit_constant, Q.Constant)
    add_emitter(
        pooling.emit_global_pooling("MEAN"),
        K.GlobalAveragePooling2D,
        K.GlobalAveragePooling3D,
    )
    add_emitter(pooling.emit_global_average_pooling_1d, K.GlobalAveragePooling1D)
    add_emitter(bridge.emit_quantize, Q.Quantize, Q.Requantize)
    add_emitter(bridge.emit_dequantize, Q.Dequantize)


def _add_quantized() -> None:
    """int8 layers without a float layer of the same meaning."""
    Q = quantized
    add_emitter(int8.emit_function, Q.QuantizedFunction)
    add_emitter(int8.emit_comparison, Q.QuantizedComparison)
    add_emitter(int8.emit_pair("DIV"), Q.QuantizedDivide)
    add_emitter(int8.emit_pair("SQUARED_DIFFERENCE"), Q.QuantizedSquaredDifference)
    add_emitter(int8.emit_pad, Q.QuantizedPad)
    add_emitter(int8.emit_strided_slice, operators.StridedSlice)
    add_emitter(int8.emit_matmul, Q.QuantizedMatmul)
    add_emitter(int8.emit_reduction("MEAN"), Q.QuantizedMean)
    add_emitter(int8.emit_reduction("SUM"), Q.QuantizedSum)
    add_emitter(int8.emit_reduction("REDUCE_MAX"), Q.QuantizedMax)
    add_emitter(int8.emit_reduction("REDUCE_MIN"), Q.QuantizedMin)
    add_emitter(int8.emit_relu, Q.QuantizedReLU)
    add_emitter(int8.emit_softmax, Q.QuantizedSoftmax)
    add_emitter(int8.emit_log_softmax, Q.QuantizedLogSoftmax)
    add_emitter(int8.emit_l2_normalization, Q.QuantizedL2Normalization)


def _add_int16() -> None:
    """int16 activations, int8 weights."""
    Q = quantized
    add_emitter(dense.emit_dense, Q.Int16Dense)
    add_emitter(convolution.emit_conv_2d, Q.Int16Conv2D)
    add_emitter(convolution.emit_depthwise_conv_2d, Q.Int16DepthwiseConv2D)
    add_emitter(convolution.emit_conv_2d_transpose, Q.Int16Conv2DTranspose)
    for code, cls in {
        "ADD": Q.Int16Add,
        "SUB": Q.Int16Subtract,
        "MUL": Q.Int16Multiply,
    }.items():
        add_emitter(elementwise.emit_merge(code), cls)
    add_emitter(pooling.emit_pooling_2d("AVERAGE_POOL_2D"), Q.Int16AveragePooling2D)
    add_emitter(pooling.emit_pooling_2d("MAX_POOL_2D"), Q.Int16MaxPooling2D)
    add_emitter(int8.emit_reduction("MEAN"), Q.Int16Mean)
    add_emitter(int8.emit_reduction("SUM"), Q.Int16Sum)
    add_emitter(int8.emit_function, Q.Int16Function)
    add_emitter(resize.emit_resize, Q.Int16Resizing)
    add_emitter(int8.emit_matmul, Q.Int16Matmul)
    add_emitter(activation.emit_relu, Q.Int16ReLU)
    add_emitter(activation.emit_leaky_relu, Q.Int16LeakyReLU)
    add_emitter(activation.emit_activation, Q.Int16Activation)
    add_emitter(int8.emit_softmax, Q.Int16Softmax)
    add_emitter(bridge.emit_quantize, Q.Int16Quantize, Q.Int16Requantize)


def _add_hybrid() -> None:
    """Float activations, integer weights."""
    Q = quantized
    add_emitter(dense.emit_dense, Q.HybridDense, Q.HybridBlockDense)
    add_emitter(convolution.emit_conv_2d, Q.HybridConv2D)
    add_emitter(convolution.emit_depthwise_conv_2d, Q.HybridDepthwiseConv2D)
    add_emitter(convolution.emit_conv_2d_transpose, Q.HybridConv2DTranspose)
    add_emitter(hybrid.emit_matmul, Q.HybridMatmul)
    add_emitter(hybrid.emit_embedding, Q.HybridEmbedding)


def _add_float_layers() -> None:
    """Layers that stay float in a quantized model."""
    K = keras.layers
    add_emitter(elementwise.emit_merge("ADD", average=True), K.Average)
    add_emitter(affine.emit_batch_normalization, K.BatchNormalization)
    add_emitter(affine.emit_normalization, K.Normalization)
    add_emitter(affine.emit_layer_normalization, K.LayerNormalization)
    add_emitter(affine.emit_rms_normalization, K.RMSNormalization)
    add_emitter(affine.emit_unit_normalization, K.UnitNormalization)
    add_emitter(convolution.emit_conv_3d, K.Conv3D)
    add_emitter(convolution.emit_conv_3d_transpose, K.Conv3DTranspose)
    add_emitter(dense.emit_einsum_dense, K.EinsumDense)
    add_emitter(dense.emit_dot, K.Dot)
    add_emitter(attention.emit_multi_head_attention, K.MultiHeadAttention)
    add_emitter(recurrent.emit_recurrent, K.SimpleRNN, K.LSTM, K.GRU)
    add_emitter(recurrent.emit_bidirectional, K.Bidirectional)
    add_emitter(shape.emit_embedding, K.Embedding)
    add_emitter(shape.emit_repeat_vector, K.RepeatVector)
    add_emitter(shape.emit_zero_padding, K.ZeroPadding1D, K.ZeroPadding3D)
    add_emitter(
        elementwise.emit_identity,
        K.ActivityRegularization,
        K.AlphaDropout,
        K.Dropout,
        K.GaussianDropout,
        K.GaussianNoise,
        K.Identity,
        K.SpatialDropout1D,
        K.SpatialDropout2D,
        K.SpatialDropout3D,
        core.StopGradient,
        numpy.Copy,
    )


_ACTIVATIONS: dict[str, type] = {
    "relu": nn.Relu,
    "relu6": nn.Relu6,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "silu": nn.Silu,
    "log_sigmoid": nn.LogSigmoid,
    "hard_sigmoid": nn.HardSigmoid,
    "hard_silu": nn.HardSilu,
    "hard_tanh": nn.HardTanh,
    "tanh_shrink": nn.TanhShrink,
    "selu": nn.Selu,
}


def _add_operations() -> None:
    """Operations of `keras.ops`."""

    def add_all(make: Callable[[str], EmitFunction], table: dict[str, tuple[type, ...]]) -> None:
        for code, classes in table.items():
            add_emitter(make(code), *classes)

    add_all(elementwise.emit_binary_operation, BINARY_OPERATIONS)
    add_all(elementwise.emit_unary_operation, UNARY_OPERATIONS)
    add_all(pooling.emit_reduction_operation, REDUCTIONS)
    for name, cls in _ACTIVATIONS.items():
        add_emitter(activation.emit_activation_operation(name), cls)
    add_emitter(activation.emit_gelu_operation, nn.Gelu)
    add_emitter(activation.emit_leaky_relu_operation, nn.LeakyRelu)
    add_emitter(activation.emit_elu_operation, nn.Elu)
    add_emitter(activation.emit_celu_operation, nn.Celu)
    add_emitter(activation.emit_softmax_operation, nn.Softmax)
    add_emitter(activation.emit_log_softmax_operation, nn.LogSoftmax)
    add_emitter(elementwise.emit_power, numpy.Power)
    add_emitter(elementwise.emit_cast, core.Cast)
    add_emitter(elementwise.emit_clip, numpy.Clip)
    add_emitter(elementwise.emit_where, numpy.Where)
    add_emitter(elementwise.emit_round, numpy.Round)
    add_emitter(elementwise.emit_reciprocal, numpy.Reciprocal)
    add_emitter(elementwise.emit_log1p, numpy.Log1p)
    add_emitter(elementwise.emit_scaled_log(2.0), numpy.Log2)
    add_emitter(elementwise.emit_scaled_log(10.0), numpy.Log10)
    add_emitter(pooling.emit_variance, numpy.Var)
    add_emitter(pooling.emit_standard_deviation, numpy.Std)
    add_emitter(dense.emit_einsum, numpy.Einsum)
    add_emitter(shape.emit_reshape, numpy.Reshape, numpy.ExpandDims, numpy.Squeeze, numpy.Ravel)
    add_emitter(shape.emit_transpose, numpy.Transpose)
    add_emitter(shape.emit_swapaxes, numpy.Swapaxes)
    add_emitter(shape.emit_concatenate, numpy.Concatenate)
    add_emitter(shape.emit_stack, numpy.Stack)
    add_emitter(shape.emit_split, numpy.Split)
    add_emitter(shape.emit_unstack, core.Unstack)
    add_emitter(shape.emit_get_item, numpy.GetItem)
    add_emitter(shape.emit_slice, core.Slice)
    add_emitter(shape.emit_pad_operation, numpy.Pad)
    add_emitter(shape.emit_tile, numpy.Tile)
    add_emitter(shape.emit_flip, numpy.Flip)
    add_emitter(shape.emit_take, numpy.Take)
    add_emitter(shape.emit_broadcast_to, numpy.BroadcastTo)
    add_emitter(position.emit_arg_extremum("ARG_MAX"), numpy.Argmax)
    add_emitter(position.emit_arg_extremum("ARG_MIN"), numpy.Argmin)
    add_emitter(position.emit_top_k, math_operations.TopK)
    add_emitter(position.emit_one_hot, nn.OneHot)
    add_emitter(position.emit_cumsum, numpy.Cumsum)
    add_emitter(position.emit_digitize, numpy.Digitize)
    add_emitter(position.emit_scatter, core.Scatter)


def _add_operator_layers() -> None:
    """Operators that Keras has no layer for."""
    for cls, emit in {**OPERATOR_LAYERS, **STATEFUL_LAYERS}.items():
        add_emitter(emit, cls)


def _add_control() -> None:
    """Loops, branches and variables."""
    add_emitter(control.emit_while, operators.While)
    add_emitter(control.emit_if, operators.If)
    add_emitter(control.emit_variable, operators.Variable)
    add_emitter(control.emit_read_variable, operators.ReadVariable)
    add_emitter(control.emit_assign_variable, operators.AssignVariable)


_add_quantizable()
_add_quantized()
_add_int16()
_add_hybrid()
_add_float_layers()
_add_operations()
_add_operator_layers()
_add_control()
