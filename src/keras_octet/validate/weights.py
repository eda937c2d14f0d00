"""The kernel of a quantized layer against the float one."""

from __future__ import annotations

import numpy as np

from keras_octet.calibrate.histogram import Histogram
from keras_octet.layers import QuantizedConv2DTranspose, QuantizedLinear
from keras_octet.transform.weights import float_weights
from keras_octet.validate.compare import ErrorSums, decibels
from keras_octet.validate.graph import Pair
from keras_octet.validate.probes import dequantized_weights
from keras_octet.validate.results import HistogramResult, WeightResult

# Fewer for a small kernel, of which most bins would be empty.
NUM_BINS = (24, 128)
HIGHEST = 127


def compare_weights(pair: Pair) -> WeightResult | None:
    """The weights of a pair whose layer has a kernel; None for others."""
    layer = pair.layer
    if not isinstance(layer, QuantizedLinear) or pair.float_layer is None:
        return None
    if not (hasattr(pair.float_layer, "kernel") or hasattr(pair.float_layer, "scale")):
        return None
    kernel, _ = float_weights(pair.float_layer, layer.bias.shape[0])
    stored, _ = dequantized_weights(layer)
    if kernel.shape != stored.shape or not np.isfinite(kernel).all():
        return None
    reference, received = (_by_channel(layer, value) for value in (kernel, stored))
    scale = np.asarray(layer.kernel_scale, np.float64)
    levels = np.abs(received / scale).max(axis=0)
    signal = (reference.astype(np.float64) ** 2).sum(axis=0)
    noise = ((reference.astype(np.float64) - received) ** 2).sum(axis=0)
    # A channel of zeros loses nothing.
    sqnr = np.array([decibels(*pair) for pair in zip(signal, noise, strict=True)])
    worst = int(np.argmin(sqnr))
    sums = ErrorSums()
    sums.update(reference, received)
    histogram = Histogram(int(np.clip(kernel.size // 8, *NUM_BINS)))
    histogram.update(kernel)
    return WeightResult(
        minimum=float(kernel.min()),
        maximum=float(kernel.max()),
        low=-HIGHEST * float(scale.max()),
        high=HIGHEST * float(scale.max()),
        smallest_high=HIGHEST * float(scale.min()),
        difference=sums.result(),
        worst_channel_sqnr=float(sqnr[worst]),
        worst_channel=worst,
        num_channels=reference.shape[1],
        dead_channels=int((levels < 0.5).sum()),
        coarse_channels=int(((levels >= 0.5) & (levels < (HIGHEST + 1) / 4 - 0.5)).sum()),
        histogram=histogram_result(histogram),
    )


def histogram_result(histogram: Histogram) -> HistogramResult:
    """The counts and edges of a histogram."""
    return HistogramResult(
        edges=tuple(float(f"{edge:.6g}") for edge in histogram.edges),
        counts=tuple(histogram.counts.tolist()),
    )


def _by_channel(layer: QuantizedLinear, kernel: np.ndarray) -> np.ndarray:
    """A kernel as `(elements, output channels)`."""
    channels = layer.bias.shape[0]
    if isinstance(layer, QuantizedConv2DTranspose):
        kernel = kernel.transpose(0, 1, 3, 2)
    return kernel.reshape(-1, channels)
