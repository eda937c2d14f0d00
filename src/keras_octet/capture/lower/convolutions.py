"""Dense layers and convolutions of one and two dimensions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.capture.canonical import to_numpy
from keras_octet.capture.keras_private import nn_operations, numpy_operations
from keras_octet.capture.lower.activations import emit_activation
from keras_octet.capture.lower.layout import (
    channels_first,
    insert_height,
    remove_height,
    to_channels_first,
    to_channels_last,
)
from keras_octet.capture.lower.registry import Call, lowers


def _bias(layer: Any) -> np.ndarray | None:
    bias = getattr(layer, "bias", None)
    return None if bias is None else to_numpy(bias)


def _weights(kernel: np.ndarray, bias: np.ndarray | None, channels: int) -> dict[str, np.ndarray]:
    """Every linear layer of a flat model has a bias."""
    return {"kernel": kernel, "bias": np.zeros(channels) if bias is None else bias}


def _is_quantized(layer: Any) -> bool:
    return getattr(layer, "quantization_mode", None) is not None


def _emit_dense(call: Call, kernel: Any, bias: np.ndarray | None) -> Any:
    kernel = to_numpy(kernel)
    units = int(kernel.shape[1])
    return call.emit(keras.layers.Dense, call.x, weights=_weights(kernel, bias, units), units=units)


def _lower_dense(call: Call, layer: Any) -> Any:
    """A layer with a kernel of shape (inputs, units) on the last axis, and its activation."""
    if _is_quantized(layer) or call.x.shape[-1] is None:
        return None
    return emit_activation(call, layer.activation, _emit_dense(call, layer.kernel, _bias(layer)))


@lowers(keras.layers.Dense)
def _dense(call: Call) -> Any:
    return _lower_dense(call, call.operation)


@lowers(keras.layers.EinsumDense)
def _einsum_dense(call: Call) -> Any:
    """An equation such as "abc,cd->abd" contracts the last axis: that is a Dense layer."""
    layer = call.operation
    if "." in layer.equation:
        return None
    operands, output = layer.equation.replace(" ", "").split("->")
    data, kernel = operands.split(",")
    is_dense = len(kernel) == 2 and kernel[0] == data[-1] and output == data[:-1] + kernel[1]
    if not is_dense or len(data) < 2 or (layer.bias_axes or kernel[1]) != kernel[1]:
        return None
    return _lower_dense(call, layer)


@lowers(keras.layers.TimeDistributed)
def _time_distributed(call: Call) -> Any:
    """A Dense layer already works on each step."""
    layer = call.operation.layer
    if type(layer) is not keras.layers.Dense or call.masked:
        return None
    return _lower_dense(call, layer)


@lowers(numpy_operations.Matmul)
def _matmul(call: Call) -> Any:
    """A product with a constant matrix is a Dense layer without bias."""
    left, right = call.arguments().values()
    if not isinstance(left, keras.KerasTensor) or not isinstance(right, np.ndarray):
        return None
    if right.ndim != 2 or not call.is_float or len(left.shape) < 2:
        return None
    return _emit_dense(call, right, None)


def _enter(call: Call) -> Any:
    """The input as (batch, height, width, channels); None if that cannot be."""
    x = call.x
    rank = len(x.shape)
    if rank not in (3, 4) or x.shape[1 if channels_first(call) else -1] is None:
        return None
    if _is_quantized(call.operation):
        return None
    if channels_first(call):
        x = to_channels_last(call, x)
    return insert_height(call, x) if rank == 3 else x


def _leave(call: Call, y: Any) -> Any:
    if len(call.x.shape) == 3:
        y = remove_height(call, y)
    return to_channels_first(call, y) if channels_first(call) else y


def _spatial(value: Any, rank: int, height: int = 1) -> tuple[int, int]:
    """A setting for `rank - 2` axes as (height, width); `height` is that of a sequence."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values = (height, *values) if rank == 3 else values * 2
    return int(values[0]), int(values[1])


def _settings(call: Call) -> dict[str, Any]:
    """Strides, padding and dilation in two dimensions."""
    operation, rank = call.operation, len(call.x.shape)
    return {
        "strides": _spatial(operation.strides, rank),
        "padding": operation.padding,
        "dilation_rate": _spatial(operation.dilation_rate, rank),
    }


