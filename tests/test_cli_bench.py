"""`octet bench`: what is measured, on which engine, and what cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import typer.testing

import keras_octet as ko
import keras_octet_cli.bench
from keras_octet.engines import ENGINES
from keras_octet.qparams import QParams
from keras_octet_cli.app import app
from keras_octet_cli.bench_results import number
from keras_octet_cli.options import EngineName
from tests.golden import record
from tests.tflite.read.single import file_of, tensor

QUICK = "--seconds", "0.01"


def octet(*arguments: str) -> Any:
    return typer.testing.CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def bench(*arguments: str) -> dict[str, Any]:
    done = octet("bench", *arguments, *QUICK, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    data = np.random.default_rng(0).normal(size=(40, 6, 6, 2)).astype("float32")
    quantized = ko.quantize(model, data)
    model.save(folder / "model.keras")
    quantized.save(folder / "int8.keras")
    quantized.export(folder / "int8.tflite")
    ko.export(model, folder / "float.tflite")
    recipe = ko.recipes.w8a8(input_dtype="int8", output_dtype="int8")
    ko.quantize(model, data, recipe=recipe).export(folder / "all_int8.tflite")
    np.save(folder / "x.npy", data)
    np.save(folder / "wrong.npy", data[:, :5])
    return folder


@pytest.fixture
def folder(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(files)
    return files


def test_every_engine_of_the_library_can_be_named() -> None:
    assert {str(name) for name in EngineName} == set(ENGINES)


def test_each_model_runs_on_its_own_engine(folder: Path) -> None:
    names = ["model.keras", "int8.keras", "int8.tflite", "float.tflite", "all_int8.tflite"]
    result = bench(*names)
    rows = result["results"]
    assert [(row["model"], row["batch_size"]) for row in rows] == [
        (name, size) for size in (1, 32) for name in names
    ]
    engines = {row["model"]: row["engine"] for row in rows}
    assert engines == dict.fromkeys(names, "litert") | {"model.keras": "keras"}
    for row in rows:
        latency, rate = row["latency_ms"], row["samples_per_second"]
        assert 0 < latency["low"] <= latency["median"] <= latency["high"] <= latency["p95"]
        assert latency["count"] >= 20
        assert 0 < rate["low"] <= rate["median"] <= rate["high"]
        first = next(other for other in rows if other["batch_size"] == row["batch_size"])
        assert row["times_as_fast"] == pytest.approx(
            first["latency_ms"]["median"] / latency["median"]
        )
        assert row["times_the_throughput"] == pytest.approx(
            rate["median"] / first["samples_per_second"]["median"]
        )
    assert result["machine"]["backend"] == keras.backend.backend()


def test_engines_threads_and_batch_sizes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = keras_octet_cli.bench.on_engine

    def on_engine(*arguments: Any) -> Any:
        model = original(*arguments)
        made.append((arguments[2], getattr(model, "engine_options", None)))
        return model

    monkeypatch.setattr(keras_octet_cli.bench, "on_engine", on_engine)
    engines = ["--engine", "openvino", "--engine", "litert", "--engine", "keras"]
    result = bench(
        *["model.keras", "int8.keras", *engines, "--batch-size", "4", "--threads", "1"],
        *["--data", "x.npy", "--limit", "3"],
    )
    rows = [(row["model"], row["engine"], row["batch_size"]) for row in result["results"]]
    assert rows == [
        (model, engine, 4)
        for model in ("model.keras", "int8.keras")
        for engine in ("openvino", "litert", "keras")
    ]
    assert result["threads"] == 1
    options = [options for engine, options in made if engine != "keras"]
    assert [each.num_threads for each in options] == [1] * 4


def test_samples_are_those_of_the_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def measure(subjects: Any, size: int, *rest: Any) -> list[Any]:
        seen.extend(subject.samples(size) for subject in subjects)
        return []

    monkeypatch.setattr(keras_octet_cli.bench, "measure", measure)
    monkeypatch.setattr(keras_octet_cli.bench, "show", lambda *arguments: None)
    bench("model.keras", "all_int8.tflite", "--data", "x.npy", "--limit", "8", "--batch-size", "16")
    assert seen[0].shape == (16, 6, 6, 2)
    np.testing.assert_array_equal(seen[0][:8], seen[0][8:])
    assert all((np.load("x.npy") == sample).all((1, 2, 3)).any() for sample in seen[0])
    (qparams,) = ko.load_model("all_int8.tflite").input_qparams.values()
    np.testing.assert_array_equal(seen[1], qparams.quantize(seen[0]))


def test_the_tables_on_a_terminal(folder: Path) -> None:
    done = octet("bench", "model.keras", "int8.keras", "--batch-size", "2", *QUICK)
    assert done.exit_code == 0, done.output
    assert "Latency: one call" in done.stdout
    assert "Throughput: predict" in done.stdout
    assert done.stdout.count("1.00x") >= 2
    assert "vs first" in done.stdout
    alone = octet("bench", "int8.keras", "--batch-size", "2", *QUICK)
    assert "vs first" not in alone.stdout
    assert octet("bench", "int8.keras", *QUICK, "--quiet").output == ""


def test_a_fixed_batch_size_is_the_only_one(folder: Path, tmp_path: Path) -> None:
    inputs = keras.Input(batch_shape=(3, 5))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "three.keras")
    rows = bench(str(tmp_path / "three.keras"), "int8.keras", "--batch-size", "1")["results"]
    assert [(row["model"], row["batch_size"]) for row in rows] == [
        ("three.keras", 3),
        ("int8.keras", 1),
    ]


def test_models_of_one_name_go_by_their_paths(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "int8.keras"
    shutil.copy("int8.keras", other)
    rows = bench("int8.keras", str(other), "--batch-size", "1")["results"]
    assert [row["model"] for row in rows] == ["int8.keras", str(other)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.keras"], "gone.keras: no such file or directory"),
        (["x.npy"], "must end in .keras, .h5 or .tflite"),
        (["int8.keras", "--data", "wrong.npy"], "expected shape (batch, 6, 6, 2)"),
        (["any_size.keras"], "any_size.keras takes samples of any size"),
        (["odd.keras", "--engine", "litert"], "odd.keras does not run on the engine 'litert'"),
        (["lstm.tflite", "--engine", "openvino"], "'openvino': it keeps state"),
        (["number.tflite"], "has an input without a batch axis"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    folder: Path, arguments: list[str], message: str
) -> None:
    inputs = keras.Input((None, 3))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save("any_size.keras")
    inputs = keras.Input((4, 4, 4, 3))
    keras.Model(inputs, keras.layers.AveragePooling3D(2)(inputs)).save("odd.keras")
    content, _ = record.load("unidirectional_sequence_lstm_float")
    Path("lstm.tflite").write_bytes(content)
    number = tensor((), QParams(scale=0.5, zero_point=0))
    Path("number.tflite").write_bytes(file_of("LOGISTIC", [number], [number]))
    done = octet("bench", *arguments, *QUICK)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["int8.keras", "--engine", "cuda"],
        ["int8.keras", "--batch-size", "0"],
        ["int8.keras", "--limit", "3"],
        ["int8.keras", "--threads", "0"],
    ],
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str]) -> None:
    done = octet("bench", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_numbers_have_three_digits() -> None:
    values = (0.01234, 1.234, 12.34, 123.4, 12345.6)
    assert [number(x) for x in values] == ["0.0123", "1.23", "12.3", "123", "12,346"]
