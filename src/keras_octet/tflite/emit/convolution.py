"""Convolutions. The float Keras layer and the quantized layer of the same shape share a function."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.activation import with_activation
from keras_octet.tflite.emit.common import pair, padding_of, require_channels_last
from keras_octet.tflite.graph import Graph


def emit_conv_2d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CONV_2D; kernel `(h, w, in / groups, out)` becomes `(out, h, w, in / groups)`."""
    require_channels_last(layer)
    kernel, bias = graph.weights(
        layer, lambda k: k.transpose(3, 0, 1, 2), axis=0, channels=layer.filters
    )
    stride_h, stride_w = pair(layer.strides)
    dilation_h, dilation_w = pair(layer.dilation_rate)
    with_activation(
        layer,
        graph,
        output,
        lambda target, activation: graph.operator(
            "CONV_2D",
            [inputs[0], kernel, bias],
            [target],
            schema.Conv2DOptionsT(
                padding=padding_of(layer),
                strideH=stride_h,
                strideW=stride_w,
                dilationHFactor=dilation_h,
                dilationWFactor=dilation_w,
                fusedActivationFunction=activation,
            ),
        ),
    )


def emit_depthwise_conv_2d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """DEPTHWISE_CONV_2D; kernel `(h, w, in, multiplier)` becomes `(1, h, w, in * multiplier)`."""
    require_channels_last(layer)
    channels = graph.static_shape(inputs[0], 3)[0] * layer.depth_multiplier
    kernel, bias = graph.weights(
        layer, lambda k: k.reshape(1, *k.shape[:2], -1), axis=3, channels=channels
    )
    stride_h, stride_w = pair(layer.strides)
    dilation_h, dilation_w = pair(layer.dilation_rate)
    with_activation(
        layer,
        graph,
        output,
        lambda target, activation: graph.operator(
            "DEPTHWISE_CONV_2D",
            [inputs[0], kernel, bias],
            [target],
            schema.DepthwiseConv2DOptionsT(
                padding=padding_of(layer),
                strideH=stride_h,
                strideW=stride_w,
                depthMultiplier=layer.depth_multiplier,
                dilationHFactor=dilation_h,
                dilationWFactor=dilation_w,
                fusedActivationFunction=activation,
            ),
        ),
    )


def emit_conv_2d_transpose(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """TRANSPOSE_CONV; kernel `(h, w, out, in)` becomes `(out, h, w, in)`.

    Zeros stand in the kernel for its dilation, and beyond its end when it is smaller than the
    stride under SAME padding, a case that XNNPACK does not take.
    """
    require_channels_last(layer)
    dilation, strides = pair(layer.dilation_rate), pair(layer.strides)

    def layout(kernel: np.ndarray) -> np.ndarray:
        sizes = [
            max((size - 1) * rate + 1, stride if layer.padding == "same" else 1)
            for size, rate, stride in zip(kernel.shape[:2], dilation, strides, strict=True)
        ]
        spread = np.zeros((*sizes, *kernel.shape[2:]), kernel.dtype)
        rows, columns = (
            slice(0, (size - 1) * rate + 1, rate)
            for size, rate in zip(kernel.shape[:2], dilation, strict=True)
        )
        spread[rows, columns] = kernel
        return spread.transpose(2, 0, 1, 3)

    kernel, bias = graph.weights(layer, layout, axis=0, channels=layer.filters)
    sizes = graph.static_shape(output)
    for size, before, stride in zip(sizes, graph.static_shape(inputs[0]), strides, strict=False):
        if layer.padding == "same" and -(-size // stride) != before:
            raise ExportError(
                f"has padding='same' and output_padding={layer.output_padding!r}, which give "
                f"{size} outputs for {before} inputs at stride {stride}; expected from "
                f"{(before - 1) * stride + 1} to {before * stride}. Use another output_padding."
            )
    output_shape = _output_shape(graph, inputs[0], output)
    with_activation(
        layer,
        graph,
        output,
        lambda target, activation: graph.operator(
            "TRANSPOSE_CONV",
            [output_shape, kernel, inputs[0], bias],
            [target],
            schema.TransposeConvOptionsT(
                padding=padding_of(layer),
                strideH=strides[0],
                strideW=strides[1],
                fusedActivationFunction=activation,
            ),
        ),
    )


def _output_shape(graph: Graph, source: int, output: int) -> int:
    # XNNPACK reads height and width here and takes the batch from the input, so any batch runs.
    # A shape computed from the input would keep the operator from being delegated.
    batch, *sizes = graph.shape(output)
    return graph.constant(
        np.array([1 if batch is None else batch, *sizes], np.int32), name="output_shape"
    )


def emit_conv_3d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CONV_3D; the kernel `(d, h, w, in, out)` keeps its layout."""
    require_channels_last(layer)
    if layer.groups != 1:
        raise ExportError(f"has groups={layer.groups}; CONV_3D has no groups. Expected groups=1.")
    kernel, bias = graph.weights(layer, lambda k: k, axis=4, channels=layer.filters)
    strides, dilation = layer.strides, layer.dilation_rate
    with_activation(
        layer,
        graph,
        output,
        lambda target, activation: graph.operator(
            "CONV_3D",
            [inputs[0], kernel, bias],
            [target],
            schema.Conv3DOptionsT(
                padding=padding_of(layer),
                strideD=strides[0],
                strideH=strides[1],
                strideW=strides[2],
                dilationDFactor=dilation[0],
                dilationHFactor=dilation[1],
                dilationWFactor=dilation[2],
                fusedActivationFunction=activation,
            ),
        ),
    )
