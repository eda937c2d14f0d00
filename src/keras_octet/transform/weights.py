"""Float weights to int8 kernels and int32 biases."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.layers import QuantizedConv2DTranspose, QuantizedLinear
from keras_octet.qparams import QParams, quantize_weights, round_half_away
from keras_octet.recipe import Scheme

# Leaves room in int32 for the sum of products that is added to the bias.
LARGEST_BIAS = 2.0**30


def float_weights(layer: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a linear layer of the flat model, float32.

    A Rescaling counts as a linear layer: kernel `(channels,)`, the scale of each channel.
    """
    if isinstance(layer, keras.layers.Rescaling):
        kernel = np.broadcast_to(np.asarray(layer.scale, np.float32), (channels,))
        bias = np.broadcast_to(np.asarray(layer.offset, np.float32), (channels,))
        return kernel, bias
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    if layer.bias is None:
        return kernel, np.zeros(channels, np.float32)
    return kernel, keras.ops.convert_to_numpy(layer.bias)


def quantize_linear(
    kernel: np.ndarray,
    bias: np.ndarray,
    quantized: type[QuantizedLinear],
    source: QParams,
    scheme: Scheme,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 kernel, int32 bias and float32 scales of the channels.

    The scale of a channel is `max|w| / 127`; it grows where `bias / (input_scale * scale)` would
    not fit into int32, as in a channel whose weights have died.

    Args:
        kernel: in the layout of the Keras layer.
        bias: `(channels,)`.
        source: parameters of the input.
    """
    channels = bias.shape[0]
    # Channels last and alone, whatever the layout.
    if issubclass(quantized, QuantizedConv2DTranspose):
        flat = kernel.transpose(0, 1, 3, 2).reshape(-1, channels)
    else:
        flat = kernel.reshape(-1, channels)
    axis = 1 if scheme.weight_granularity == "per_channel" else None
    integers, scale = quantize_weights(flat, axis, num_bits=scheme.weight_bits)
    scale = np.broadcast_to(scale, (channels,)).copy()
    smallest = (np.abs(bias) / (LARGEST_BIAS * source.scale)).astype(np.float32)
    too_small = scale < smallest
    if too_small.any():
        if scheme.weight_granularity == "per_tensor":
            too_small[:] = True
            smallest[:] = smallest.max()
        scale[too_small] = smallest[too_small] * np.float32(1.0001)
        highest = 2 ** (scheme.weight_bits - 1) - 1
        integers = np.clip(round_half_away(flat / scale), -highest, highest).astype(np.int8)
    bias_scale = (np.float32(source.scale) * scale).astype(np.float32)
    integer_bias = round_half_away(bias.astype(np.float64) / bias_scale).astype(np.int32)
    if issubclass(quantized, QuantizedConv2DTranspose):
        height, width, filters, inputs = kernel.shape
        integers = integers.reshape(height, width, inputs, filters).transpose(0, 1, 3, 2)
    return integers.reshape(kernel.shape), integer_bias, scale
