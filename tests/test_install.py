"""`ko.install` and `ko.export`, `ko.load_model` through Keras's own functions."""

from __future__ import annotations

import io

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.tflite.run import Interpreter
from tests.models import dense_model, images, randomize


@pytest.fixture
def installed():
    ko.install()
    yield
    ko.uninstall()


@pytest.fixture(scope="module")
def quantized() -> ko.QuantizedModel:
    return ko.quantize(randomize(dense_model()), images(0, 32, 20))


def test_paths_bytes_and_streams(installed, quantized, tmp_path):
    path, data = tmp_path / "m.tflite", quantized.to_tflite()
    path.write_bytes(data)
    x = images(1, 8, 20)
    expected = quantized.predict(x, verbose=0)
    for load in (keras.saving.load_model, keras.models.load_model):
        for source in (path, str(path), data, io.BytesIO(data)):
            model = load(source)
            assert isinstance(model, ko.QuantizedModel)
            np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_keras_files_load_as_before(installed, quantized, tmp_path):
    dense_model().save(tmp_path / "m.keras")
    quantized.save(tmp_path / "q.keras")
    assert type(keras.saving.load_model(tmp_path / "m.keras")) is keras.Sequential
    assert isinstance(keras.models.load_model(tmp_path / "q.keras"), ko.QuantizedModel)
    with pytest.raises((ValueError, OSError)):
        keras.saving.load_model(tmp_path / "absent.keras")


def test_uninstall_takes_it_back(quantized):
    before = keras.saving.load_model, keras.models.load_model
    ko.install()
    ko.install()
    assert keras.saving.load_model is not before[0]
    ko.uninstall()
    assert (keras.saving.load_model, keras.models.load_model) == before
    with pytest.raises((ValueError, TypeError)):
        keras.saving.load_model(io.BytesIO(quantized.to_tflite()))


def test_export_of_a_plain_model(tmp_path):
    model = randomize(dense_model())
    ko.export(model, tmp_path / "m.tflite")
    x = images(1, 8, 20)
    (received,) = Interpreter((tmp_path / "m.tflite").read_bytes())(x)
    np.testing.assert_allclose(received, model.predict(x, verbose=0), atol=1e-6)


def test_load_model_names_what_it_received():
    with pytest.raises(ko.ModelFileError, match=r"Received: int 3"):
        ko.load_model(3)
