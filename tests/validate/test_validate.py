"""`validate` from end to end: metrics, agreement, data of every kind, limits, errors."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import keras_octet as ko
from tests.models import make
from tests.validate.support import NUM_CLASSES, autoencoder, batches, classifier, quick, sqnr

L = keras.layers


def metric_values(report: ko.ValidationReport) -> dict[str, tuple[float, float]]:
    return {metric.label: (metric.before, metric.after) for metric in report.metrics}


def test_a_classifier_against_numpy() -> None:
    model, quantized, x, y = classifier()
    report = quick(model, quantized, (x, y))
    before, after = (m.predict(x, verbose=0) for m in (model, quantized))
    assert report.num_samples == len(x)
    found = metric_values(report)
    for name, count in (("top-1 accuracy", 1), ("top-5 accuracy", 5)):
        for value, scores in zip(found[name], (before, after), strict=True):
            top = np.argsort(-scores, axis=1, kind="stable")[:, :count]
            assert value == pytest.approx(np.mean((top == y[:, None]).any(axis=1)))
    assert found["top-1 accuracy"][0] == np.mean(before.argmax(1) == y)
    (output,) = report.outputs
    assert output.task == "classification"
    assert output.agreement == pytest.approx(np.mean(before.argmax(1) == after.argmax(1)))
    assert output.num_decisions == len(x)
    assert output.difference.sqnr == pytest.approx(sqnr(before, after), abs=1e-3)
    a, b = before.ravel().astype(np.float64), after.ravel().astype(np.float64)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert output.difference.cosine == pytest.approx(cosine, abs=1e-6)
    assert output.difference.max_error == pytest.approx(np.abs(a - b).max(), abs=1e-5)
    points = np.array(output.points)
    assert 500 < len(points) <= 1000
    np.testing.assert_allclose(points[0], [a[0], b[0]], atol=1e-5)


def test_an_anomaly_detector_against_scikit_learn() -> None:
    model, quantized, x, anomalous = autoencoder()
    report = quick(model, quantized, (x, anomalous))
    found = metric_values(report)
    for index, each in enumerate((model, quantized)):
        error = np.mean((each.predict(x, verbose=0) - x) ** 2, axis=1)
        assert found["AUROC"][index] == pytest.approx(roc_auc_score(anomalous, error), abs=1e-3)
        normal = error[anomalous == 0].mean()
        assert found["reconstruction MSE, normal"][index] == pytest.approx(normal, rel=1e-4)
    assert report.outputs[0].task == "anomaly"
    assert report.outputs[0].agreement is None


def test_an_autoencoder_without_labels_is_measured_on_its_inputs() -> None:
    model, quantized, x, _ = autoencoder()
    found = metric_values(quick(model, quantized, x))
    for index, each in enumerate((model, quantized)):
        error = each.predict(x, verbose=0) - x
        assert found["reconstruction MAE"][index] == pytest.approx(np.abs(error).mean(), rel=1e-4)
        assert found["reconstruction MSE"][index] == pytest.approx((error**2).mean(), rel=1e-4)


def test_no_labels_no_metrics() -> None:
    model, quantized, x, _ = classifier()
    report = quick(model, quantized, x)
    assert report.metrics == ()
    assert report.outputs[0].agreement is not None


def test_several_inputs_and_outputs_with_labels_by_name() -> None:
    model, calibration, data = make("two_inputs_two_outputs")
    quantized = ko.quantize(model, calibration)
    labels = model.predict(data, verbose=0)
    labels = {name: value + 0.25 for name, value in labels.items()}
    report = quick(model, quantized, (data, labels), metrics={"product": ["mae"]})
    assert [output.name for output in report.outputs] == ["difference", "product"]
    (metric,) = report.metrics
    assert metric.label == "product: mean_absolute_error"
    assert metric.before == pytest.approx(0.25, rel=1e-4)
    received = quantized.predict(data, verbose=0)["product"]
    expected = np.abs(received - labels["product"]).mean()
    assert metric.after == pytest.approx(expected, rel=1e-4)
    report = quick(model, quantized, (data, labels))
    assert [metric.name for metric in report.metrics] == ["MAE", "MSE"] * 2


def test_sample_weights_count() -> None:
    model, quantized, x, y = classifier()
    weight = np.linspace(0, 1, len(x)).astype(np.float32)
    report = quick(model, quantized, (x, y, weight), metrics="accuracy")
    right = quantized.predict(x, verbose=0).argmax(1) == y
    expected = np.average(right, weights=weight)
    assert report.metrics[0].after == pytest.approx(expected, abs=1e-5)


class Dataset(keras.utils.PyDataset):
    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__()
        self.x, self.y = x, y

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        part = slice(40 * index, 40 * index + 40)
        return self.x[part], self.y[part]


def test_every_kind_of_data_gives_the_same() -> None:
    model, quantized, x, y = classifier()
    whole = quick(model, quantized, (x, y))
    for data in (
        batches(x, y, size=11),
        list(batches(x, y, size=64)()),
        batches(x, y[:, None], size=50)(),
        Dataset(x, y),
        ({"image": x}, y),
    ):
        report = quick(model, quantized, data, batch_size=37)
        for metric, same in zip(report.metrics, whole.metrics, strict=True):
            assert (metric.before, metric.after) == pytest.approx((same.before, same.after))
        assert report.outputs[0].agreement == whole.outputs[0].agreement
        expected = whole.outputs[0].difference.sqnr
        assert report.outputs[0].difference.sqnr == pytest.approx(expected, abs=1e-4)


def test_integer_inputs_and_outputs_are_compared_as_numbers() -> None:
    model, _, x, y = classifier()
    recipe = ko.recipes.w8a8(input_dtype="int8", output_dtype="int8")
    integer = ko.quantize(model, x[:64], recipe=recipe)
    same = ko.quantize(model, x[:64])
    found, expected = (
        quick(model, each, (x, y), layer_samples=50, effects=True) for each in (integer, same)
    )
    assert metric_values(found) == metric_values(expected)
    assert found.outputs[0].difference == expected.outputs[0].difference
    by_name = {row.name: row for row in expected.layers}
    for row in found.layers:
        assert row.accumulated == by_name[row.name].accumulated


def test_a_fixed_batch_size() -> None:
    inputs = keras.Input(batch_shape=(8, 6))
    x = L.Dense(5, activation="relu", name="a")(inputs)
    model = keras.Model(inputs, L.Dense(3, name="b")(x))
    data = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    quantized = ko.quantize(model, data)
    report = quick(model, quantized, data, layer_samples=None, effects=True, latency=True)
    assert report.num_samples == report.num_layer_samples == 20
    padded = np.concatenate([data, data[:4]])
    reference, received = (m.predict(padded, batch_size=8, verbose=0) for m in (model, quantized))
    expected = sqnr(reference[:20], received[:20])
    assert report.outputs[0].difference.sqnr == pytest.approx(expected, abs=1e-3)
    assert report.trials
    assert report.latencies


def test_memory_does_not_grow_with_the_data() -> None:
    model, quantized, x, _ = autoencoder()

    def peak(count: int) -> int:
        def data() -> Any:
            for _ in range(count):
                yield np.tile(x[:32], (8, 1))

        tracemalloc.start()
        quick(model, quantized, data, metrics="mse", batch_size=256, layer_samples=None)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    # What else the process allocates meanwhile only adds to a peak.
    few, many = peak(4), min(peak(60) for _ in range(3))
    # 56 batches more are 900 kB of input and as much of each output.
    assert many < few + 200_000


def test_another_keras_model_is_compared_without_its_layers() -> None:
    model, _, x, y = classifier()
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    report = ko.validate(model, other, (x, y), layer_samples=8)
    assert report.layers == ()
    assert "not a QuantizedModel" in report.notes[0]
    assert report.outputs[0].difference.sqnr > 100
    assert report.metrics[0].drop == pytest.approx(0)
    assert [size.name for size in report.sizes][:2] == [".keras file", ".tflite file"]


def test_sizes_are_those_of_the_files(tmp_path: Any) -> None:
    model, quantized, x, y = classifier()
    sizes = {s.name: s for s in quick(model, quantized, x[:8], sizes=True).sizes}
    model.save(tmp_path / "float.keras")
    quantized.save(tmp_path / "int8.keras")
    files = [(tmp_path / name).stat().st_size for name in ("float.keras", "int8.keras")]
    keras_file = sizes[".keras file"]
    # File names and dates vary in length.
    assert keras_file.before == pytest.approx(files[0], rel=0.01)
    assert keras_file.after == pytest.approx(files[1], rel=0.01)
    assert sizes[".tflite file"].after == len(quantized.to_tflite())
    assert sizes[".tflite file"].before > 0
    weights = sum(np.asarray(w).nbytes for w in model.get_weights())
    assert sizes["weights in memory"].before == weights
    peak = sizes["activations, peak"]
    # The depthwise input, also kept for the addition, its output, or the stem's input and output.
    assert peak.before == 4 * 12 * 12 * 8 * 3
    assert peak.after == 12 * 12 * 8 * 3
    optimized = keras.models.clone_model(model)
    optimized.set_weights(model.get_weights())
    optimized.compile("adam", "sparse_categorical_crossentropy")
    optimized.fit(x[:8], y[:8], verbose=0)
    again = {s.name: s for s in quick(optimized, quantized, x[:8], sizes=True).sizes}
    assert again[".keras file"].before == pytest.approx(keras_file.before, rel=0.05)


def test_latency_is_timed_for_both_models() -> None:
    model, quantized, x, _ = classifier()
    on_keras, litert = quick(model, quantized, x[:8], latency=True).latencies
    assert on_keras.engine == f"Keras ({keras.backend.backend()})"
    assert litert.engine == "LiteRT"
    assert on_keras.after is None
    for timing in (on_keras.before, litert.before, litert.after):
        assert 0 < timing.low <= timing.median <= timing.high
        assert timing.num_calls >= 20


def test_limits_that_are_kept_and_that_are_not() -> None:
    model, quantized, x, y = classifier()
    report = quick(model, quantized, (x, y), max_drop=1.0, min_agreement=0.5, min_sqnr=5)
    assert report.passed
    assert report.has_thresholds
    report.raise_for_failures()

    bad = ko.quantize(model, x / 16)
    limits = {"max_drop": 0.0, "min_agreement": 1, "min_sqnr": 90}
    report = quick(model, bad, (x, y), metrics="accuracy", **limits)
    assert not report.passed
    for sentence, start in zip(
        report.failures,
        ("top-1 accuracy fell from 0.8", "agreement with the float model is", "SQNR is"),
        strict=True,
    ):
        assert sentence.startswith(start)
    with pytest.raises(ko.ThresholdError, match=r"classifier did not pass: .*SQNR"):
        report.raise_for_failures()


@pytest.mark.parametrize(
    ("before", "after", "lower", "limit", "fails"),
    [
        (0.90, 0.89, False, 0.0101, False),
        (0.90, 0.88, False, 0.0101, True),
        (0.90, 0.95, False, 0.0, False),
        (2.0, 2.02, True, 0.011, False),
        (2.0, 2.2, True, 0.05, True),
        (2.0, 1.0, True, 0.0, False),
        (0.0, 0.0, True, 0.0, False),
        (0.0, 1e-9, True, 0.5, True),
        (0.9, math.nan, False, 1.0, True),
    ],
)
def test_what_a_drop_is(
    before: float, after: float, lower: bool, limit: float, fails: bool
) -> None:
    from keras_octet.validate import MetricResult, Thresholds

    metric = MetricResult(name="m", before=before, after=after, lower_is_better=lower)
    assert bool(Thresholds.of(limit, None, None).failures([metric], [])) is fails
    assert bool(Thresholds.of({"m": limit}, None, None).failures([metric], [])) is fails


def test_a_limit_for_one_metric_only() -> None:
    model, quantized, x, y = classifier()
    wrong = (y + 1) % NUM_CLASSES
    report = quick(model, quantized, (x, wrong), max_drop={"top-5 accuracy": 1.0})
    assert report.passed
    with pytest.raises(ko.ValidationError, match="'top-2 accuracy' that was not measured"):
        quick(model, quantized, (x, y), max_drop={"top-2 accuracy": 1.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": -0.1}, "max_drop must be a number of at least 0"),
        ({"max_drop": "1 %"}, "max_drop must be"),
        ({"max_drop": {"top-1 accuracy": math.nan}}, "Received for 'top-1 accuracy'"),
        ({"min_agreement": 99}, "share from 0 to 1"),
        ({"min_sqnr": math.inf}, "min_sqnr must be a number"),
        ({"task": "clustering"}, "task must be one of"),
        ({"task": {"nosuch": "binary"}}, "nosuch"),
        ({"metrics": {"nosuch": "mae"}}, "nosuch"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"layer_samples": -1}, "layer_samples must be an integer >= 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    model, quantized, x, y = classifier()
    with pytest.raises(ko.ValidationError, match=message):
        quick(model, quantized, (x, y), **options)


def test_models_and_data_that_do_not_fit_are_refused() -> None:
    model, quantized, x, y = classifier()
    detector, int8_detector, series, _ = autoencoder()
    cases: list[tuple[Any, str]] = [
        ((model, "q.keras", x), "quantized must be a keras.Model"),
        ((quantized, model, x), "float model comes first"),
        ((model, int8_detector, x), "the float model of shapes"),
        ((model, quantized, series), "The data does not have|expected shape"),
        ((model, quantized, x[:0]), "The data is empty"),
        ((model, quantized, (x, y[:-1])), "Expected labels for"),
        ((model, quantized, (x, [1, 2, 3])), "numpy.asarray"),
        ((model, quantized, (x, np.full(len(x), "cat"))), "must be numbers"),
        ((detector, int8_detector, (series, np.full(len(series), 0.5))), "do not fit|one a sample"),
    ]
    for arguments, message in cases:
        with pytest.raises(ko.ValidationError, match=message):
            quick(*arguments)
    with pytest.raises(ko.ValidationError, match="max_drop limits task metrics"):
        quick(model, quantized, x, max_drop=0.1)
    with pytest.raises(ko.ValidationError, match="metrics need labels"):
        quick(model, quantized, x, metrics="accuracy")
    with pytest.raises(ko.ValidationError, match="min_agreement needs an output"):
        quick(detector, int8_detector, series, min_agreement=0.5)
    with pytest.raises(ko.ValidationError, match="Every batch must have the labels"):
        quick(model, quantized, [(x[:8], y[:8]), (x[8:16],)])


def test_the_task_can_be_named() -> None:
    model, quantized, x, _ = autoencoder()
    labels = np.zeros((len(x), 16), np.float32)
    report = quick(model, quantized, (x, labels), task="binary", metrics="accuracy")
    before = model.predict(x, verbose=0)
    assert report.metrics[0].before == pytest.approx(np.mean(before <= 0), abs=1e-5)
    same = np.mean((before > 0) == (quantized.predict(x, verbose=0) > 0))
    assert report.outputs[0].agreement == pytest.approx(same)


def test_outputs_that_are_not_finite_are_noted() -> None:
    model, quantized, x, _ = classifier()
    broken = keras.models.clone_model(model)
    broken.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    report = quick(broken, quantized, x[:8], layer_samples=8, min_sqnr=0.0)
    assert any("not finite" in note for note in report.notes)
    assert not report.passed
    assert str(report)


def test_neither_model_is_changed() -> None:
    model, quantized, x, y = classifier()
    before = [np.array(w) for m in (model, quantized) for w in m.get_weights()]
    ko.validate(model, quantized, (x[:16], y[:16]))
    after = [np.array(w) for m in (model, quantized) for w in m.get_weights()]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert quantized.engine == "litert"
