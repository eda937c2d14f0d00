"""Float convolutions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.capture.canonical import make_weighted_layer
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.float_common import fused_activation
from keras_octet.tflite.read.options import padding_of
from keras_octet.tflite.read.shapes import as_ints


def _kernel(call: ReadCall, rank: int) -> np.ndarray:
    kernel = call.constant(1)
    if kernel.ndim != rank:
        raise ModelFileError(
            f"{call.code} {call.name!r} has a kernel of shape {kernel.shape}; expected {rank} axes."
        )
    return kernel


def _layer(
    call: ReadCall, layer_class: type, source: Any, kernel: np.ndarray, bias: int, **config: Any
) -> Any:
    """The layer with its weights, called on `source`; input `bias` may be missing."""
    weights = {"kernel": kernel}
    if call.optional(bias) is not None:
        weights["bias"] = call.constant(bias).reshape(-1)
    layer = make_weighted_layer(
        layer_class,
        call.name,
        source.shape,
        weights,
        kernel_size=kernel.shape[: len(source.shape) - 2],
        padding=padding_of(call),
        activation=fused_activation(call),
        use_bias="bias" in weights,
        **config,
    )
    return layer(source)


def _strides_2d(call: ReadCall) -> dict[str, tuple[int, int]]:
    return {"strides": (call.options.strideH, call.options.strideW)}


def _dilation_2d(call: ReadCall) -> dict[str, tuple[int, int]]:
    return {"dilation_rate": (call.options.dilationHFactor, call.options.dilationWFactor)}


def read_conv_2d(call: ReadCall) -> Any:
    """Kernel `(out, h, w, in / groups)` becomes `(h, w, in / groups, out)`."""
    source, kernel = call.tensor(0), _kernel(call, 4)
    return _layer(
        call,
        keras.layers.Conv2D,
        source,
        kernel.transpose(1, 2, 3, 0),
        2,
        filters=kernel.shape[0],
        groups=max(1, source.shape[-1] // max(1, kernel.shape[3])),
        **_strides_2d(call),
        **_dilation_2d(call),
    )


def read_depthwise_conv_2d(call: ReadCall) -> Any:
    """Kernel `(1, h, w, in * multiplier)` becomes `(h, w, in, multiplier)`."""
    source, kernel = call.tensor(0), _kernel(call, 4)
    channels = source.shape[-1]
    if kernel.shape[0] != 1 or kernel.shape[3] % channels:
        raise ModelFileError(
            f"DEPTHWISE_CONV_2D {call.name!r} has a kernel of shape {kernel.shape} for "
            f"{channels} channels."
        )
    multiplier = kernel.shape[3] // channels
    return _layer(
        call,
        keras.layers.DepthwiseConv2D,
        source,
        kernel.reshape(*kernel.shape[1:3], channels, multiplier),
        2,
        depth_multiplier=multiplier,
        **_strides_2d(call),
        **_dilation_2d(call),
    )


def read_transpose_conv(call: ReadCall) -> Any:
    """Inputs are shape, kernel, image, bias; kernel `(out, h, w, in)` becomes `(h, w, out, in)`."""
    source, kernel = call.tensor(2), _kernel(call, 4)
    strides = (call.options.strideH, call.options.strideW)
    return _layer(
        call,
        keras.layers.Conv2DTranspose,
        source,
        kernel.transpose(1, 2, 0, 3),
        3,
        filters=kernel.shape[0],
        strides=strides,
        output_padding=_output_padding(call, source.shape, kernel.shape[1:3], strides),
    )


def read_conv_3d(call: ReadCall) -> Any:
    """Kernel `(d, h, w, in, out)`."""
    source, kernel, options = call.tensor(0), _kernel(call, 5), call.options
    return _layer(
        call,
        keras.layers.Conv3D,
        source,
        kernel,
        2,
        filters=kernel.shape[4],
        strides=(options.strideD, options.strideH, options.strideW),
        dilation_rate=(
            options.dilationDFactor,
            options.dilationHFactor,
            options.dilationWFactor,
        ),
    )


def read_conv_3d_transpose(call: ReadCall) -> Any:
    """Inputs are shape, kernel `(d, h, w, out, in)`, volume, bias."""
    source, kernel, options = call.tensor(2), _kernel(call, 5), call.options
    strides = (options.strideD, options.strideH, options.strideW)
    return _layer(
        call,
        keras.layers.Conv3DTranspose,
        source,
        kernel,
        3,
        filters=kernel.shape[3],
        strides=strides,
        output_padding=_output_padding(call, source.shape, kernel.shape[:3], strides),
        dilation_rate=(
            options.dilationDFactor,
            options.dilationHFactor,
            options.dilationWFactor,
        ),
    )


def _output_padding(
    call: ReadCall, source: Any, windows: Any, strides: tuple[int, ...]
) -> tuple[int, ...] | None:
    """What Keras must add at the end for the output size that the file gives; None if nothing."""
    padding = padding_of(call)
    targets = as_ints(call.constant(0))[1:-1]
    extra, usual = [], True
    for target, length, window, stride in zip(targets, source[1:-1], windows, strides, strict=True):
        plain = length * stride + (0 if padding == "same" else max(window - stride, 0))
        cropped = 2 * (window // 2) if padding == "same" else 0
        usual = usual and target == plain
        extra.append(target - ((length - 1) * stride + window - cropped))
    return None if usual else tuple(extra)
