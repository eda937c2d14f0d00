"""Task metrics that stream: Keras metrics, and those that Keras lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import keras
import numpy as np

from keras_octet.errors import ValidationError
from keras_octet.validate.tasks import OutputTask, Task, name_of

# Logarithmic bins of an anomaly score, from 1e-18 to 1e18.
LOWEST_OCTAVE, HIGHEST_OCTAVE = -60, 60
BINS_PER_OCTAVE = 1024


class StreamingMetric(Protocol):
    """A number over a stream of batches, in constant memory."""

    def update(self, labels: np.ndarray, predictions: np.ndarray, weight: Any) -> None:
        """Add a batch; `weight` is one number a sample, or None."""
        ...

    def result(self) -> float:
        """The metric so far."""
        ...


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric to be made twice, for the float and for the quantized model."""

    name: str
    lower_is_better: bool
    make: Callable[[], StreamingMetric]


class KerasMetric:
    """A `keras.metrics.Metric` as a StreamingMetric."""

    def __init__(self, metric: keras.metrics.Metric) -> None:
        self._metric = metric

    def update(self, labels: np.ndarray, predictions: np.ndarray, weight: Any) -> None:
        try:
            self._metric.update_state(labels, predictions, sample_weight=weight)
        except Exception as error:  # Each backend has its own errors for shapes that do not fit.
            raise ValidationError(
                f"Metric {self._metric.name!r} cannot compare labels of shape {labels.shape} with "
                f"predictions of shape {predictions.shape}: {error}"
            ) from error

    def result(self) -> float:
        value = keras.tree.map_structure(keras.ops.convert_to_numpy, self._metric.result())
        if np.size(value) != 1 or isinstance(value, dict):
            raise ValidationError(
                f"Metric {self._metric.name!r} gives values of shape {np.shape(value)}. Expected "
                "one number, for example with average='macro'."
            )
        return float(np.reshape(value, ()))


