"""A quantized model as an object: copies, files, weights set later, unusual inputs."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.exportable import ExportableModel
from keras_octet.tflite.run import Interpreter
from tests.models import images, make, randomize
from tests.test_quantize import assert_equal
from tests.tflite.support import parsed

L = keras.layers


@pytest.fixture(scope="module")
def quantized() -> tuple[ko.QuantizedModel, Any, Any]:
    """A quantized model, data, and what it predicts."""
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    return q, x, q.predict(x, verbose=0)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies(quantized: Any, duplicate: Any) -> None:
    q, x, expected = quantized
    other = duplicate(q)
    assert type(other) is ko.QuantizedModel
    assert other.report == q.report
    assert_equal(other.predict(x, verbose=0), expected)
    other.engine = "keras"
    assert_equal(other.predict(x, verbose=0), expected)


def test_a_clone_has_new_weights(quantized: Any) -> None:
    q, x, expected = quantized
    for each in (keras.models.clone_model(q), ko.QuantizedModel.from_config(q.get_config())):
        assert not np.array_equal(each.predict(x, verbose=0), expected)
        each.set_weights(q.get_weights())
        assert_equal(each.predict(x, verbose=0), expected)
        each.engine = "keras"
        assert_equal(each.predict(x, verbose=0), expected)


def test_weights_in_a_file_of_their_own(quantized: Any, tmp_path: Path) -> None:
    q, x, expected = quantized
    q.save_weights(tmp_path / "q.weights.h5")
    clone = keras.models.clone_model(q)
    clone.load_weights(tmp_path / "q.weights.h5")
    assert_equal(clone.predict(x, verbose=0), expected)


def test_new_scales_reach_what_was_compiled(quantized: Any) -> None:
    q, x, expected = quantized
    other = copy.deepcopy(q)
    other.engine = "keras"
    assert_equal(other.predict(x, verbose=0), expected)
    doubled = [w * 2 if w.dtype == np.float32 else w for w in q.get_weights()]
    other.set_weights(doubled)
    received = other.predict(x, verbose=0)
    assert not np.array_equal(received, expected)
    other.engine = "litert"
    assert_equal(other.predict(x, verbose=0), received)


def test_weights_set_layer_by_layer(quantized: Any) -> None:
    q, x, expected = quantized
    clone = keras.models.clone_model(q)
    clone.engine = "keras"
    clone.predict(x, verbose=0)
    for source, target in zip(q.layers, clone.layers, strict=True):
        target.set_weights(source.get_weights())
    stem = clone.get_layer("stem")
    assert stem._pieces == q.get_layer("stem")._pieces
    np.testing.assert_array_equal(stem._multiplier, q.get_layer("stem")._multiplier)
    clone.engine = "litert"
    assert_equal(clone.predict(x, verbose=0), expected)


def test_a_loaded_model_exports_the_same_file(tmp_path: Path) -> None:
    """Also with a slice, whose key is a list after a round trip through JSON."""
    inputs = keras.Input((8, 8, 4))
    x = L.Conv2D(4, 1)(inputs)
    outputs = [L.ReLU()(x[:, 1:5, ::2]), L.Dense(2)(x[..., 0]), L.Flatten()(x[:, -1])]
    q = ko.quantize(randomize(keras.Model(inputs, outputs)), images(0, 20, 8, 8, 4))
    q.save(tmp_path / "q.keras")
    assert keras.saving.load_model(tmp_path / "q.keras").to_tflite() == q.to_tflite()


@pytest.mark.parametrize(
    ("name", "options"),
    [("m.tflite", {}), ("m", {"format": "tflite"}), ("m.bin", {"format": "litert"})],
)
def test_export_formats(quantized: Any, tmp_path: Path, name: str, options: Any) -> None:
    q, _, _ = quantized
    q.export(tmp_path / name, **options)
    assert (tmp_path / name).read_bytes() == q.to_tflite()


def test_export_for_xnnpack_gives_the_same_bits(tmp_path: Path) -> None:
    x = images(0, 40, 16, 16, 3)
    inputs = y = keras.Input((16, 16, 3))
    y = L.Rescaling(2.0, -1.0)(y)
    y = L.Conv2D(8, 3, activation="hard_silu")(y)
    y = L.PReLU(shared_axes=[1, 2])(L.AveragePooling2D(3, 2)(y))
    y = L.Dense(4)(L.Flatten()(L.ReLU()(L.AveragePooling2D(2)(y))))
    q = ko.quantize(randomize(keras.Model(inputs, y)), x)
    q.export(tmp_path / "q.tflite", for_xnnpack=True)
    content = (tmp_path / "q.tflite").read_bytes()
    plain, other = Interpreter(q.to_tflite()), Interpreter(content)
    # One for the output, and one for each that is rewritten.
    assert [x.operators().count("DEQUANTIZE") for x in (plain, other)] == [1, 6]
    assert other.left() == []
    (expected,), (received,) = plain(x), other(x)
    assert_equal(received, expected)
    assert_equal(ko.load_model(content).predict(x, verbose=0), expected)
    # What takes the place of an operator stays float32.
    tensors = parsed(q.to_tflite(weights="float16", for_xnnpack=True)).subgraphs[0].tensors
    assert schema.TensorType.FLOAT16 not in {tensor.type for tensor in tensors}


def test_export_of_another_format_is_that_of_keras(quantized: Any, tmp_path: Path) -> None:
    q, x, expected = quantized
    with pytest.raises(ValueError, match="abacus"):
        q.export(tmp_path / "m", format="abacus")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        q.export(tmp_path / "saved", verbose=False)
        served = tf.saved_model.load(tmp_path / "saved")
        assert_equal(served.serve(x).numpy(), expected)


def test_a_quantized_model_is_not_quantized_again(quantized: Any) -> None:
    q, x, _ = quantized
    for verb in (ko.quantize, ko.calibrate):
        with pytest.raises(ko.CaptureError, match="quantized already"):
            verb(q, x)


def test_values_that_are_not_numbers(quantized: Any) -> None:
    """NaN and infinities give the same bits on every path."""
    q, x, _ = quantized
    x = x[:5].copy()
    x[0], x[1], x[2], x[3] = np.nan, np.inf, -np.inf, 3e38
    expected = q.predict(x, verbose=0)
    other = copy.copy(q)
    other.engine = "keras"
    assert_equal(other.predict(x, verbose=0), expected)


@pytest.mark.parametrize("cls", [ko.QuantizedModel, ExportableModel])
def test_every_keras_knows_the_class_of_a_functional_model(cls):
    """By the arguments of the constructor; Keras 3.14 is the strictest."""
    arguments = inspect.getfullargspec(cls.__init__)
    assert (arguments.args, arguments.varargs, arguments.varkw) == (["self"], "args", "kwargs")


FIRST_OF_A_PROCESS = """
import keras, keras_octet as ko
x = keras.Input((3,))
try:
    ko.QuantizedModel(x)
except TypeError as error:
    assert "'outputs'" in str(error), error
else:
    raise AssertionError
assert ko.QuantizedModel(x, keras.layers.ReLU()(x), "named").name == "named"
"""


def test_the_constructor_takes_what_that_of_keras_takes():
    subprocess.run([sys.executable, "-c", FIRST_OF_A_PROCESS], check=True)
