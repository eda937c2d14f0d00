"""`y = scale * x + offset`, per tensor or per channel, and the normalizations that are that."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.arithmetic import binary, cast, reduce, unary
from keras_octet.tflite.emit.common import fused_activation, positive_axes
from keras_octet.tflite.emit.dense import l2_normalize
from keras_octet.tflite.graph import Graph, size_of, to_numpy


def affine(graph: Graph, source: int, scale: np.ndarray, offset: np.ndarray, output: int) -> None:
    """MUL and ADD with float32 constants; the one that does nothing is left out."""
    scale, offset = np.asarray(scale, np.float32), np.asarray(offset, np.float32)
    has_scale, has_offset = bool((scale != 1).any()), bool((offset != 0).any())
    source = cast(graph, source, "float32")
    if not has_scale and not has_offset:
        graph.alias(source, output)
        return
    if has_scale:
        constant = graph.constant(scale, name="scale")
        source = binary(graph, "MUL", source, constant, None if has_offset else output)
    if has_offset:
        binary(graph, "ADD", source, graph.constant(offset, name="offset"), output)


def emit_rescaling(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`scale * x + offset`, each a number or one value per channel."""
    affine(graph, inputs[0], np.asarray(layer.scale), np.asarray(layer.offset), output)


def emit_batch_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`(x - mean) / sqrt(variance + epsilon) * gamma + beta` as one MUL and one ADD."""
    variance = to_numpy(layer.moving_variance).astype(np.float64)
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.gamma is not None:
        scale = scale * to_numpy(layer.gamma)
    offset = -to_numpy(layer.moving_mean) * scale
    if layer.beta is not None:
        offset = offset + to_numpy(layer.beta)
    rank = graph.rank(inputs[0])
    axis = layer.axis % rank
    shape = (-1,) + (1,) * (rank - 1 - axis)
    affine(graph, inputs[0], scale.reshape(shape), offset.reshape(shape), output)


def emit_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`(x - mean) / max(sqrt(variance), epsilon)`, or its inverse."""
    mean = to_numpy(layer.mean).astype(np.float64)
    deviation = np.maximum(np.sqrt(to_numpy(layer.variance).astype(np.float64)), 1e-7)
    if getattr(layer, "invert", False):
        affine(graph, inputs[0], deviation, mean, output)
    else:
        affine(graph, inputs[0], 1.0 / deviation, -mean / deviation, output)


def emit_quantized_scale(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """DEPTHWISE_CONV_2D with a 1x1 kernel, between reshapes unless the input has rank 4."""
    shape = graph.shape(inputs[0])
    channels = graph.static_shape(inputs[0], len(shape) - 1)[0]
    kernel, bias = graph.weights(layer, lambda k: k.reshape(1, 1, 1, -1), axis=3, channels=channels)
    source, target = inputs[0], output
    if len(shape) != 4:
        middle = size_of(shape[1:-1]) if len(shape) > 2 else 1
        flat = (shape[0], 1, middle, channels)
        source = graph.reshape(source, flat)
        target = graph.temporary(flat, like=output, name="scaled")
    graph.operator(
        "DEPTHWISE_CONV_2D",
        [source, kernel, bias],
        [target],
        schema.DepthwiseConv2DOptionsT(
            padding=schema.Padding.VALID,
            strideH=1,
            strideW=1,
            depthMultiplier=1,
            fusedActivationFunction=fused_activation(layer),
        ),
    )
    if target != output:
        graph.reshape(target, shape, output=output)


def emit_layer_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`(x - mean) * rsqrt(variance + epsilon) * gamma + beta`, moments of each sample."""
    source = inputs[0]
    shape = graph.shape(source)
    axes = positive_axes(layer.axis, len(shape))
    mean = reduce(graph, "MEAN", source, axes, True)
    variance = reduce(graph, "MEAN", binary(graph, "SQUARED_DIFFERENCE", source, mean), axes, True)
    inverse = unary(graph, "RSQRT", binary(graph, "ADD", variance, float(layer.epsilon)))
    centred = binary(graph, "SUB", source, mean)
    gain = _along(graph, getattr(layer, "gamma", None), axes, shape, "gamma")
    shift = _along(graph, getattr(layer, "beta", None), axes, shape, "beta")
    steps = [("MUL", inverse), ("MUL", gain), ("ADD", shift)]
    _chain(graph, centred, [(code, value) for code, value in steps if value is not None], output)


def emit_rms_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`x * rsqrt(mean(x ** 2) + epsilon) * scale`."""
    source = inputs[0]
    shape = graph.shape(source)
    axes = positive_axes(layer.axis, len(shape))
    power = reduce(graph, "MEAN", unary(graph, "SQUARE", source), axes, True)
    inverse = unary(graph, "RSQRT", binary(graph, "ADD", power, float(layer.epsilon)))
    gain = _along(graph, getattr(layer, "scale", None), axes, shape, "scale")
    steps = [("MUL", inverse), ("MUL", gain)]
    _chain(graph, source, [(code, value) for code, value in steps if value is not None], output)


def emit_unit_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`x / |x|` along one axis."""
    axes = positive_axes(layer.axis, graph.rank(inputs[0]))
    if len(axes) != 1:
        raise ExportError(f"normalizes over axes {layer.axis!r}; expected one axis.")
    l2_normalize(graph, inputs[0], axes[0], output)


def _along(
    graph: Graph, variable: Any, axes: tuple[int, ...], shape: tuple[int | None, ...], name: str
) -> int | None:
    """A weight that runs along `axes` as a constant that broadcasts against `shape`."""
    if variable is None:
        return None
    sizes = [shape[i] if i in axes else 1 for i in range(axes[0], len(shape))]
    return graph.constant(to_numpy(variable).reshape([size or 1 for size in sizes]), name=name)


def _chain(graph: Graph, source: int, steps: list[tuple[str, int]], output: int) -> None:
    for position, (code, value) in enumerate(steps):
        last = position == len(steps) - 1
        source = binary(graph, code, source, value, output if last else None)
