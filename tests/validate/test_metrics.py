"""Metrics, and how a task is told from a model and its labels."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import keras_octet as ko
from keras_octet.validate.metrics import AUROC, default_metrics, resolve_metrics
from keras_octet.validate.tasks import OutputTask, Task, detect_task

L = keras.layers


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_auroc_is_that_of_scikit_learn(scale: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    scores = scale * rng.lognormal(0.7 * labels, 1.0)
    metric = AUROC()
    for part in np.array_split(np.arange(2000), 9):
        metric.update(labels[part], scores[part], None)
    assert metric.result() == pytest.approx(roc_auc_score(labels, scores), abs=2e-4)


def test_auroc_of_ties_zeros_and_one_kind() -> None:
    metric = AUROC()
    metric.update(np.array([0, 1]), np.array([0.0, 0.0]), None)
    assert metric.result() == 0.5
    metric.update(np.array([1, 1]), np.array([1.0, 1e30]), None)
    assert metric.result() == pytest.approx((0.5 + 1 + 1) / 3)
    one_kind = AUROC()
    one_kind.update(np.array([0, 0]), np.array([1.0, 2.0]), None)
    assert np.isnan(one_kind.result())
    with pytest.raises(ko.ValidationError, match="0 or 1"):
        metric.update(np.array([2]), np.array([1.0]), None)


def output(*layers: keras.layers.Layer, shape: tuple[int, ...] = (8,)) -> tuple[Any, Any]:
    """`(output, inputs)` of a flat model."""
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return x, [inputs]


CLASSES = np.array([0, 3, 2, 1])
BITS = np.array([0, 1, 1, 0])
FLOATS = np.array([0.5, 1.5, 2.5, -1.0])


@pytest.mark.parametrize(
    ("layers", "labels", "loss", "task"),
    [
        ([L.Dense(4), L.Softmax()], CLASSES, None, Task.CLASSIFICATION),
        ([L.Dense(4), L.Softmax()], None, None, Task.CLASSIFICATION),
        ([L.Dense(4)], CLASSES, None, Task.CLASSIFICATION),
        ([L.Dense(4)], CLASSES[:, None], None, Task.CLASSIFICATION),
        ([L.Dense(4)], np.eye(4)[CLASSES], None, Task.CLASSIFICATION),
        ([L.Dense(4)], np.eye(4)[CLASSES] * 0.7, None, Task.REGRESSION),
        ([L.Dense(8)], CLASSES, "sparse_categorical_crossentropy", Task.CLASSIFICATION),
        ([L.Dense(1), L.Activation("sigmoid")], BITS, None, Task.BINARY),
        ([L.Dense(1), L.Activation("sigmoid")], None, None, Task.BINARY),
        ([L.Dense(1)], BITS[:, None], None, Task.BINARY),
        ([L.Dense(1)], BITS, keras.losses.BinaryCrossentropy(from_logits=True), Task.BINARY),
        ([L.Dense(1)], FLOATS, None, Task.REGRESSION),
        ([L.Dense(1)], FLOATS, "mse", Task.REGRESSION),
        ([L.Dense(1)], None, None, Task.REGRESSION),
        ([L.Dense(3), L.Activation("sigmoid")], np.ones((4, 3)), None, Task.BINARY),
        ([L.Dense(3)], np.ones((4, 3)) * 0.5, None, Task.REGRESSION),
        ([L.Dense(8)], None, None, Task.RECONSTRUCTION),
        ([L.Dense(8)], BITS, None, Task.ANOMALY),
        ([L.Dense(8)], np.zeros((4, 8)), None, Task.REGRESSION),
        ([L.Dense(6), L.Reshape((3, 2)), L.Softmax()], np.zeros((4, 3), int), None,
         Task.CLASSIFICATION),
    ],
)  # fmt: skip
def test_a_task_is_told_from_the_model_and_the_labels(
    layers: list[Any], labels: Any, loss: Any, task: Task
) -> None:
    # Layers are made once, for all backends' processes; a copy each test keeps names apart.
    copies = [type(layer).from_config(layer.get_config()) for layer in layers]
    tensor, inputs = output(*copies)
    assert detect_task(tensor, inputs, labels, loss).task is task


def test_scores_are_probabilities_or_logits() -> None:
    tensor, inputs = output(L.Dense(1), L.Activation("sigmoid"))
    assert detect_task(tensor, inputs, BITS).threshold == 0.5
    tensor, inputs = output(L.Dense(1))
    assert detect_task(tensor, inputs, BITS).threshold == 0.0
    loss = keras.losses.BinaryCrossentropy()
    assert detect_task(tensor, inputs, BITS, loss).threshold == 0.5


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        (np.array([0, 9, 1, 1]), None, "label 9"),
        (np.zeros((4, 5), int), Task.CLASSIFICATION, "do not fit"),
        (np.zeros((4, 2)), Task.REGRESSION, "do not fit"),
        (np.zeros((4, 3)), Task.ANOMALY, "0 .normal. or 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Any, task: Any, message: str) -> None:
    tensor, inputs = output(L.Dense(3), L.Softmax())
    with pytest.raises(ko.ValidationError, match=message):
        detect_task(tensor, inputs, labels, None, task)


def results(specs: list[Any], labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    found = {}
    for spec in specs:
        metric = spec.make()
        for part in np.array_split(np.arange(len(labels)), 3):
            metric.update(labels[part], scores[part], None)
        found[spec.name] = metric.result()
    return found


def test_usual_metrics_against_numpy() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(60, 9)).astype(np.float32)
    labels = rng.integers(0, 9, 60)
    order = np.argsort(-scores, axis=1)
    expected = {
        "top-1 accuracy": np.mean(order[:, 0] == labels),
        "top-5 accuracy": np.mean((order[:, :5] == labels[:, None]).any(axis=1)),
    }
    sparse = default_metrics(OutputTask(task=Task.CLASSIFICATION), (None, 9))
    assert results(sparse, labels, scores) == pytest.approx(expected)
    one_hot = default_metrics(OutputTask(task=Task.CLASSIFICATION, one_hot=True), (None, 9))
    assert results(one_hot, np.eye(9)[labels], scores) == pytest.approx(expected)
    few = default_metrics(OutputTask(task=Task.CLASSIFICATION), (None, 5))
    assert [spec.name for spec in few] == ["top-1 accuracy"]

    bits, logits = rng.integers(0, 2, (60, 1)), rng.normal(size=(60, 1)).astype(np.float32)
    found = results(default_metrics(OutputTask(task=Task.BINARY), (None, 1)), bits, logits)
    assert found["accuracy"] == pytest.approx(np.mean((logits > 0) == bits))
    assert found["AUROC"] == pytest.approx(roc_auc_score(bits[:, 0], logits[:, 0]), abs=0.01)

    targets, values = rng.normal(size=(2, 60, 2)).astype(np.float32)
    specs = default_metrics(OutputTask(task=Task.REGRESSION), (None, 2))
    expected = {
        "MAE": np.mean(np.abs(targets - values)),
        "MSE": np.mean((targets - values) ** 2),
    }
    assert results(specs, targets, values) == pytest.approx(expected, rel=1e-5)
    assert all(spec.lower_is_better for spec in specs)


def test_of_equal_scores_the_lower_class_comes_first() -> None:
    top_1, top_5 = default_metrics(OutputTask(task=Task.CLASSIFICATION), (None, 8))
    scores = np.zeros((8, 8), np.float32)
    found = results([top_1, top_5], np.arange(8), scores)
    assert found == {"top-1 accuracy": 1 / 8, "top-5 accuracy": 5 / 8}
    nothing = results([top_5], np.arange(8), np.full((8, 8), np.nan))
    assert nothing == {"top-5 accuracy": 0.0}


def test_weights_and_positions_of_a_segmentation() -> None:
    (spec,) = default_metrics(OutputTask(task=Task.CLASSIFICATION), (None, 2, 3))
    metric = spec.make()
    scores = np.eye(3, dtype=np.float32)[np.array([[0, 1], [2, 2]])]
    metric.update(np.array([[0, 1], [2, 0]]), scores, np.array([1.0, 3.0]))
    assert metric.result() == (2 * 1 + 3) / (2 * 1 + 2 * 3)


class NoConfig(keras.metrics.Metric):
    def __init__(self, required: int) -> None:
        super().__init__(name="no_config")


def bias(labels: Any, predictions: Any) -> Any:
    return predictions - labels


REGRESSION = OutputTask(task=Task.REGRESSION)


def test_metrics_by_name_object_class_and_function() -> None:
    given = ["mae", keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score, bias]
    specs = resolve_metrics(given, "out", REGRESSION, (None, 1), ["bias"])
    assert [spec.name for spec in specs] == [
        "mean_absolute_error",
        "root_mean_squared_error",
        "r2_score",
        "bias",
    ]
    assert [spec.lower_is_better for spec in specs] == [True, True, False, True]
    labels = np.array([[1.0], [2.0], [3.0]], np.float32)
    found = results(specs, labels, labels + 0.5)
    assert found["root_mean_squared_error"] == pytest.approx(0.5)
    assert found["bias"] == pytest.approx(0.5)
    assert found["r2_score"] == pytest.approx(1 - 0.75 / 2)


def test_the_accuracy_of_a_task() -> None:
    for found, shape, name in (
        (OutputTask(task=Task.CLASSIFICATION), (None, 9), "top-1 accuracy"),
        (OutputTask(task=Task.BINARY), (None, 1), "accuracy"),
    ):
        (spec,) = resolve_metrics("accuracy", "out", found, shape, ())
        assert spec.name == name


def test_metrics_of_one_output_by_its_name() -> None:
    found = resolve_metrics({"a": "mae"}, "a", REGRESSION, (None, 1), ())
    assert [spec.name for spec in found] == ["mean_absolute_error"]
    assert resolve_metrics({"a": "mae"}, "b", REGRESSION, (None, 1), ()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nosuch", "no metric 'nosuch'"),
        (3, "Received: 3"),
        (["mae", "mae"], "Two metrics have the name"),
    ],
)
def test_metrics_that_make_no_sense_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ko.ValidationError, match=message):
        resolve_metrics(given, "out", REGRESSION, (None, 1), ())


def test_a_metric_that_cannot_be_copied_or_is_no_number_is_refused() -> None:
    (spec,) = resolve_metrics(NoConfig(3), "out", REGRESSION, (None, 1), ())
    with pytest.raises(ko.ValidationError, match="cannot be copied"):
        spec.make()
    (spec,) = resolve_metrics(keras.metrics.F1Score(), "out", REGRESSION, (None, 3), ())
    metric = spec.make()
    metric.update(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), None)
    with pytest.raises(ko.ValidationError, match="Expected one number"):
        metric.result()
    with pytest.raises(ko.ValidationError, match="cannot compare"):
        spec.make().update(np.zeros((2, 5), np.float32), np.zeros((3, 4), np.float32), None)