class TopAccuracy:
    """Share of samples whose class is among the `count` with the highest scores.

    Of equal scores those of lower classes come first, as for `argmax`. Keras counts all of them as
    in, and int8 scores are often equal.

    Args:
        count: such as 1 or 5.
        one_hot: labels are vectors rather than class numbers.
    """

    def __init__(self, count: int, *, one_hot: bool) -> None:
        self._count = count
        self._one_hot = one_hot
        self._right = 0.0
        self._total = 0.0

    def update(self, labels: np.ndarray, predictions: np.ndarray, weight: Any) -> None:
        scores = predictions.reshape(-1, predictions.shape[-1])
        classes = np.argmax(labels, axis=-1) if self._one_hot else labels
        classes = classes.reshape(-1, 1).astype(np.int64)
        own = np.take_along_axis(scores, classes, axis=1)
        before = np.arange(scores.shape[1]) < classes
        rank = np.count_nonzero((scores > own) | ((scores == own) & before), axis=1)
        right = (rank < self._count) & ~np.isnan(own[:, 0])
        if weight is None:
            self._right += float(np.count_nonzero(right))
            self._total += right.size
        else:
            # One weight a sample, or one a position.
            each = np.repeat(weight.reshape(-1), right.size // weight.size)
            self._right += float(np.sum(each * right))
            self._total += float(np.sum(each))

    def result(self) -> float:
        return self._right / self._total if self._total else float("nan")


class MeanScore:
    """Mean score of the samples whose label is `label`; NaN without any."""

    def __init__(self, label: int) -> None:
        self._label = label
        self._sum = 0.0
        self._count = 0

    def update(self, labels: np.ndarray, predictions: np.ndarray, weight: Any) -> None:
        chosen = predictions[labels.reshape(-1) == self._label]
        self._sum += float(chosen.sum(dtype=np.float64))
        self._count += chosen.size

    def result(self) -> float:
        return self._sum / self._count if self._count else float("nan")


class AUROC:
    """Probability that an anomalous sample (label 1) scores higher than a normal one (label 0).

    Scores are counted in bins 0.07 % wide, so that memory does not grow, and those of one bin count
    as equal: half. NaN if one of the two kinds is missing.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, (HIGHEST_OCTAVE - LOWEST_OCTAVE) * BINS_PER_OCTAVE), np.int64)

    def update(self, labels: np.ndarray, predictions: np.ndarray, weight: Any) -> None:
        octaves = np.log2(np.maximum(predictions.astype(np.float64), 2.0**LOWEST_OCTAVE))
        bins = ((octaves - LOWEST_OCTAVE) * BINS_PER_OCTAVE).astype(np.int64)
        bins = np.minimum(bins, self._counts.shape[1] - 1)
        if not ((labels == 0) | (labels == 1)).all():
            raise ValidationError("Labels of an anomaly detector must all be 0 or 1.")
        np.add.at(self._counts, (labels.reshape(-1).astype(np.int64), bins), 1)

    def result(self) -> float:
        normal, anomalous = self._counts.astype(np.float64)
        pairs = normal.sum() * anomalous.sum()
        below = np.cumsum(normal) - normal
        return float(anomalous @ (below + normal / 2) / pairs) if pairs else float("nan")


def anomaly_scores(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Mean squared error of each sample's reconstruction, float64 of shape `(batch,)`."""
    error = outputs.astype(np.float64) - inputs
    return np.mean(error.reshape(len(error), -1) ** 2, axis=1)


def default_metrics(found: OutputTask, shape: Sequence[int | None]) -> list[MetricSpec]:
    """The usual metrics of a task, for an output of this shape."""
    if found.task is Task.CLASSIFICATION:
        counts = (1, 5) if (shape[-1] or 0) > 5 else (1,)
        return [
            MetricSpec(
                name=f"top-{count} accuracy",
                lower_is_better=False,
                make=partial(TopAccuracy, count, one_hot=found.one_hot),
            )
            for count in counts
        ]
    if found.task is Task.BINARY:
        several = shape[-1] not in (None, 1) and len(shape) > 1
        return [
            _keras_spec(keras.metrics.BinaryAccuracy(name="accuracy", threshold=found.threshold)),
            _keras_spec(
                keras.metrics.AUC(
                    name="AUROC", from_logits=not found.probabilities, multi_label=several
                )
            ),
        ]
    if found.task is Task.ANOMALY:
        return [
            MetricSpec(name="AUROC", lower_is_better=False, make=AUROC),
            MetricSpec(
                name="reconstruction MSE, normal",
                lower_is_better=True,
                make=lambda: MeanScore(label=0),
            ),
        ]
    prefix = "reconstruction " if found.task is Task.RECONSTRUCTION else ""
    return [
        _keras_spec(keras.metrics.MeanAbsoluteError(name=f"{prefix}MAE")),
        _keras_spec(keras.metrics.MeanSquaredError(name=f"{prefix}MSE")),
    ]


def resolve_metrics(
    given: Any,
    output_name: str,
    found: OutputTask,
    shape: Sequence[int | None],
    lower_is_better: Collection[str],
) -> list[MetricSpec]:
    """The metrics of one output.

    Args:
        given: one metric or a list of them (Keras metrics, names of them, functions of labels and
            predictions), a dict of these by output name, or None for the usual ones.
        output_name: of the output.
        found: its task.
        shape: its shape.
        lower_is_better: names of metrics that are better when lower, besides those known to be.

    Raises:
        ValidationError: a metric is unknown or cannot be copied, or two have one name.
    """
    if isinstance(given, Mapping):
        given = given.get(output_name, ())
    if given is None:
        return default_metrics(found, shape)
    items = list(given) if isinstance(given, (list, tuple)) else [given]
    specs = [spec for item in items for spec in _resolve(item, found, shape, lower_is_better)]
    names = [spec.name for spec in specs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValidationError(
            f"Two metrics have the name {repeated[0]!r}. Give one of them another: name='...'."
        )
    return specs


def _resolve(
    item: Any, found: OutputTask, shape: Sequence[int | None], lower_is_better: Collection[str]
) -> list[MetricSpec]:
    if isinstance(item, str) and item in ("accuracy", "acc"):
        usual = [spec for spec in default_metrics(found, shape) if "accuracy" in spec.name]
        if usual:
            return usual[:1]
    if isinstance(item, str):
        try:
            item = keras.metrics.get(item)
        except ValueError:
            raise ValidationError(
                f"Keras has no metric {item!r}. Pass one of keras.metrics, its name, or a function "
                "of labels and predictions."
            ) from None
    if isinstance(item, type) and issubclass(item, keras.metrics.Metric):
        item = item()
    if isinstance(item, keras.metrics.Metric):
        return [_keras_spec(item, lower_is_better)]
    if callable(item):
        name = name_of(item)
        return [_keras_spec(keras.metrics.MeanMetricWrapper(item, name=name), lower_is_better)]
    raise ValidationError(
        "A metric must be a keras.metrics.Metric, its name, or a function of labels and "
        f"predictions. Received: {item!r}"
    )


def _keras_spec(metric: keras.metrics.Metric, lower_is_better: Collection[str] = ()) -> MetricSpec:
    # The name Keras gives itself, or the function behind it, tells an error from a score.
    words = f"{metric.name} {name_of(getattr(metric, '_fn', None))}"
    down = getattr(metric, "_direction", None) == "down" or any(
        word in words for word in ("error", "loss", "crossentropy", "divergence")
    )
    return MetricSpec(
        name=metric.name,
        lower_is_better=down or metric.name in lower_is_better,
        make=lambda: KerasMetric(_copy(metric)),
    )


def _copy(metric: keras.metrics.Metric) -> keras.metrics.Metric:
    """A new metric of the same settings, at its start."""
    if type(metric) is keras.metrics.MeanMetricWrapper:
        function, settings = metric._fn, metric._fn_kwargs
        return keras.metrics.MeanMetricWrapper(function, name=metric.name, **settings)
    try:
        return type(metric).from_config(metric.get_config())
    except Exception as error:
        raise ValidationError(
            f"Metric {metric.name!r} cannot be copied by get_config and from_config, and two are "
            f"needed, for the float and the quantized model: {error}"
        ) from error
