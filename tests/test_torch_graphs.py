"""`compile(jit_compile=True)` on PyTorch: the Keras layers as one graph."""

from __future__ import annotations

import functools
import shutil

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.torch_graphs import TorchGraphs
from tests.models import images, make

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="of PyTorch")
L = keras.layers


def on_keras_layers(model: keras.Model, calibration, **kwargs) -> ko.QuantizedModel:
    quantized = ko.quantize(model, calibration, **kwargs)
    quantized.engine = "keras"
    quantized.compile("sgd", "mse", jit_compile=True)
    return quantized


@pytest.fixture
def uncompiled(monkeypatch) -> None:
    """The exported graph as it is, which needs no C++ compiler."""
    import torch

    eager = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", eager)


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles with a C++ compiler")
@pytest.mark.parametrize("name", ["convolutional", "dense"])
def test_compiled_graphs_have_the_same_bits(name):
    model, calibration, x = make(name)
    quantized = on_keras_layers(model, calibration)
    expected = keras.Model(quantized.inputs, quantized.outputs).predict_on_batch(x)
    np.testing.assert_array_equal(quantized.predict_on_batch(x), expected)
    assert isinstance(quantized.predict_function, TorchGraphs)


@pytest.mark.parametrize("name", ["two_inputs_two_outputs", "u_net", "nested"])
def test_one_graph_for_each_shape(name, uncompiled):
    import torch

    model, calibration, x = make(name)
    quantized = on_keras_layers(model, calibration)
    expected = ko.quantize(model, calibration).predict(x, verbose=0)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    received = quantized.predict(x, batch_size=64, verbose=0)
    keras.tree.map_structure(np.testing.assert_array_equal, received, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # 64 samples, and the rest
    quantized.predict(x, batch_size=64, verbose=0)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.fixture
def with_float_head() -> tuple[ko.QuantizedModel, np.ndarray]:
    """A model whose last layer is float, and data for it."""
    data = images(2, 60, 12)
    model = keras.Sequential([keras.Input((12,)), L.Dense(8, "relu"), L.Dense(1, name="head")])
    quantized = on_keras_layers(model, data, recipe=ko.recipes.w8a8(keep_float=["head"]))
    return quantized, data


def test_graphs_share_the_weights(with_float_head, uncompiled):
    quantized, data = with_float_head
    before = quantized.predict(data, verbose=0)
    quantized.get_layer("head").kernel.assign(np.ones((8, 1)))
    after = quantized.predict(data, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    # Set, an engine is compiled again.
    dense = quantized.layers[2]
    kernel, bias, scale = dense.get_weights()
    dense.set_weights([kernel, bias, 2 * scale])
    quantized.engine = "keras"
    changed = quantized.predict(data, verbose=0)
    assert np.abs(changed - after).max() > 1e-3
    reference = keras.Model(quantized.inputs, quantized.outputs).predict(data, verbose=0)
    np.testing.assert_array_equal(changed, reference)


def test_a_wrong_shape_has_its_error(with_float_head):
    quantized, _ = with_float_head
    with pytest.raises(ValueError, match=r"shape.*12.*shape.*5"):
        quantized.predict_on_batch(np.ones((3, 5)))


def test_what_cannot_be_exported_is_left_to_keras():
    class Opaque(L.Layer):
        def call(self, x):
            return x if float(keras.ops.sum(x)) > 0 else -x

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    model = keras.Sequential([keras.Input((6,)), L.Dense(4), Opaque(name="opaque"), L.Dense(2)])
    data = images(0, 20, 6)
    graphs = TorchGraphs(on_keras_layers(model, data), otherwise=lambda data: ("Keras", data))
    with pytest.warns(UserWarning, match="cannot export model 'sequential"):
        assert graphs([(data,)]) == ("Keras", [(data,)])
    assert graphs([(data,)]) == ("Keras", [(data,)])  # and warns once
