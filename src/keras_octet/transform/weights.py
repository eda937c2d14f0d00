"""Float weights to int8 kernels and int32 biases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.layers import QuantizedConv2DTranspose, QuantizedLinear
from keras_octet.qparams import round_half_away
from keras_octet.recipe import Scheme
from keras_octet.transform.bias_correction import expected_shift, tap_coverage
from keras_octet.transform.rounding import ROUNDINGS

# Leaves room in int32 for the sum of products that is added to the bias.
LARGEST_BIAS = 2.0**30
SMALLEST_STEP = 2.0**-30  # of a bias


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
    layer: QuantizedLinear,
    scheme: Scheme,
    *,
    input_mean: np.ndarray | None = None,
    input_shape: Sequence[int | None] = (),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 kernel, int32 bias and float32 scales of the channels.

    The scale of a channel is `max|w| / 127`; it grows where `bias / (input_scale * scale)` would
    not fit into int32, as in a channel whose weights have died. That of an all-zero channel is
    small: only the bias depends on it.

    Args:
        kernel: in the layout of the Keras layer.
        bias: `(channels,)`.
        layer: built, to get the weights.
        scheme: of the operation.
        input_mean: mean of each channel of the input; None leaves the bias as it is.
        input_shape: of the layer's input.
    """
    rows = _to_rows(kernel, layer, bias.size)
    input_scale = np.float32(layer.input_qparams[0].scale)
    highest = 2 ** (scheme.weight_bits - 1) - 1
    # The scales of the weights, and the smallest for which the bias fits.
    wanted = (np.abs(rows).max(axis=(1, 2), initial=0.0) / np.float32(highest)).astype(np.float32)
    smallest = (np.abs(bias) / (LARGEST_BIAS * float(input_scale))).astype(np.float32)
    if scheme.weight_granularity == "per_tensor":
        wanted[:], smallest[:] = wanted.max(), smallest.max()
    wanted[wanted < np.finfo(np.float32).tiny] = SMALLEST_STEP / input_scale
    scale = np.where(wanted < smallest, smallest * np.float32(1.0001), wanted)
    steps = rows / scale[:, np.newaxis, np.newaxis]
    integers = ROUNDINGS[scheme.weight_rounding](steps, highest)
    if scheme.bias_correction and input_mean is not None:
        errors = (integers - steps) * scale[:, np.newaxis, np.newaxis]
        bias = bias - expected_shift(errors, input_mean, tap_coverage(layer, input_shape))
    bias_scale = input_scale * scale
    integer_bias = round_half_away(bias.astype(np.float64) / bias_scale).astype(np.int32)
    return _from_rows(integers, layer, kernel.shape), integer_bias, scale


def _to_rows(kernel: np.ndarray, layer: QuantizedLinear, channels: int) -> np.ndarray:
    """`(channels, inputs, taps)`: output channels, input channels each reads, window positions."""
    if isinstance(layer, QuantizedConv2DTranspose):
        kernel = kernel.swapaxes(2, 3)
    taps = math.prod(kernel.shape[:2]) if kernel.ndim == 4 else 1
    return np.ascontiguousarray(kernel.reshape(taps, -1, channels).transpose(2, 1, 0))


def _from_rows(rows: np.ndarray, layer: QuantizedLinear, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `_to_rows`, to a kernel of this shape."""
    kernel = rows.transpose(2, 1, 0)
    if isinstance(layer, QuantizedConv2DTranspose):
        height, width, filters, inputs = shape
        return kernel.reshape(height, width, inputs, filters).swapaxes(2, 3)
    return kernel.reshape(shape)