def _kernel_2d(call: Call, kernel: Any) -> np.ndarray:
    kernel = to_numpy(kernel)
    return kernel[None] if len(call.x.shape) == 3 else kernel


def _emit_conv(call: Call, x: Any, kernel: Any, bias: np.ndarray | None, **settings: Any) -> Any:
    """A Conv2D; the shape of the kernel says how many groups there are."""
    kernel = _kernel_2d(call, kernel)
    filters = int(kernel.shape[3])
    return call.emit(
        keras.layers.Conv2D,
        x,
        weights=_weights(kernel, bias, filters),
        filters=filters,
        kernel_size=kernel.shape[:2],
        groups=x.shape[-1] // kernel.shape[2],
        **settings,
    )


def _emit_depthwise(
    call: Call, x: Any, kernel: Any, bias: np.ndarray | None, *, suffix: str = ""
) -> Any:
    kernel, settings = _kernel_2d(call, kernel), _settings(call)
    if kernel.shape[0] == 1 and x.shape[1] == 1:
        # TensorFlow wants equal strides; the height is 1.
        settings["strides"] = (settings["strides"][1],) * 2
    return call.emit(
        keras.layers.DepthwiseConv2D,
        x,
        suffix=suffix,
        weights=_weights(kernel, bias, kernel.shape[2] * kernel.shape[3]),
        kernel_size=kernel.shape[:2],
        depth_multiplier=kernel.shape[3],
        **settings,
    )


@lowers(keras.layers.Conv1D, keras.layers.Conv2D)
def _conv(call: Call) -> Any:
    layer, x, settings = call.operation, _enter(call), _settings(call)
    if x is None:
        return None
    if layer.padding == "causal":  # Conv1D only
        before = settings["dilation_rate"][1] * (layer.kernel_size[0] - 1)
        padding = ((0, 0), (before, 0))
        x = call.emit(keras.layers.ZeroPadding2D, x, suffix="_causal", padding=padding)
        settings["padding"] = "valid"
    y = _emit_conv(call, x, layer.kernel, _bias(layer), **settings)
    return emit_activation(call, layer.activation, _leave(call, y))


@lowers(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
def _depthwise(call: Call) -> Any:
    layer, x = call.operation, _enter(call)
    if x is None:
        return None
    y = _emit_depthwise(call, x, layer.kernel, _bias(layer))
    return emit_activation(call, layer.activation, _leave(call, y))


@lowers(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
def _separable(call: Call) -> Any:
    layer, x = call.operation, _enter(call)
    if x is None:
        return None
    x = _emit_depthwise(call, x, layer.depthwise_kernel, None, suffix="_depthwise")
    y = _emit_conv(call, x, layer.pointwise_kernel, _bias(layer))
    return emit_activation(call, layer.activation, _leave(call, y))


@lowers(nn_operations.Conv, nn_operations.DepthwiseConv)
def _conv_operation(call: Call) -> Any:
    """`keras.ops.conv` and `depthwise_conv` with a constant kernel."""
    kernel = call.arguments().get("kernel")
    x = _enter(call) if isinstance(kernel, np.ndarray) else None
    if x is None:
        return None
    if isinstance(call.operation, nn_operations.DepthwiseConv):
        return _leave(call, _emit_depthwise(call, x, kernel, None))
    return _leave(call, _emit_conv(call, x, kernel, None, **_settings(call)))


@lowers(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose)
def _conv_transpose(call: Call) -> Any:
    layer, x = call.operation, _enter(call)
    if x is None:
        return None
    kernel, output_padding = _kernel_2d(call, layer.kernel), layer.output_padding
    if output_padding is not None:
        output_padding = _spatial(output_padding, len(call.x.shape), height=0)
    y = call.emit(
        keras.layers.Conv2DTranspose,
        x,
        weights=_weights(kernel, _bias(layer), layer.filters),
        filters=layer.filters,
        kernel_size=kernel.shape[:2],
        output_padding=output_padding,
        **_settings(call),
    )
    return emit_activation(call, layer.activation, _leave(call, y))
