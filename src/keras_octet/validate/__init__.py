"""Validate: a float model, a quantized model and data -> a `ValidationReport`."""

from keras_octet.validate.report import ValidationReport
from keras_octet.validate.results import (
    ActivationResult,
    Advice,
    Difference,
    FloatTrial,
    HistogramResult,
    LatencyResult,
    LayerResult,
    MetricResult,
    OutputResult,
    SizeResult,
    Timing,
    WeightResult,
)
from keras_octet.validate.run import validate
from keras_octet.validate.thresholds import Thresholds

__all__ = [
    "ActivationResult",
    "Advice",
    "Difference",
    "FloatTrial",
    "HistogramResult",
    "LatencyResult",
    "LayerResult",
    "MetricResult",
    "OutputResult",
    "SizeResult",
    "Thresholds",
    "Timing",
    "ValidationReport",
    "WeightResult",
    "validate",
]
