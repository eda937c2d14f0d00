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


def _bias(layer: Any, size: int) -> np.ndarray:
    bias = getattr(layer, "bias", None)
    return np.zeros(size, np.float32) if bias is None else to_numpy(bias)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _is_quantized(layer: Any) -> bool:
    return getattr(layer, "quantization_mode", None) is not None


@lowers(keras.layers.Dense)
def _dense(call: Call) -> Any:
    layer = call.operation
    if _is_quantized(layer) or call.x.shape[-1] is None:
        return None
    weights = {"kernel": to_numpy(layer.kernel), "bias": _bias(layer, layer.units)}
    y = call.emit(keras.layers.Dense, call.x, weights=weights, units=layer.units)
    return emit_activation(call, layer.activation, y)


@lowers(keras.layers.EinsumDense)
def _einsum_dense(call: Call) -> Any:
    """An equation such as "abc,cd->abd" contracts the last axis: that is a Dense layer."""
    layer = call.operation
    if _is_quantized(layer) or "." in layer.equation or call.x.shape[-1] is None:
        return None
    operands, output = layer.equation.replace(" ", "").split("->")
    data, kernel = operands.split(",")
    is_dense = len(kernel) == 2 and kernel[0] == data[-1] and output == data[:-1] + kernel[1]
    if not is_dense or len(data) < 2 or (layer.bias_axes or kernel[1]) != kernel[1]:
        return None
    weights = {"kernel": to_numpy(layer.kernel), "bias": _bias(layer, layer.kernel.shape[-1])}
    units = int(layer.kernel.shape[-1])
    y = call.emit(keras.layers.Dense, call.x, weights=weights, units=units)
    return emit_activation(call, layer.activation, y)


@lowers(keras.layers.TimeDistributed)
def _time_distributed(call: Call) -> Any:
    """A Dense layer already works on each step."""
    layer = call.operation.layer
    if type(layer) is not keras.layers.Dense or call.masked or _is_quantized(layer):
        return None
    weights = {"kernel": to_numpy(layer.kernel), "bias": _bias(layer, layer.units)}
    y = call.emit(keras.layers.Dense, call.x, weights=weights, units=layer.units)
    return emit_activation(call, layer.activation, y)


def _enter(call: Call) -> Any:
    """The input as (batch, height, width, channels); None if channels are unknown."""
    x = call.x
    rank = len(x.shape)
    if x.shape[1 if channels_first(call) else -1] is None:
        return None
    if channels_first(call):
        x = to_channels_last(call, x)
    return insert_height(call, x) if rank == 3 else x


def _leave(call: Call, y: Any) -> Any:
    if len(call.x.shape) == 3:
        y = remove_height(call, y)
    return to_channels_first(call, y) if channels_first(call) else y


