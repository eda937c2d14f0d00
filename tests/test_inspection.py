"""`ko.inspect`: operations, scales and bytes of files and models."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import typer.testing

import keras_octet as ko
from keras_octet_cli.app import app
from tests.models import images, randomize

L = keras.layers


@pytest.fixture(scope="module")
def quantized() -> ko.QuantizedModel:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            L.Conv2D(4, 3, activation="relu", name="conv"),
            L.Activation("softplus", name="island"),
            L.Flatten(name="flat"),
            L.Dense(5, name="head"),
        ]
    )
    return ko.quantize(randomize(model), images(0, 32, 8, 8, 3))


def test_a_file_and_its_model_agree(quantized, tmp_path):
    quantized.save(tmp_path / "q.keras")
    of_file = ko.inspect(quantized.to_tflite())
    of_keras = ko.inspect(tmp_path / "q.keras")
    assert [row.name for row in of_file.operations if row.name in ("conv", "head")] == [
        "conv",
        "head",
    ]
    by_name = {row.name: row for row in of_keras.operations}
    for row in of_file.operations:
        if row.name in by_name:
            output, other = row.outputs[0], by_name[row.name].outputs[0]
            assert (output.shape, output.dtype) == (other.shape, other.dtype)
    conv, head = by_name["conv"], by_name["head"]
    layer = quantized.get_layer("conv")
    assert conv.dtype == head.dtype == "int8"
    assert conv.outputs[0].zero_point == layer.output_qparams.zero_point
    kernel = conv.weights[0]
    assert (kernel.scales, kernel.bytes, kernel.shape) == (4, 3 * 3 * 3 * 4, (3, 3, 3, 4))
    assert of_keras.weight_bytes["int8"] == 108 + 144 * 5
    assert [row.name for row in of_keras.float_operations] == ["island"]
    assert "conv" in str(of_keras)


def test_bytes_of_a_file(quantized):
    data = quantized.to_tflite()
    found = ko.inspect(data)
    assert found.bytes == len(data)
    assert found.weight_bytes["int8"] == 108 + 144 * 5
    assert found.inputs[0].name == "image"


def test_a_subclassed_model_shows_its_layers():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model(np.zeros((1, 4), np.float32))
    (row,) = ko.inspect(model).operations
    assert (row.operation, row.dtype) == ("Dense", "float32")
    assert sum(x.bytes for x in row.weights) == (4 * 3 + 3) * 4


def octet(*arguments):
    return typer.testing.CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_octet_inspect(quantized, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quantized.export("q.tflite")
    quantized.save("q.keras")
    shown = octet("inspect", "q.tflite", "--weights")
    assert shown.exit_code == 0
    assert "CONV_2D" in shown.stdout
    assert "conv/kernel" in shown.stdout
    values = json.loads(octet("inspect", "q.keras", "--json").stdout)
    assert values["format"] == "keras"
    assert values["weight_bytes"]["int8"] == 108 + 144 * 5
    assert octet("inspect", "absent.tflite").exit_code == 1


def test_octet_convert_both_ways(quantized, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quantized.save("q.keras")
    assert octet("convert", "q.keras", "q.tflite", "--quiet").exit_code == 0
    assert octet("convert", "q.tflite", "again.keras").exit_code == 0
    values = json.loads(octet("convert", "again.keras", "again.tflite", "--json").stdout)
    assert values["model_class"] == "QuantizedModel"
    assert (tmp_path / "again.tflite").read_bytes() == (tmp_path / "q.tflite").read_bytes()
    assert octet("convert", "q.tflite", "q.h5").exit_code == 2
    assert octet("convert", "q.tflite", "q.tflite").exit_code == 2
    (tmp_path / "bad.tflite").write_bytes(b"nothing of the kind")
    done = octet("convert", "bad.tflite", "out.keras")
    assert done.exit_code == 1
    assert "not a .tflite file" in done.stderr
    assert not (tmp_path / "out.keras").exists()
