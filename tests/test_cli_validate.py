"""`octet validate`: files in, a report out, exit codes for scripts."""

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
from keras_octet_cli.app import app
from keras_octet_cli.data import DataOptions, arrays

VALIDATE = ["validate", "model.keras", "int8.keras", "--data", "test.npz"]


def octet(*arguments: str) -> Any:
    return typer.testing.CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a float and a quantized model, samples and labels."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Flatten(name="flat")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="small")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 6, 6, 2)).astype("float32")
    labels = model.predict(data, verbose=0).argmax(1)
    quantized = ko.quantize(model, data)
    model.save(folder / "model.keras")
    quantized.save(folder / "int8.keras")
    quantized.export(folder / "int8.tflite")
    np.savez(folder / "test.npz", x=data, y=labels)
    np.save(folder / "x.npy", data)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "wrong.npy", (labels + 1) % 3)
    return folder


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in; the current folder."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_report_on_the_terminal_and_in_files(folder: Path) -> None:
    done = octet(*VALIDATE, "--report", "r.html", "--report", "r.json")
    assert done.exit_code == 0, done.output
    assert "small: float32 against int8 on 40 samples" in done.stdout
    assert "top-1 accuracy" in done.stdout
    assert "100.00 %" in done.stdout
    assert "latency, LiteRT" in done.stdout
    assert "Wrote r.html" in done.stdout
    report = ko.ValidationReport.load("r.json")
    assert report.metrics[0].before == 1.0
    assert {row.name for row in report.layers} >= {"conv", "head"}
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    assert len(list(folder.iterdir())) == 9


def test_json_has_everything_but_what_is_only_drawn(folder: Path) -> None:
    done = octet(*VALIDATE, "--json", "--no-latency")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["command"] == "validate"
    assert result["passed"] is True
    assert result["latencies"] == []
    assert result["outputs"][0]["agreement"] > 0.9
    assert "points" not in result["outputs"][0]
    assert result["layers"][1]["weights"]["num_channels"] == 4
    assert "histogram" not in json.dumps(result)
    assert done.stderr == ""


def test_limits_that_are_not_kept_are_exit_code_3(folder: Path) -> None:
    limits = ["--max-drop", "0.5", "--min-agreement", "0.5", "--min-sqnr", "99"]
    done = octet(*VALIDATE, *limits, "--no-latency", "--report", "r.txt")
    assert done.exit_code == 3
    assert "FAILED" in done.stdout
    assert "at least 99 dB required" in done.stdout
    assert "FAILED" in (folder / "r.txt").read_text()
    assert octet(*VALIDATE, *limits[:4], "--no-latency", "--quiet").exit_code == 0


@pytest.mark.parametrize("option", ["--quiet", "--json", "--no-effects"])
def test_a_limit_that_is_not_kept_is_an_error_in_one_line(folder: Path, option: str) -> None:
    done = octet(*VALIDATE, option, "--no-latency", "--min-sqnr", "99")
    assert done.exit_code == 3
    assert done.stderr.startswith("error: small did not pass: SQNR is ")
    assert done.stderr.endswith("at least 99 dB required.\n")
    assert done.stderr.count("\n") == 1
    assert (done.stdout == "") is (option == "--quiet")


def test_into_a_pipe_it_prints_what_print_does(folder: Path) -> None:
    done = octet(*VALIDATE, "--no-latency", "--report", "r[red].txt")
    assert done.stdout == (folder / "r[red].txt").read_text() + "Wrote r[red].txt.\n"
    assert all(line == line.rstrip() and len(line) <= 80 for line in done.stdout.splitlines())


def test_effects_can_be_left_out(folder: Path) -> None:
    done = octet(*VALIDATE, "--no-latency", "--no-effects", "--json")
    layers = json.loads(done.stdout)["layers"]
    assert layers
    assert all(row["effect"] is None for row in layers)


def test_labels_from_a_file_and_metrics_by_name(folder: Path) -> None:
    arguments = ["validate", "model.keras", "int8.keras", "--data", "x.npy", "--no-latency"]
    options = ["--layer-samples", "0", "--json"]
    done = octet(*arguments, *options, "--labels", "wrong.npy", "--metric", "accuracy")
    (metric,) = json.loads(done.stdout)["metrics"]
    assert (metric["name"], metric["before"]) == ("top-1 accuracy", 0.0)
    assert json.loads(octet(*arguments, *options).stdout)["metrics"] == []


