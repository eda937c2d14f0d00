"""Layer by layer: accumulated error, own error, ranges, clipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.calibrate.histogram import Histogram
from keras_octet.calibrate.ranges import NUM_STEPS, mse_range
from keras_octet.calibrate.run import MEMORY_BUDGET
from keras_octet.capture.graph import tensor_name
from keras_octet.layers import QuantizedLayer, QuantizedLinear
from keras_octet.ops import fixed_output
from keras_octet.qparams import QParams
from keras_octet.validate.compare import ChannelRange, ErrorSums, decibels
from keras_octet.validate.graph import Pair
from keras_octet.validate.probes import Probe, float_probe, quantized_probe
from keras_octet.validate.results import ActivationResult, LayerResult
from keras_octet.validate.weights import compare_weights, histogram_result

# Elements of a tensor that go into its histogram from each batch, at most.
HISTOGRAM_SAMPLE = 1 << 16
NUM_BINS = 2048
NUM_SHOWN_BINS = 128
# A channel on fewer levels than these has lost most of its detail.
COARSE_LEVELS = 8


class LayerComparison:
    """Compares all layers of two models, batch by batch, in constant memory.

    Args:
        flat_model: the float model, as `capture` gives it.
        quantized: the quantized model.
        pairs: what to compare, from `match_layers`.
        reasons: why a layer stayed float, by name.
    """

    def __init__(
        self,
        flat_model: keras.Model,
        quantized: keras.Model,
        pairs: Sequence[Pair],
        reasons: dict[str, str],
    ) -> None:
        self._rows = [_Row(pair, reasons.get(pair.name, "")) for pair in pairs]
        self._float: Probe = float_probe(flat_model, pairs)
        self._quantized: Probe = quantized_probe(quantized, pairs)
        fixed = next((t.shape[0] for t in flat_model.inputs if t.shape[0] is not None), None)
        bytes_per_sample = self._float.bytes_per_sample + self._quantized.bytes_per_sample
        self._size = fixed or max(1, MEMORY_BUDGET // max(bytes_per_sample, 1))

    def update(
        self, inputs: list[np.ndarray], quantized_inputs: list[np.ndarray], num_samples: int
    ) -> None:
        """Add the first `num_samples` of a batch, given as each model reads it."""
        for start in range(0, num_samples, self._size):
            part = slice(start, start + self._size)
            reference = self._float([array[part] for array in inputs])
            received = self._quantized([array[part] for array in quantized_inputs])
            num_run = len(inputs[0][part])
            wanted = min(self._size, num_samples - start)
            for row in self._rows:
                name = row.pair.name
                arrays = [
                    _first(array, wanted, num_run)
                    for array in (
                        reference["float", name],
                        received[name],
                        reference.get(("own", name)),
                        reference.get(("weights", name)),
                    )
                ]
                row.update(*arrays)

    @property
    def float_bytes_per_sample(self) -> int:
        """Bytes of all tensors of the float model that are compared."""
        return self._float.bytes_per_sample

    def results(self, effects: Mapping[str, float]) -> tuple[LayerResult, ...]:
        """One result a layer, in graph order, with its effect on the outputs if that is known."""
        return tuple(row.result(effects.get(row.pair.name)) for row in self._rows)


def _first(array: np.ndarray | None, wanted: int, num_run: int) -> Any:
    """The part that belongs to the first `wanted` samples of `num_run`.

    In proportion: the first axis can be batch times something, as after a Reshape.
    """
    if array is None or wanted == num_run:
        return array
    return array[: array.shape[0] * wanted // num_run]


class _Row:
    """What is summed up for one layer."""

    def __init__(self, pair: Pair, reason: str) -> None:
        self.pair = pair
        self._reason = reason
        layer = pair.layer
        self._qparams: QParams | None = (
            layer.output_qparams if isinstance(layer, QuantizedLayer) else None
        )
        self._accumulated, self._own, self._weights = ErrorSums(), ErrorSums(), ErrorSums()
        self._channels = ChannelRange()
        self._histogram = Histogram(NUM_BINS)
        self._clipped = 0
        self._random = np.random.default_rng(0)

    def update(
        self,
        reference: np.ndarray,
        received: np.ndarray,
        own: np.ndarray | None,
        weights: np.ndarray | None,
    ) -> None:
        """Add the tensor of one batch: float, quantized, own, with int8 weights only."""
        self._accumulated.update(reference, self._real(received))
        if own is not None:
            self._own.update(reference, self._real(own))
        if weights is not None:
            self._weights.update(reference, weights)
        if self._qparams is None or received.dtype != np.int8:
            return
        self._channels.update(reference)
        self._clipped += _count_clipped(reference, received, self._qparams)
        flat = reference.reshape(-1)
        if flat.size > HISTOGRAM_SAMPLE:
            flat = flat[self._random.integers(0, flat.size, HISTOGRAM_SAMPLE)]
        if np.isfinite(flat).all():
            self._histogram.update(flat)

    def _real(self, values: np.ndarray) -> np.ndarray:
        if values.dtype == np.int8 and self._qparams is not None:
            return self._qparams.dequantize(values)
        return values

    def result(self, effect: float | None) -> LayerResult:
        pair = self.pair
        source = pair.float_layer if pair.float_layer is not None else pair.layer
        return LayerResult(
            name=pair.name,
            layer_type=type(source).__name__,
            status="int8" if pair.is_integer else "float",
            reason=self._reason,
            fused=pair.fused.name if pair.fused is not None else "",
            tensor=tensor_name(pair.float_tensor),
            accumulated=self._accumulated.result(),
            own=self._own.result() if self._own.count else None,
            effect=effect,
            weights_only=self._weights.result() if self._weights.count else None,
            activation=self._activation(),
            weights=compare_weights(pair),
        )

    def _activation(self) -> ActivationResult | None:
        qparams, histogram = self._qparams, self._histogram
        if qparams is None or not histogram.num_values:
            return None
        low, high = qparams.range
        spans = self._channels.spans()
        prescribed = _is_prescribed(self.pair)
        better = mse_range(histogram)
        gain = decibels(_noise(histogram, low, high), _noise(histogram, *better))
        has_channels = isinstance(self.pair.layer, QuantizedLinear)
        constant = spans == 0
        coarse = ~constant & (spans < COARSE_LEVELS * qparams.scale)
        shown = Histogram(NUM_SHOWN_BINS)
        shown.merge(_regrouped(histogram))
        return ActivationResult(
            minimum=float(self._channels.minimum.min()),
            maximum=float(self._channels.maximum.max()),
            low=low,
            high=high,
            scale=qparams.scale,
            zero_point=qparams.zero_point,
            prescribed=prescribed,
            clipped=self._clipped / max(self._accumulated.count, 1),
            num_clipped=self._clipped,
            num_channels=spans.size if has_channels else 0,
            constant_channels=int(constant.sum()) if has_channels else 0,
            coarse_channels=int(coarse.sum()) if has_channels else 0,
            better_range=None if prescribed else better,
            better_range_gain=0.0 if prescribed else max(gain, 0.0),
            histogram=histogram_result(shown),
        )


def _count_clipped(reference: np.ndarray, received: np.ndarray, qparams: QParams) -> int:
    """Elements at an end of int8 whose float value lies beyond it by more than one step.

    One step, because ranges that the specification prescribes end one step below 1.
    """
    low, high = qparams.range
    above = (received == 127) & (reference > high + qparams.scale)
    below = (received == -128) & (reference < low - qparams.scale)
    return int(np.count_nonzero(above)) + int(np.count_nonzero(below))


def _is_prescribed(pair: Pair) -> bool:
    if pair.float_layer is None:
        return False
    return fixed_output(pair.float_layer) is not None


def _noise(histogram: Histogram, low: float, high: float) -> float:
    """Expected squared error of rounding into, and clipping to, a range of 255 steps."""
    centers, counts = histogram.centers, histogram.counts.astype(np.float64)
    beyond = np.maximum(low - centers, 0) + np.maximum(centers - high, 0)
    rounded = counts[(beyond == 0) & (histogram.indices != 0)].sum()
    return float(counts @ beyond**2 + rounded * ((high - low) / NUM_STEPS) ** 2 / 12)


def _regrouped(histogram: Histogram) -> Histogram:
    """The same counts, as a histogram that merges into one with `NUM_SHOWN_BINS`."""
    copy = Histogram.from_state(histogram.get_state())
    copy.num_bins = NUM_SHOWN_BINS
    return copy
