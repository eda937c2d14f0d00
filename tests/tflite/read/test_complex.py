"""Complex tensors: the transforms and parts that are read, and refusals of everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.layers import operators
from keras_octet.tflite.read.bounds import BOUNDS, EXACT
from keras_octet.tflite.run import Interpreter
from tests.tflite.read.single import file_of, tensor
from tests.tflite.read.test_golden import assert_within, run_layers
from tests.tflite.read.test_hostile import repacked


def complex_file(code: str, output: str, options: Any = None) -> bytes:
    """One operator that takes the size 1 out of `(batch, 1, 64)` complex numbers, or parts."""
    sizes = (64,) if code == "SQUEEZE" else (1, 64)
    shape = tensor((None, 1, 64), None, "complex64")
    return file_of(code, [shape], [tensor((None, *sizes), None, output)], options)


def spectrum_file(lengths: list[int], shape: tuple[int, ...] = (2, 4, 8)) -> bytes:
    output = tensor((2, abs(lengths[0]), lengths[1] // 2 + 1), None, "complex64")
    operands = [tensor(shape, None, "float32"), np.array(lengths, np.int32)]
    return file_of("RFFT2D", operands, [output], schema.Rfft2dOptionsT())


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e18, 1e25])
@pytest.mark.parametrize(
    ("code", "output", "options"),
    [
        ("REAL", "float32", None),
        ("IMAG", "float32", None),
        ("COMPLEX_ABS", "float32", None),
        ("SQUEEZE", "complex64", schema.SqueezeOptionsT(squeezeDims=np.array([1], np.int32))),
    ],
)
def test_complex_inputs(code: str, output: str, options: Any, scale: float, tmp_path: Path) -> None:
    content = complex_file(code, output, options)
    rng = np.random.default_rng(0)
    x = (scale * rng.normal(0, 1, (30, 1, 64, 2))).astype(np.float32).view(np.complex64)[..., 0]
    (expected,) = Interpreter(content)(x)
    model = ko.load_model(content)
    (received,) = run_layers(model, [x])
    assert_within(BOUNDS.get((code, "complex64"), EXACT), received, expected)
    np.testing.assert_array_equal(Interpreter(model.to_tflite())(x)[0], expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(run_layers(loaded, [x])[0], received)


@pytest.mark.parametrize(
    "lengths", [[1, 2], [1, 16], [4, 8], [2, 4], [8, 4], [16, 16], [1, 1024], [64, 64]]
)
def test_lengths(lengths: list[int]) -> None:
    """Longer and shorter than what is transformed."""
    content = spectrum_file(lengths)
    x = np.random.default_rng(0).normal(0, 1, (2, 4, 8)).astype(np.float32)
    model = ko.load_model(content)
    (expected,) = Interpreter(content)(x)
    assert_within(BOUNDS["RFFT2D", "float"], run_layers(model, [x])[0], expected)
    np.testing.assert_array_equal(Interpreter(model.to_tflite())(x)[0], expected)


@pytest.mark.parametrize("lengths", [[3, 4], [4, 6], [4, 1], [0, 4], [-4, 4], [4, 4, 4]])
def test_lengths_are_refused(lengths: list[int]) -> None:
    """LiteRT refuses them, but for one column, which it transforms amiss."""
    with pytest.raises(ko.ModelFileError, match=r"RFFT2D .* has lengths \["):
        ko.load_model(spectrum_file(lengths))


def test_rank_1_is_refused() -> None:
    with pytest.raises(ko.ModelFileError, match="of rank 1"):
        ko.load_model(spectrum_file([1, 8], shape=(8,)))


@pytest.mark.parametrize("code", ["NEG", "SQUARE", "TRANSPOSE", "CONCATENATION"])
def test_other_operators_are_refused(code: str) -> None:
    with pytest.raises(ko.ModelFileError, match=rf"{code} \(complex64\): operator 0 of subgraph 0"):
        ko.load_model(complex_file(code, "complex64"))


def test_cast_to_another_type_is_refused() -> None:
    with pytest.raises(ko.ModelFileError, match="makes complex64 of complex64; expected float32"):
        ko.load_model(complex_file("CAST", "complex64"))


def test_complex128_is_refused() -> None:
    def doubled(model: Any) -> None:
        model.subgraphs[0].tensors[0].type = schema.TensorType.COMPLEX128

    with pytest.raises(ko.ModelFileError, match=r"REAL \(complex128\)"):
        ko.load_model(repacked(complex_file("REAL", "float32"), doubled))


def test_complex_constants_are_refused() -> None:
    def stored(model: Any) -> None:
        """The lengths of a transform, two int32, are one complex number; its part is an output."""
        graph = model.subgraphs[0]
        lengths = graph.operators[0].inputs[1]
        graph.tensors[lengths].type = schema.TensorType.COMPLEX64
        graph.tensors[lengths].shape = np.array([1], np.int32)
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.REAL
        model.operatorCodes[0].deprecatedBuiltinCode = 127
        graph.operators[0].inputs = np.array([lengths], np.int32)

    with pytest.raises(ko.ModelFileError, match="is a complex constant"):
        ko.load_model(repacked(spectrum_file([4, 8]), stored))


def test_complex_arithmetic_is_not_written(tmp_path: Path) -> None:
    inputs = keras.Input((4,), dtype="complex64")
    model = keras.Model(inputs, keras.ops.add(inputs, inputs))
    with pytest.raises(ko.ExportError, match="would be ADD of complex numbers"):
        ko.export(model, tmp_path / "model.tflite")


def test_lengths_must_be_integers() -> None:
    def with_float_lengths(model: Any) -> None:
        (lengths,) = (x for x in model.subgraphs[0].tensors if x.type == schema.TensorType.INT32)
        lengths.type = schema.TensorType.FLOAT32

    with pytest.raises(ko.ModelFileError, match=r"'float32', 'float32'.*expected float32"):
        ko.load_model(repacked(spectrum_file([4, 8]), with_float_lengths))


def test_a_model_with_a_transform_is_quantized() -> None:
    x = keras.Input((4, 8))
    spectrum = operators.RFFT2D(rows=4, columns=8)(x)
    y = operators.ComplexPart(part="abs")(spectrum)
    y = keras.layers.Dense(5, name="first")(keras.layers.Flatten()(y))
    model = keras.Model(x, keras.layers.Dense(3, name="second")(y))
    data = np.random.default_rng(0).normal(size=(32, 4, 8)).astype(np.float32)
    quantized = ko.quantize(model, data)
    rows = {row.name: row.status for row in quantized.report.layers}
    assert rows["first"] == rows["second"] == "int8"
    written = Interpreter(quantized.to_tflite())
    assert written.operators()[:2] == ["RFFT2D", "COMPLEX_ABS"]
    np.testing.assert_array_equal(quantized.predict_on_batch(data[:1]), written(data[:1])[0])
    expected = model.predict_on_batch(data)
    assert np.abs(quantized.predict_on_batch(data) - expected).max() < 0.05 * np.abs(expected).max()
