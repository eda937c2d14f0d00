"""The outputs and the task metrics of both models, over a stream of batches."""

from __future__ import annotations

import math

import numpy as np

from keras_octet.validate.compare import ErrorSums, EvenSample
from keras_octet.validate.metrics import MetricSpec, anomaly_scores
from keras_octet.validate.results import MetricResult, OutputResult
from keras_octet.validate.tasks import OutputTask, Task

NUM_POINTS = 1000


class OutputComparison:
    """One output of both models.

    Args:
        name: of the output.
        found: its task.
        specs: metrics to compute; none without labels, unless the output is a reconstruction.
    """

    def __init__(self, name: str, found: OutputTask, specs: list[MetricSpec]) -> None:
        self._name = name
        self._found = found
        self._metrics = [(spec, spec.make(), spec.make()) for spec in specs]
        self._sums = ErrorSums()
        self._points = EvenSample(NUM_POINTS)
        self._num_same = 0
        self._num_decisions = 0

    @property
    def is_reconstruction(self) -> bool:
        """Whether the inputs take the place of labels."""
        return self._found.task is Task.RECONSTRUCTION

    def update(
        self,
        inputs: list[np.ndarray],
        labels: np.ndarray | None,
        weight: np.ndarray | None,
        reference: np.ndarray,
        received: np.ndarray,
    ) -> None:
        """Add a batch.

        Args:
            inputs: of the models.
            labels: of this output, if there are any.
            weight: of the samples, if there is one.
            reference, received: outputs of the float and of the quantized model.
        """
        self._sums.update(reference, received)
        self._points.update(np.stack([reference.reshape(-1), received.reshape(-1)], axis=1))
        before, after = self._decisions(reference), self._decisions(received)
        if before is not None and after is not None:
            self._num_same += int(np.count_nonzero(before == after))
            self._num_decisions += before.size
        if not self._metrics:
            return
        if self._found.task is Task.RECONSTRUCTION and labels is None:
            labels = inputs[0]
        elif self._found.task is Task.ANOMALY:
            reference, received = (anomaly_scores(inputs[0], x) for x in (reference, received))
        assert labels is not None
        for _, metric_before, metric_after in self._metrics:
            metric_before.update(labels, reference, weight)
            metric_after.update(labels, received, weight)

    def _decisions(self, scores: np.ndarray) -> np.ndarray | None:
        if self._found.task is Task.CLASSIFICATION:
            return np.argmax(scores, axis=-1)
        if self._found.task is Task.BINARY:
            return scores > self._found.threshold
        return None

    def result(self) -> OutputResult:
        """The comparison so far."""
        points = tuple((float(f), float(q)) for f, q in self._points.rows())
        agreement = self._num_same / self._num_decisions if self._num_decisions else None
        return OutputResult(
            name=self._name,
            task=str(self._found.task),
            difference=self._sums.result(),
            agreement=agreement,
            num_decisions=self._num_decisions,
            points=tuple(pair for pair in points if all(map(math.isfinite, pair))),
        )

    def metric_results(self, output: str) -> list[MetricResult]:
        """The metrics so far; `output` is the name to give them."""
        return [
            MetricResult(
                name=spec.name,
                output=output,
                before=before.result(),
                after=after.result(),
                lower_is_better=spec.lower_is_better,
            )
            for spec, before, after in self._metrics
        ]
