"""What a validation found, as frozen values; `ValidationReport` holds them.

Shares are fractions of 1, SQNR is in dB, sizes are in bytes and times in milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """A task metric of the float and of the quantized model.

    Attributes:
        name: of the metric.
        output: name of the model's output; empty if there is only one.
        before: of the float model.
        after: of the quantized model.
        lower_is_better: as for errors and losses.
    """

    name: str
    output: str = ""
    before: float
    after: float
    lower_is_better: bool = False

    @property
    def label(self) -> str:
        """Name of the metric, with that of the output if there are several."""
        return f"{self.output}: {self.name}" if self.output else self.name

    @property
    def drop(self) -> float:
        """How much worse `after` is; negative if it is better.

        `before - after`, or for a metric that is better when lower the relative increase
        `(after - before) / |before|`.
        """
        if not self.lower_is_better:
            return self.before - self.after
        if self.after == self.before:
            return 0.0
        if self.before == 0:
            return math.copysign(math.inf, self.after)
        return (self.after - self.before) / abs(self.before)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far quantized values `q` are from the float values `f` they stand for.

    Attributes:
        sqnr: `10 log10(sum f^2 / sum (f - q)^2)` in dB; infinite if equal.
        cosine: `sum f q / sqrt(sum f^2 sum q^2)`.
        max_error: largest `|f - q|`.
        mean_error: mean `|f - q|`.
    """

    sqnr: float
    cosine: float
    max_error: float
    mean_error: float


@dataclass(frozen=True, kw_only=True)
class OutputResult:
    """One output of both models.

    Attributes:
        name: of the output.
        task: what it is taken for: one of `keras_octet.validate.tasks.Task`.
        difference: over all its elements.
        agreement: share of decisions (largest class, or side of the threshold) that are the same;
            None where there is no decision.
        num_decisions: how many were compared.
        points: pairs of a float value and its quantized one, an even sample of all.
    """

    name: str
    task: str
    difference: Difference
    agreement: float | None = None
    num_decisions: int = 0
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class HistogramResult:
    """Counts of values between edges; one edge more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ActivationResult:
    """The tensor a layer makes: its values on this data, and the range it was calibrated for.

    Attributes:
        minimum, maximum: of the float model's tensor on this data.
        low, high: the smallest and largest number its int8 form can represent.
        scale, zero_point: of the int8 form.
        prescribed: the parameters come from the int8 specification, not from calibration.
        clipped: share of elements that are at -128 or 127 while the float value lies beyond the
            range by more than one step.
        num_clipped: how many elements that is.
        num_channels: size of the last axis; 0 where channels were not looked at.
        constant_channels: channels with one value throughout, as after a dead ReLU.
        coarse_channels: channels that vary, over fewer than 8 of the 256 levels.
        better_range: the range with the least squared error on this data.
        better_range_gain: by how many dB rounding and clipping would be less with it.
        histogram: of the float values (a random sample of them).
    """

    minimum: float
    maximum: float
    low: float
    high: float
    scale: float
    zero_point: int
    prescribed: bool = False
    clipped: float = 0.0
    num_clipped: int = 0
    num_channels: int = 0
    constant_channels: int = 0
    coarse_channels: int = 0
    better_range: tuple[float, float] | None = None
    better_range_gain: float = 0.0
    histogram: HistogramResult | None = None

    @property
    def used(self) -> float:
        """Share of the representable range that the values on this data span."""
        low, high = min(self.minimum, 0.0), max(self.maximum, 0.0)
        inside = min(high, self.high) - max(low, self.low)
        return max(0.0, inside / (self.high - self.low))


@dataclass(frozen=True, kw_only=True)
class WeightResult:
    """The kernel of a layer, float and int8.

    Attributes:
        minimum, maximum: of the float kernel.
        low, high: range of its int8 form in the channel with the largest scale.
        smallest_high: the end of the range in the channel with the smallest scale.
        difference: between the float and the int8 kernel.
        worst_channel_sqnr: of the output channel with the least, in dB.
        worst_channel: its index.
        num_channels: output channels.
        dead_channels: channels whose int8 weights are all zero.
        coarse_channels: channels that use less than a quarter of the int8 range.
        histogram: of the float kernel.
    """

    minimum: float
    maximum: float
    low: float
    high: float
    smallest_high: float
    difference: Difference
    worst_channel_sqnr: float
    worst_channel: int
    num_channels: int
    dead_channels: int = 0
    coarse_channels: int = 0
    histogram: HistogramResult | None = None


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """One layer of the quantized model against the tensor of the float model it stands for.

    Attributes:
        name: of the layer, as in the captured float model.
        layer_type: its class in the float model; `"Quantize"` where floats become int8.
        status: `"int8"` or `"float"`.
        reason: why it stayed float.
        fused: name of the activation fused into it; its values are compared after that.
        tensor: name of the float model's tensor that its output stands for: its own, the fused
            activation's, or the one that a Quantize reads.
        accumulated: error in the quantized model, that of the layers before included.
        own: error of this layer alone: float inputs, quantized as this layer reads them.
        effect: SQNR in dB of the model's outputs with this layer quantized and all others in float;
            None where it was not measured.
        weights_only: error with int8 weights and float inputs, and nothing else quantized.
        activation: its output.
        weights: its kernel.
    """

    name: str
    layer_type: str
    status: str
    reason: str = ""
    fused: str = ""
    tensor: str = ""
    accumulated: Difference | None = None
    own: Difference | None = None
    effect: float | None = None
    weights_only: Difference | None = None
    activation: ActivationResult | None = None
    weights: WeightResult | None = None


@dataclass(frozen=True, kw_only=True)
class FloatTrial:
    """The outputs with some layers in float and all others quantized.

    Attributes:
        layers: left in float; none in the first trial.
        sqnr: of the outputs, in dB.
    """

    layers: tuple[str, ...]
    sqnr: float


@dataclass(frozen=True, kw_only=True)
class SizeResult:
    """A size in bytes; None where it could not be measured, with the reason in `note`."""

    name: str
    before: int | None
    after: int | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of one call with one sample, arrays in and out.

    Attributes:
        median: of all calls.
        low, high: first and third quartile.
        num_calls: that were timed.
    """

    median: float
    low: float
    high: float
    num_calls: int


@dataclass(frozen=True, kw_only=True)
class LatencyResult:
    """Both models on one engine; None where a model does not run on it or was not timed.

    Attributes:
        engine: such as `"LiteRT"`, or `"Keras (jax)"`.
        before: of the float model.
        after: of the quantized model.
    """

    engine: str
    before: Timing | None
    after: Timing | None


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to try next.

    Attributes:
        layer: it is about; empty for the whole model.
        problem: what was measured.
        action: what to do.
        code: how, in Python.
    """

    layer: str
    problem: str
    action: str
    code: str = ""
