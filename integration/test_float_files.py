"""Whole float models from TensorFlow's converter: read, written again, quantized."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from tests.tflite.read.test_golden import running_operators

import keras_octet as ko
from integration.float_files import APPLICATIONS, NAMES
from keras_octet.capture import capture
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
# Of the largest output: what rounding adds up to over a hundred layers.
TOLERANCE = 1e-4


@dataclass
class Files:
    """A folder that `integration.float_files` wrote."""

    folder: Path

    @property
    def model(self) -> keras.Model:
        return keras.saving.load_model(self.folder / "model.keras")

    def data(self, name: str) -> np.ndarray:
        with np.load(self.folder / "data.npz") as stored:
            return stored[name]

    def content(self, dtype: str) -> bytes:
        return (self.folder / f"{dtype}.tflite").read_bytes()


@pytest.fixture(scope="module", params=NAMES)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run(
        [sys.executable, "-m", "integration.float_files", request.param, str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=1800,
    )
    return Files(folder)


def operators(content: bytes) -> list[str]:
    return [code for code, _ in running_operators(parse(content).subgraphs[0])]


def outputs(model: keras.Model, data: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model.predict_on_batch(model, data))


def ratio(expected: np.ndarray, received: np.ndarray) -> float:
    """SQNR in dB."""
    noise = np.square(expected - received, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(expected, dtype=np.float64).sum() / noise))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_reads_and_writes(files: Files, dtype: str, tmp_path: Path) -> None:
    content, examples = files.content(dtype), files.data("examples")
    model = ko.load_model(content)
    before = Interpreter(content)
    (expected,) = before(examples)
    received = outputs(model, examples)
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() <= TOLERANCE * np.abs(expected).max()

    again = model.to_tflite()
    after = Interpreter(again)
    assert len(again) <= 1.01 * len(content)
    assert len(after.left()) <= len(before.left())
    assert after.input_names == before.input_names
    assert after.output_names == before.output_names
    (rewritten,) = after(examples)
    assert np.abs(rewritten - expected).max() <= TOLERANCE * np.abs(expected).max()

    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").to_tflite() == again


def test_quantizes_like_the_original(files: Files) -> None:
    calibration, examples = files.data("calibration"), files.data("examples")
    original = files.model
    expected = outputs(original, examples)
    first = ko.quantize(original, calibration)
    second = ko.quantize(ko.load_model(files.content("float32")), calibration)
    one, two = first.predict(examples, verbose=0), second.predict(examples, verbose=0)
    assert abs(ratio(expected, one) - ratio(expected, two)) < 1.5
    if files.folder.name.startswith(APPLICATIONS):
        # The same graph; the weights differ in the last bit, where the converter folded.
        assert second.report.count("float") == first.report.count("float") == 0
        assert operators(second.to_tflite()) == operators(first.to_tflite())


def test_quantizes_to_the_same_bits_as_what_was_written(files: Files) -> None:
    calibration, examples = files.data("calibration"), files.data("examples")
    flat = capture(files.model)
    first = ko.quantize(flat, calibration)
    second = ko.quantize(ko.load_model(to_tflite(flat)), calibration)
    np.testing.assert_array_equal(
        second.predict(examples, verbose=0), first.predict(examples, verbose=0)
    )
