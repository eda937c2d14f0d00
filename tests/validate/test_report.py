"""The report: text, JSON, files, advice."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.validate import (
    ActivationResult,
    Difference,
    FloatTrial,
    LatencyResult,
    LayerResult,
    MetricResult,
    OutputResult,
    SizeResult,
    Timing,
    WeightResult,
)
from keras_octet.validate.advice import give_advice
from keras_octet.validate.wording import (
    byte_size,
    change_of_latency,
    change_of_metric,
    decibel,
    milliseconds,
    percentage,
    shortened,
)
from tests.validate.support import classifier


@functools.cache
def full_report() -> ko.ValidationReport:
    """Of everything, with a layer in float and a limit that is not kept."""
    model, _, x, y = classifier()
    recipe = ko.recipes.w8a8(keep_float="project")
    quantized = ko.quantize(model, x[:64], recipe=recipe)
    return ko.validate(model, quantized, (x, y), min_sqnr=90, layer_samples=64)


def test_json_round_trip(tmp_path: Path) -> None:
    report = full_report()
    path = tmp_path / "report.json"
    report.save(path)
    assert ko.ValidationReport.load(path) == report
    config = json.loads(path.read_text())
    assert config["format"] == "keras-octet validation report"
    assert config["passed"] is False
    assert config["metrics"][0]["name"] == "top-1 accuracy"


def test_numbers_that_are_not_finite_go_to_json_and_back(tmp_path: Path) -> None:
    difference = Difference(sqnr=math.inf, cosine=1.0, max_error=0.0, mean_error=0.0)
    output = OutputResult(name="y", task="regression", difference=difference)
    report = ko.ValidationReport(model="m", num_samples=1, outputs=(output,))
    report.save(tmp_path / "r.json")
    assert ko.ValidationReport.load(tmp_path / "r.json") == report
    assert '"inf"' in (tmp_path / "r.json").read_text()


def damaged(**changes: Any) -> str:
    return json.dumps(full_report().get_config() | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a validation report"),
        ("[]", "another kind of data"),
        ('{"format": "else"}', "another kind of data"),
        ('{"format": "keras-octet validation report"}', "version 1. Received: None"),
        ("[" * 100_000, "not a validation report"),
        ('{"a": NaN}', "not valid JSON"),
        (b"\xff\xfe\x00", "not a validation report"),
        ({"num_samples": "many"}, "num_samples: expected"),
        ({"metrics": [{}]}, r"metrics\[0\]: missing or unknown"),
        ({"metrics": 3}, "metrics: expected"),
        ({"extra": 1}, "extra"),
        ({"machine": {"a": 1}}, "machine.a"),
        ({"outputs": [None]}, r"outputs\[0\]: expected an object"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: Any, message: str) -> None:
    path = tmp_path / "r.json"
    if isinstance(text, dict):
        text = damaged(**text)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ko.ValidationError, match=message) as caught:
        ko.ValidationReport.load(path)
    assert "r.json" in str(caught.value)


def test_the_text_fits_a_terminal_and_says_what_matters() -> None:
    report = full_report()
    text = str(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "FAILED" in text.splitlines()[0]
    for words in (
        "classifier: float32 against int8 on 150 samples",
        "top-1 accuracy",
        "same decision",
        decibel(report.outputs[0].difference.sqnr),
        ".tflite file",
        "latency, LiteRT",
        "depthwise",
        "project: kept in float by the recipe",
        "at least 90 dB required",
    ):
        assert words in text, words
    assert "\x1b" not in text


def test_names_are_not_markup() -> None:
    row = LayerResult(
        name="[bold]x[/bold]", layer_type="Dense", status="int8",
        own=Difference(sqnr=20.0, cosine=1.0, max_error=0.0, mean_error=0.0),
    )  # fmt: skip
    report = ko.ValidationReport(model="[red]m", num_samples=1, layers=(row,))
    assert "[bold]x[/bold]" in str(report)
    assert "[red]m" in str(report)


def test_a_report_of_nothing_prints() -> None:
    report = ko.ValidationReport(model="empty", num_samples=0)
    assert report.passed
    assert "empty" in str(report)


def test_files_by_suffix_and_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = full_report()
    report.save(tmp_path / "r.txt")
    assert (tmp_path / "r.txt").read_text() == f"{report}\n"
    with pytest.raises(ko.ValidationError, match=r"saved as \.json, \.html or \.txt"):
        report.save(tmp_path / "r.pdf")

    def fail(self: Path, *args: Any, **kwargs: Any) -> None:
        self.write_bytes(b"half")
        raise KeyboardInterrupt

    before = (tmp_path / "r.txt").read_bytes()
    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(KeyboardInterrupt):
        report.save(tmp_path / "r.txt")
    assert (tmp_path / "r.txt").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_what_html_needs_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ko.MissingDependencyError, match=r"pip install 'keras-octet\[report\]'"):
        full_report().to_html()
    with pytest.raises(ImportError):
        ko.ValidationReport.check_format("r.html")


def test_numbers_in_words() -> None:
    assert percentage(0.9165) == "91.65 %"
    assert percentage(0.99999) == ">99.99 %"
    assert percentage(1.0) == "100.00 %"
    assert percentage(1e-9) == "<0.01 %"
    assert percentage(0.0) == "0.00 %"
    assert percentage(0.999, digits=0) == ">99 %"
    assert decibel(28.84) == "28.8 dB"
    assert decibel(math.inf) == "exact"
    assert decibel(math.nan) == "-"
    assert byte_size(None) == "-"
    assert byte_size(1_500_000) == "1.5 MB"
    assert shortened("a" * 50, 9) == "aaaa…aaaa"
    accuracy = MetricResult(name="top-1 accuracy", before=0.5, after=0.25)
    assert change_of_metric(accuracy) == "-25.00 points"
    error = MetricResult(name="MSE", before=2.0, after=3.0, lower_is_better=True)
    assert change_of_metric(error) == "+50.00 %"


def test_speed_on_one_engine_and_against_keras() -> None:
    def timing(median: float) -> Timing:
        return Timing(median=median, low=median, high=median, num_calls=20)

    keras_row = LatencyResult(engine="Keras (jax)", before=timing(10.0), after=None)
    litert = LatencyResult(engine="LiteRT", before=timing(1.0), after=timing(0.5))
    report = ko.ValidationReport(model="m", num_samples=1, latencies=(keras_row, litert))
    assert change_of_latency(litert, report) == "2.0x faster, 20x vs. Keras"
    assert change_of_latency(keras_row, report) == ""
    assert milliseconds(timing(0.01234)) == "0.0123 ms"
    assert milliseconds(timing(1234.4)) == "1234 ms"


def difference(sqnr: float) -> Difference:
    return Difference(sqnr=sqnr, cosine=1.0, max_error=0.0, mean_error=0.0)


def layer(name: str, effect: float, **changes: Any) -> LayerResult:
    values = ActivationResult(
        minimum=-1.0, maximum=1.0, low=-1.0, high=1.0, scale=2 / 255, zero_point=0, num_channels=8,
        better_range=(-1.0, 1.0),
    )  # fmt: skip
    activation = {k: changes.pop(k) for k in list(changes) if hasattr(values, k)}
    return LayerResult(
        **{
            "name": name,
            "layer_type": "Dense",
            "status": "int8",
            "tensor": name,
            "effect": effect,
            "own": difference(25.0),
            "activation": dataclasses.replace(values, **activation),
        }
        | changes
    )


WEIGHTS = WeightResult(
    minimum=-1.0, maximum=1.0, low=-1.0, high=1.0, smallest_high=1.0, difference=difference(30),
    worst_channel_sqnr=20.0, worst_channel=0, num_channels=8,
)  # fmt: skip


def advised(*rows: LayerResult, trials: Any = (), sqnr: float = 20.0) -> tuple[Any, ...]:
    output = OutputResult(name="y", task="classification", difference=difference(sqnr))
    return give_advice(
        ko.ValidationReport(
            model="m", num_samples=1, outputs=(output,), layers=rows, trials=tuple(trials)
        )
    )


def run_code(code: str, model: keras.Model, x: np.ndarray) -> ko.QuantizedModel:
    namespace = {"ko": ko, "model": model, "representative_dataset": x}
    exec(code, namespace)
    return namespace["q"]


@pytest.mark.parametrize(
    ("row", "words", "code"),
    [
        (
            layer("logits", 20.0, clipped=0.01, num_clipped=1200, maximum=9.0),
            "1 % of its outputs clip (1,200 values)",
            "MinMax",
        ),
        (
            layer("logits", 20.0, better_range=(-0.5, 0.5), better_range_gain=5.0),
            "stretch its range",
            "MSE",
        ),
        (
            layer("logits", 20.0, weights=WEIGHTS, weights_only=difference(26.0)),
            "Most of it comes from the weights",
            "keep_float='logits'",
        ),
        (
            layer(
                "logits", 20.0, weights_only=difference(26.0),
                weights=dataclasses.replace(WEIGHTS, coarse_channels=5),
            ),
            "5 of 8 channels use less than a quarter",
            "per_channel",
        ),
        (layer("logits", 20.0, coarse_channels=4), "4 of its 8 output channels", "keep_float"),
        (layer("logits", 20.0), "needs more than 8 bits", "keep_float"),
        (layer("scores", 20.0, prescribed=True, clipped=0.5), "specification", "keep_float"),
    ],
)  # fmt: skip
def test_advice_for_what_is_wrong_with_a_layer(row: LayerResult, words: str, code: str) -> None:
    (advice,) = advised(row)
    assert advice.layer == row.name
    assert words in advice.problem
    assert "outputs to 20.0 dB" in advice.problem
    assert code in advice.code
    model, _, x, _ = classifier()
    quantized = run_code(advice.code, model, x[:8])
    assert not quantized.report.unmatched_rules


def test_advice_to_keep_the_layers_that_bring_most() -> None:
    rows = [layer("stem", 20.0, fused="stem_relu"), layer("project", 21.0), layer("logits", 45.0)]
    trials = [
        FloatTrial(layers=(), sqnr=18.0),
        FloatTrial(layers=("stem",), sqnr=19.0),
        FloatTrial(layers=("stem", "project"), sqnr=30.0),
    ]
    first, *others = advised(*rows, trials=trials)
    assert "stem and project cost most" in first.problem
    assert "30.0 dB instead of 18.0 dB" in first.problem
    assert [advice.layer for advice in others] == ["stem", "project"]
    model, _, x, _ = classifier()
    report = run_code(first.code, model, x[:8]).report
    status = {row.name: row.status for row in report.layers}
    kept = {name for name, value in status.items() if value == "float"}
    assert kept == {"stem", "stem_relu", "project"}


def test_advice_where_one_layer_is_all_of_the_error() -> None:
    trials = [FloatTrial(layers=(), sqnr=0.0), FloatTrial(layers=("logits",), sqnr=math.inf)]
    (advice,) = advised(layer("logits", 20.0), layer("stem", math.inf), trials=trials)
    assert "the outputs are exact instead of 0.0 dB" in advice.problem
    assert "keep_float='logits'" in advice.code


def test_advice_when_no_few_layers_are_to_blame() -> None:
    trials = [FloatTrial(layers=(), sqnr=18.0), FloatTrial(layers=("logits",), sqnr=18.5)]
    (advice,) = advised(layer("logits", 39.0), trials=trials)
    assert "No few layers are to blame" in advice.problem
    assert (advice.action[:9], advice.code) == ("Calibrate", "")
    advice = advised(layer("logits", 39.0, better_range_gain=2.0), trials=trials)[0]
    assert "MSE" in advice.code
    model, _, x, _ = classifier()
    run_code(advice.code, model, x[:8])


def test_no_advice_for_outputs_that_are_fine() -> None:
    assert advised(layer("logits", 39.0), sqnr=45.0) == ()


def test_advice_about_calibration_that_saw_larger_values() -> None:
    rows = [layer(f"l{i}", 60.0, low=-10.0, high=10.0, better_range=None) for i in range(4)]
    (advice,) = advised(*rows, sqnr=50.0)
    assert "less than half of the calibrated range" in advice.problem
    model, _, x, _ = classifier()
    run_code(advice.code, model, x[:8])


def test_a_boundary_is_not_advised_to_stay_in_float() -> None:
    assert advised(layer("image_quantize", 20.0, layer_type="Quantize", tensor="image")) == ()


def test_names_with_pattern_characters_match_themselves_alone() -> None:
    (advice,) = advised(layer("conv[1]*", 20.0))
    namespace: dict[str, Any] = {"ko": ko}
    exec(advice.code.splitlines()[0] + advice.code.splitlines()[1] + ")", namespace)
    (rule,) = namespace["recipe"].rules
    names = ("conv[1]*", "conv1", "conv[1]x")
    assert [fnmatchcase(name, rule.name) for name in names] == [True, False, False]


def test_the_worst_layers_are_those_that_cost_the_outputs_most() -> None:
    rows = (layer("a", 30.0), layer("b", 20.0, own=difference(40.0)), layer("c", 25.0))
    report = ko.ValidationReport(model="m", num_samples=1, layers=rows)
    assert [row.name for row in report.worst_layers()] == ["b", "c", "a"]
    without = tuple(dataclasses.replace(row, effect=None) for row in rows)
    report = ko.ValidationReport(model="m", num_samples=1, layers=without)
    assert report.worst_layers()[-1].name == "b"
    sizes = SizeResult(name="s", before=None, after=None, note="n")
    assert dataclasses.replace(report, sizes=(sizes,)).sizes[0].note == "n"
