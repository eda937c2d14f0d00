"""Whole models of TensorFlow's converter and the LiteRT quantizer: read, written, quantized.

`integration.whole_files` makes the files, once for all backends, in `build/whole_files`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tests.tflite.read.test_golden import running_operators

import keras_octet as ko
from integration import whole_files
from integration.exact_parts import KERNELS, assert_exact_parts
from integration.round_trips import Check, NearAsKernels, operators, round_trip
from integration.whole_files import APPLICATIONS, FLOAT_KINDS, NAMES, QUANTIZED_KINDS
from keras_octet.capture import capture
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
# Of the largest output: what rounding adds up to over a hundred layers.
TOLERANCE = 1e-4
# Phases of the batch become one dilated convolution, in float.
DILATED = "unet"
# LayerNormalization and attention, which Keras keeps whole and in float, are operators in a file,
# of which many have an integer form: with the error of the converter's int8 file.
DECOMPOSED = "transformer"


@dataclass
class Files:
    """A folder that `integration.whole_files` wrote."""

    folder: Path

    @property
    def model(self) -> keras.Model:
        return keras.saving.load_model(self.folder / "model.keras")

    def data(self, name: str) -> np.ndarray:
        with np.load(self.folder / "data.npz") as stored:
            return stored[name]

    def content(self, kind: str) -> bytes:
        if kind not in whole_files.kinds_of(self.folder.name):
            pytest.skip("in float only")
        path = self.folder / f"{kind}.tflite"
        if path.exists():
            return path.read_bytes()
        reason = path.with_suffix(".txt")
        if reason.exists():
            pytest.skip(f"not converted: {reason.read_text(encoding='utf-8')}")
        pytest.skip("ai-edge-quantizer is not installed")


@pytest.fixture(scope="module", params=NAMES)
def files(request: pytest.FixtureRequest) -> Files:
    folder = ROOT / "build" / "whole_files" / keras.__version__ / request.param
    whole_files.make(request.param, folder)
    return Files(folder)


def as_inputs(content: bytes, data: np.ndarray) -> np.ndarray:
    """Float data as what the file takes."""
    graph = parse(content).subgraphs[0]
    given = graph.tensors[graph.inputs[0]]
    if given.dtype != "int8":
        return data
    (scale,), (zero_point,) = given.quantization.scale, given.quantization.zero_point
    return np.clip(np.rint(data / scale) + zero_point, -128, 127).astype(np.int8)


def outputs(model: keras.Model, data: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model.predict_on_batch(model, data))


def ratio(expected: np.ndarray, received: np.ndarray) -> float:
    """SQNR in dB."""
    noise = np.square(expected - received, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(expected, dtype=np.float64).sum() / noise))


@pytest.mark.parametrize("kind", [*FLOAT_KINDS, *QUANTIZED_KINDS])
def test_reads_and_writes(files: Files, kind: str, tmp_path: Path) -> None:
    content = files.content(kind)
    inputs = as_inputs(content, files.data("examples"))
    check: Any = Check.of(content, TOLERANCE)
    if check.tolerance and check.share < 1:
        assert_exact_parts(content, [inputs[:1]])
        check = NearAsKernels(content, [inputs])
    same = not (files.folder.name == DILATED and kind in (*FLOAT_KINDS, "dynamic"))
    loaded = round_trip(content, [inputs], check, tmp_path, same_operators=same)
    assert isinstance(loaded, ko.QuantizedModel) == (kind in QUANTIZED_KINDS)
    if kind in QUANTIZED_KINDS:
        loaded.engine = "litert"
        (expected,) = Interpreter(content)(inputs)
        received = loaded.predict(inputs, verbose=0)
        # The engine's file has a fixed batch, with which XNNPACK takes what it otherwise leaves.
        if KERNELS.intersection(running_operators(parse(content).subgraphs[0])):
            check(received, expected)
        else:
            np.testing.assert_array_equal(received, expected)


def test_quantizes_like_the_original(files: Files) -> None:
    calibration, examples = files.data("calibration"), files.data("examples")
    original = files.model
    expected = outputs(original, examples)
    first = ko.quantize(original, calibration)
    second = ko.quantize(ko.load_model(files.content("float32")), calibration)
    if files.folder.name == DECOMPOSED:
        (one,) = Interpreter(files.content("int8"))(examples)
    else:
        one = first.predict(examples, verbose=0)
    two = second.predict(examples, verbose=0)
    assert abs(ratio(expected, one) - ratio(expected, two)) < 1.5
    if files.folder.name.startswith(APPLICATIONS):
        # The same graph; the weights differ in the last bit, where the converter folded.
        assert second.report.count("float") == first.report.count("float") == 0
        assert operators(second.to_tflite()) == operators(first.to_tflite())


def test_quantizes_to_the_same_bits_as_what_was_written(files: Files) -> None:
    if files.folder.name == DECOMPOSED:
        pytest.skip("quantizes other operations than the original")
    calibration, examples = files.data("calibration"), files.data("examples")
    flat = capture(files.model)
    first = ko.quantize(flat, calibration)
    second = ko.quantize(ko.load_model(to_tflite(flat)), calibration)
    np.testing.assert_array_equal(
        second.predict(examples, verbose=0), first.predict(examples, verbose=0)
    )
