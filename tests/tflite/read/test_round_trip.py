"""Every int8 file that we write reads back: the same bits, and the same file when written again."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.layers import Int16Activation
from keras_octet.model import QuantizedModel
from keras_octet.qparams import QParams
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite
from tests.litert import keras_outputs
from tests.models import MODELS, make
from tests.tflite.test_quantized_layers import CASES


def assert_reads_back(content: bytes, *arrays: np.ndarray) -> None:
    """Read and written again, `content` is the same file and computes the same bits on Keras."""
    loaded = ko.load_model(content)
    assert isinstance(loaded, QuantizedModel)
    loaded.engine = "keras"
    original = Interpreter(content)
    for theirs, ours in zip(original(*arrays), keras_outputs(loaded, *arrays), strict=True):
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(ours, theirs)
    again = loaded.to_tflite()
    assert Interpreter(again).operators() == original.operators()
    assert len(again) == len(content)
    assert again == content


@pytest.mark.parametrize("name", MODELS)
def test_quantized_models(name):
    model, calibration, data = make(name)
    quantized = ko.quantize(model, calibration)
    quantized.engine = "keras"
    assert_reads_back(quantized.to_tflite(), *keras.tree.flatten(data))


@pytest.mark.parametrize("name", CASES)
def test_quantized_layers(name):
    model = CASES[name][0]()
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-128, 128, (3, *x.shape[1:])).astype(np.int8) for x in model.inputs]
    assert_reads_back(to_tflite(model), *arrays)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "gelu_tanh"])
def test_int16_activations(activation):
    source, target = (QParams(scale=s, zero_point=0, dtype="int16") for s in (2e-4, 2**-15))
    layer = Int16Activation(
        activation=activation, input_qparams=[source], output_qparams=target, name="activation"
    )
    x = keras.Input((9,), dtype="int16")
    content = to_tflite(keras.Model(x, layer(x)))
    values = np.random.default_rng(0).integers(-(2**15), 2**15, (300, 9)).astype(np.int16)
    assert_reads_back(content, values)
    (read,) = ko.load_model(content).layers[1:]
    assert read.activation == activation