def test_a_tflite_file_is_validated_too(folder: Path) -> None:
    done = octet(
        *["validate", "model.keras", "int8.tflite", "--data", "test.npz"],
        *["--no-latency", "--json"],
    )
    assert done.exit_code == 0, done.output
    same = json.loads(octet(*VALIDATE, "--no-latency", "--json").stdout)
    assert json.loads(done.stdout)["outputs"] == same["outputs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "gone.keras", "int8.keras", "--data", "test.npz"], "gone.keras: no such"),
        (["validate", "model.keras", "gone.tflite", "--data", "test.npz"], "gone.tflite"),
        (["validate", "model.keras", "int8.keras", "--data", "gone.npz"], "gone.npz: no such"),
        (
            ["validate", "model.keras", "test.npz", "--data", "test.npz"],
            "must end in .keras, .h5 or .tflite",
        ),
        (
            ["validate", "int8.keras", "model.keras", "--data", "test.npz"],
            "float model comes first",
        ),
        ([*VALIDATE, "--labels", "gone.npy"], "gone.npy: no such"),
        ([*VALIDATE, "--labels", "broken.npy"], "--labels: broken.npy is not a NumPy file"),
        ([*VALIDATE, "--labels", "short.npy"], "labels for"),
        ([*VALIDATE, "--metric", "nosuch"], "no metric 'nosuch'"),
        ([*VALIDATE, "--report", "r.pdf"], "saved as .json, .html or .txt"),
        ([*VALIDATE, "--report", "nowhere/r.html"], "nowhere: no such folder"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    folder: Path, arguments: list[str], message: str
) -> None:
    (folder / "broken.npy").write_bytes(b"no array")
    np.save("short.npy", np.zeros(3, int))
    before = sorted(folder.iterdir())
    done = octet(*arguments)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "model.keras", "int8.keras"],
        ["validate", "model.keras", "--data", "test.npz"],
        ["validate", "model.keras", "int8.keras", "--data", "test.txt"],
        [*VALIDATE, "--labels", "labels.txt"],
        [*VALIDATE, "--task", "clustering"],
        [*VALIDATE, "--max-drop", "little"],
        [*VALIDATE, "--max-drop", "-1"],
        [*VALIDATE, "--min-agreement", "98"],
        [*VALIDATE, "--batch-size", "0"],
        [*VALIDATE, "--layer-samples", "-1"],
    ],
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str]) -> None:
    assert octet(*arguments).exit_code == 2


def test_interruption_leaves_no_half_written_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "r.html").write_text("what was there")

    def write_half(self: Path, text: str, **kwargs: Any) -> None:
        self.write_bytes(text[:100].encode())
        raise KeyboardInterrupt

    before = sorted(folder.iterdir())
    monkeypatch.setattr(Path, "write_text", write_half)
    done = octet(*VALIDATE, "--no-latency", "--report", "r.html")
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted\n"
    assert sorted(folder.iterdir()) == before
    assert (folder / "r.html").read_text() == "what was there"


def test_labels_in_the_archive_of_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"

    def load(*names: str, labels: Path | None = None) -> Any:
        inputs = [keras.KerasTensor((None,), name=name) for name in names]
        return arrays.load(str(path), DataOptions(labels=labels), inputs, True)

    np.savez(path, image=np.zeros((2, 3)), labels=np.ones(2))
    x, y = load("image")
    assert x["image"].shape == (2, 3)
    assert y.tolist() == [1, 1]
    np.savez(path, a=np.zeros(2), y=np.ones(2))
    assert set(load("a", "y")) == {"a", "y"}
    np.savez(path, y=np.ones((2, 3)))
    assert load("image").shape == (2, 3)
    np.savez(tmp_path / "labels.npz", first=np.zeros(2), second=np.ones(2))
    np.savez(path, x=np.zeros((2, 3)), y=np.ones(2))
    _, labels = load("image", labels=tmp_path / "labels.npz")
    assert set(labels) == {"first", "second"}
