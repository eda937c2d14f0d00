"""What the rounding of weights adds to each output on average, taken off the bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_octet.layers import QuantizedConv2DTranspose, QuantizedLinear
from keras_octet.layers.convolution import QuantizedConvolution
from keras_octet.windows import output_length, same_padding


def expected_shift(
    errors: np.ndarray, input_mean: np.ndarray, tap_coverage: np.ndarray
) -> np.ndarray:
    """`shift[c] = sum over i, t of errors[c, i, t] * mean[i] * coverage[t]`, float32 `(channels,)`.

    Reference: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
    Correction", ICCV 2019, with means from calibration.

    Args:
        errors: quantized weights minus float ones, `(channels, inputs, taps)`.
        input_mean: of each channel of the input, `(groups * inputs,)`. An output channel reads the
            inputs of its group.
        tap_coverage: see `tap_coverage`, `(taps,)`.
    """
    channels, inputs, _ = errors.shape
    groups = input_mean.size // inputs
    means = np.repeat(input_mean.reshape(groups, inputs), channels // groups, axis=0)
    per_input = errors @ tap_coverage.astype(np.float32)
    return np.asarray((per_input * means).sum(axis=1), np.float32)


def tap_coverage(layer: QuantizedLinear, input_shape: Sequence[int | None]) -> np.ndarray:
    """The share of output positions at which each tap of the kernel meets an input, `(taps,)`.

    Less than 1 where padding is zeros, and where a transposed convolution skips taps.
    """
    if not isinstance(layer, QuantizedConvolution):
        return np.ones(1)
    rows, columns = (_axis_coverage(layer, axis, input_shape[1 + axis]) for axis in (0, 1))
    return np.outer(rows, columns).reshape(-1)


def _axis_coverage(layer: QuantizedConvolution, axis: int, length: int | None) -> np.ndarray:
    window, stride, dilation = (
        values[axis] for values in (layer.kernel_size, layer.strides, layer.dilation_rate)
    )
    if isinstance(layer, QuantizedConv2DTranspose):
        return np.full(window, 1 / stride)
    if layer.padding != "same" or length is None:
        return np.ones(window)
    size = output_length(length, window, stride, "same", dilation)
    margins = same_padding(length, window, stride, dilation)
    assert size is not None
    assert margins is not None
    first = np.arange(size)[:, np.newaxis] * stride - margins[0]
    met = first + np.arange(window) * dilation
    return np.asarray(((met >= 0) & (met < length)).mean(axis=0))