def _spatial(value: Any, rank: int) -> tuple[int, int]:
    """A setting of a layer of `rank - 2` dimensions as (height, width)."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values = (1, *values) if rank == 3 else values * 2
    return int(values[0]), int(values[1])


def _kernel_2d(kernel: Any, rank: int) -> np.ndarray:
    kernel = to_numpy(kernel)
    return kernel[None] if rank == 3 else kernel


def _pad_causally(call: Call, x: Any, kernel_width: int, dilation: int) -> Any:
    padding = ((0, 0), (dilation * (kernel_width - 1), 0))
    return call.emit(keras.layers.ZeroPadding2D, x, suffix="_causal", padding=padding)


@lowers(keras.layers.Conv1D, keras.layers.Conv2D)
def _conv(call: Call) -> Any:
    layer, rank = call.operation, len(call.x.shape)
    x = None if _is_quantized(layer) or rank not in (3, 4) else _enter(call)
    if x is None:
        return None
    kernel = _kernel_2d(layer.kernel, rank)
    dilation = _spatial(layer.dilation_rate, rank)
    padding = layer.padding
    if padding == "causal":
        x, padding = _pad_causally(call, x, kernel.shape[1], dilation[1]), "valid"
    y = call.emit(
        keras.layers.Conv2D,
        x,
        weights={"kernel": kernel, "bias": _bias(layer, layer.filters)},
        filters=layer.filters,
        kernel_size=kernel.shape[:2],
        strides=_spatial(layer.strides, rank),
        padding=padding,
        dilation_rate=dilation,
        groups=layer.groups,
    )
    return emit_activation(call, layer.activation, _leave(call, y))


def _emit_depthwise(
    call: Call, x: Any, kernel: np.ndarray, bias: np.ndarray, suffix: str = "", **settings: Any
) -> Any:
    strides = settings.pop("strides")
    if kernel.shape[0] == 1 and x.shape[1] == 1:
        strides = (strides[1], strides[1])  # TensorFlow wants equal strides; the height is 1.
    return call.emit(
        keras.layers.DepthwiseConv2D,
        x,
        suffix=suffix,
        weights={"kernel": kernel, "bias": bias},
        kernel_size=kernel.shape[:2],
        depth_multiplier=kernel.shape[3],
        strides=strides,
        **settings,
    )


@lowers(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
def _depthwise(call: Call) -> Any:
    layer, rank = call.operation, len(call.x.shape)
    x = None if _is_quantized(layer) or rank not in (3, 4) else _enter(call)
    if x is None:
        return None
    kernel = _kernel_2d(layer.kernel, rank)
    dilation = _spatial(layer.dilation_rate, rank)
    padding = layer.padding
    if padding == "causal":
        x, padding = _pad_causally(call, x, kernel.shape[1], dilation[1]), "valid"
    y = _emit_depthwise(
        call,
        x,
        kernel,
        _bias(layer, kernel.shape[2] * kernel.shape[3]),
        strides=_spatial(layer.strides, rank),
        padding=padding,
        dilation_rate=dilation,
    )
    return emit_activation(call, layer.activation, _leave(call, y))


@lowers(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
def _separable(call: Call) -> Any:
    layer, rank = call.operation, len(call.x.shape)
    x = None if _is_quantized(layer) or rank not in (3, 4) else _enter(call)
    if x is None:
        return None
    depthwise = _kernel_2d(layer.depthwise_kernel, rank)
    pointwise = _kernel_2d(layer.pointwise_kernel, rank)
    dilation = _spatial(layer.dilation_rate, rank)
    padding = layer.padding
    if padding == "causal":
        x, padding = _pad_causally(call, x, depthwise.shape[1], dilation[1]), "valid"
    x = _emit_depthwise(
        call,
        x,
        depthwise,
        np.zeros(depthwise.shape[2] * depthwise.shape[3], np.float32),
        suffix="_depthwise",
        strides=_spatial(layer.strides, rank),
        padding=padding,
        dilation_rate=dilation,
    )
    y = call.emit(
        keras.layers.Conv2D,
        x,
        weights={"kernel": pointwise, "bias": _bias(layer, layer.filters)},
        filters=layer.filters,
        kernel_size=(1, 1),
    )
    return emit_activation(call, layer.activation, _leave(call, y))


@lowers(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose)
def _conv_transpose(call: Call) -> Any:
    layer, rank = call.operation, len(call.x.shape)
    x = None if _is_quantized(layer) or rank not in (3, 4) else _enter(call)
    if x is None:
        return None
    kernel = _kernel_2d(layer.kernel, rank)
    output_padding = layer.output_padding
    if output_padding is not None:
        values = (output_padding,) if isinstance(output_padding, int) else tuple(output_padding)
        if len(values) == 1:
            values = (0, *values) if rank == 3 else values * 2
        output_padding = values
    y = call.emit(
        keras.layers.Conv2DTranspose,
        x,
        weights={"kernel": kernel, "bias": _bias(layer, layer.filters)},
        filters=layer.filters,
        kernel_size=kernel.shape[:2],
        strides=_spatial(layer.strides, rank),
        padding=layer.padding,
        output_padding=output_padding,
        dilation_rate=_spatial(layer.dilation_rate, rank),
    )
    return emit_activation(call, layer.activation, _leave(call, y))


@lowers(numpy_operations.Matmul)
def _matmul(call: Call) -> Any:
    """A product with a constant matrix is a Dense layer without bias."""
    left, right = call.arguments().values()
    if not isinstance(left, keras.KerasTensor) or not isinstance(right, np.ndarray):
        return None
    if right.ndim != 2 or not call.is_float or len(left.shape) < 2:
        return None
    weights = {"kernel": to_numpy(right), "bias": np.zeros(right.shape[1], np.float32)}
    return call.emit(keras.layers.Dense, left, weights=weights, units=right.shape[1])


@lowers(nn_operations.Conv, nn_operations.DepthwiseConv)
def _conv_operation(call: Call) -> Any:
    """`keras.ops.conv` and `depthwise_conv` with a constant kernel, two dimensions."""
    operation, arguments = call.operation, call.arguments()
    kernel = arguments.get("kernel")
    if not isinstance(kernel, np.ndarray) or kernel.ndim != 4:
        return None
    x = _enter(call)
    if x is None:
        return None
    settings = {
        "strides": _pair(operation.strides),
        "padding": operation.padding,
        "dilation_rate": _pair(operation.dilation_rate),
    }
    kernel = to_numpy(kernel)
    if isinstance(operation, nn_operations.DepthwiseConv):
        bias = np.zeros(kernel.shape[2] * kernel.shape[3], np.float32)
        return _leave(call, _emit_depthwise(call, x, kernel, bias, **settings))
    y = call.emit(
        keras.layers.Conv2D,
        x,
        weights={"kernel": kernel, "bias": np.zeros(kernel.shape[3], np.float32)},
        filters=kernel.shape[3],
        kernel_size=kernel.shape[:2],
        groups=x.shape[-1] // kernel.shape[2],
        **settings,
    )
    return _leave(call, y)
