"""Convolutions; a float layer and the quantized layer of the same meaning share a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.activation import with_activation
from keras_octet.tflite.emit.arithmetic import slice_tensor
from keras_octet.tflite.emit.common import (
    padding_of,
    pair,
    quantized_bias_type,
    require_channels_last,
)
from keras_octet.tflite.emit.shape import shape_of
from keras_octet.tflite.graph import Graph


def _convolve(
    layer: Any,
    graph: Graph,
    code: str,
    options: Callable[..., Any],
    inputs: list[int],
    output: int,
    **settings: int,
) -> None:
    """Add the operator `code` with the layer's padding, strides, dilation and activation.

    `options` is the options class of the operator, `settings` what it has beside these.
    """
    for axis, stride, dilation in zip(
        "DHW"[-len(layer.strides) :], layer.strides, layer.dilation_rate, strict=True
    ):
        settings[f"stride{axis}"] = stride
        settings[f"dilation{axis}Factor"] = dilation

    def emit(target: int, activation: int) -> None:
        made = options(padding=padding_of(layer), fusedActivationFunction=activation, **settings)
        graph.operator(code, inputs, [target], made)

    with_activation(layer, graph, output, emit)


def emit_conv_2d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CONV_2D; kernel `(h, w, in / groups, out)` becomes `(out, h, w, in / groups)`."""
    require_channels_last(layer)
    weights = graph.weights(
        layer, lambda k: k.transpose(3, 0, 1, 2), axis=0, channels=layer.filters
    )
    _convolve(
        layer,
        graph,
        "CONV_2D",
        schema.Conv2DOptionsT,
        [inputs[0], *weights],
        output,
        quantizedBiasType=quantized_bias_type(layer),
    )


def emit_depthwise_conv_2d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """DEPTHWISE_CONV_2D; kernel `(h, w, in, multiplier)` becomes `(1, h, w, in * multiplier)`."""
    require_channels_last(layer)
    channels = graph.static_shape(inputs[0], 3)[0] * layer.depth_multiplier
    weights = graph.weights(
        layer, lambda k: k.reshape(1, *k.shape[:2], -1), axis=3, channels=channels
    )
    _convolve(
        layer,
        graph,
        "DEPTHWISE_CONV_2D",
        schema.DepthwiseConv2DOptionsT,
        [inputs[0], *weights],
        output,
        depthMultiplier=layer.depth_multiplier,
    )


def emit_conv_2d_transpose(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """TRANSPOSE_CONV; kernel `(h, w, out, in)` becomes `(out, h, w, in)`.

    Zeros stand in the kernel for its dilation, and beyond its end when it is smaller than the
    stride under SAME padding, a case that XNNPACK does not take: unless LiteRT's built-in kernel is
    to run. Where SAME padding would begin elsewhere than in Keras, or has no output of that size
    (some values of `output_padding`), the output is cut out of the VALID one.
    """
    require_channels_last(layer)
    dilation, strides = pair(layer.dilation_rate), pair(layer.strides)
    before, after = graph.static_shape(inputs[0], 1, 2), graph.static_shape(output, 1, 2)
    int16, builtin = graph.dtype(inputs[0]) == "int16", getattr(layer, "builtin", False)
    windows = [
        (size - 1) * rate + 1 for size, rate in zip(pair(layer.kernel_size), dilation, strict=True)
    ]
    same, stored = layer.padding == "same", windows
    if same and not (builtin or int16):
        stored = [max(window, stride) for window, stride in zip(windows, strides, strict=True)]
    # Keras crops the sum of all windows, half of it (rounded down) before.
    begin = _cropped_before(before, after, strides, windows)
    cut = same and (
        begin != _cropped_before(before, after, strides, stored)
        or any(-(-size // s) != n for size, s, n in zip(after, strides, before, strict=True))
    )
    if cut:
        same, stored = False, windows
    gaps = same and any(w < stride for w, stride in zip(windows, strides, strict=True))

    def layout(kernel: np.ndarray) -> np.ndarray:
        spread = np.zeros((*stored, *kernel.shape[2:]), kernel.dtype)
        rows, columns = (
            slice(0, window, rate) for window, rate in zip(windows, dilation, strict=True)
        )
        spread[rows, columns] = kernel
        return spread.transpose(2, 0, 1, 3)

    kernel, bias = graph.weights(layer, layout, axis=0, channels=layer.filters)
    full = [
        length * stride + max(window - stride, 0)
        for length, stride, window in zip(before, strides, windows, strict=True)
    ]

    def emit(target: int, activation: int) -> None:
        batch = graph.shape(target)[0]
        whole = target
        if cut:
            whole = graph.temporary((batch, *full, layer.filters), like=target, name="whole")
        shape = graph.shape(whole)
        if int16 or (builtin and (shape[0] is None or not gaps)):
            # A shape computed from the input has any batch, and keeps the operator from being
            # delegated.
            open_batch = (None, *shape[1:]) if builtin else shape
            sizes = shape_of(graph, inputs[0], open_batch, 0)
        else:
            # XNNPACK reads height and width here and takes the batch from the input, so any batch
            # runs.
            known = [1 if size is None else size for size in shape]
            sizes = graph.constant(np.array(known, np.int32), name="shape")
        biases = [bias] if getattr(layer, "use_bias", True) else []
        graph.operator(
            "TRANSPOSE_CONV",
            [sizes, kernel, inputs[0], *biases],
            [whole],
            schema.TransposeConvOptionsT(
                padding=schema.Padding.SAME if same else schema.Padding.VALID,
                strideH=strides[0],
                strideW=strides[1],
                fusedActivationFunction=activation,
                quantizedBiasType=quantized_bias_type(layer),
            ),
        )
        if cut:
            slice_tensor(graph, whole, [0, *begin, 0], target)

    with_activation(layer, graph, output, emit)


def _cropped_before(
    lengths: Sequence[int], sizes: Sequence[int], strides: Sequence[int], windows: Sequence[int]
) -> list[int]:
    """What SAME padding takes off the beginning of the sums of all windows, on each axis."""
    axes = zip(lengths, sizes, strides, windows, strict=True)
    return [max((n - 1) * stride + window - size, 0) // 2 for n, size, stride, window in axes]


def emit_conv_3d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CONV_3D; the kernel `(d, h, w, in, out)` keeps its layout."""
    require_channels_last(layer)
    if layer.groups != 1:
        raise ExportError(f"has groups={layer.groups}; CONV_3D has no groups. Expected groups=1.")
    weights = graph.weights(layer, lambda k: k, axis=4, channels=layer.filters)
    _convolve(layer, graph, "CONV_3D", schema.Conv3DOptionsT, [inputs[0], *weights], output)


def emit_conv_3d_transpose(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """CONV_3D_TRANSPOSE; the kernel `(d, h, w, out, in)` keeps its layout."""
    require_channels_last(layer)
    kernel, bias = graph.weights(layer, lambda k: k, axis=3, channels=layer.filters)
    shape = shape_of(graph, inputs[0], graph.shape(output), 0)
    operands = [shape, kernel, inputs[0], bias]
    _convolve(layer, graph, "CONV_3D_TRANSPOSE", schema.Conv3DOptionsT, operands, output)
