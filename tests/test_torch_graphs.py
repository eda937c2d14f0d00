"""`compile(jit_compile=True)` on PyTorch: the Keras layers as one graph."""

from __future__ import annotations

import shutil
import threading
from typing import Any

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.torch_graphs import MOST_GRAPHS, TorchGraphs
from tests.layers.test_state import make_model as make_stateful
from tests.models import images, make

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="of PyTorch")
L = keras.layers


def on_keras_layers(model: keras.Model, calibration: Any, **kwargs: Any) -> ko.QuantizedModel:
    quantized = ko.quantize(model, calibration, **kwargs)
    quantized.engine = "keras"
    quantized.compile(jit_compile=True)
    return quantized


def layer_by_layer(quantized: ko.QuantizedModel, x: Any) -> Any:
    return keras.tree.map_structure(keras.ops.convert_to_numpy, quantized(x))


@pytest.fixture
def graphs(monkeypatch) -> list[Any]:
    """What PyTorch is asked to compile, and runs as it is: that needs no C++ compiler."""
    import torch

    found = []

    def keep(graph):
        if isinstance(graph, torch.fx.GraphModule):
            found.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", keep)
    return found


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles with a C++ compiler")
@pytest.mark.parametrize("name", ["convolutional", "dense"])
def test_compiled_graphs_have_the_same_bits(name):
    model, calibration, x = make(name)
    quantized = on_keras_layers(model, calibration)
    np.testing.assert_array_equal(quantized.predict_on_batch(x), layer_by_layer(quantized, x))
    assert isinstance(quantized.predict_function, TorchGraphs)


@pytest.mark.parametrize("name", ["two_inputs_two_outputs", "u_net", "nested"])
def test_one_graph_for_each_shape(name, graphs):
    model, calibration, x = make(name)
    quantized = on_keras_layers(model, calibration)
    expected = layer_by_layer(quantized, x)
    for _ in range(2):
        received = quantized.predict(x, batch_size=64, verbose=0)
        keras.tree.map_structure(np.testing.assert_array_equal, received, expected)
        assert len(graphs) == 2  # 64 samples, and the rest


def test_few_shapes_have_a_graph(graphs):
    model, data, _ = make("dense")
    quantized = on_keras_layers(model, data)
    expected = layer_by_layer(quantized, data)
    for count in range(1, MOST_GRAPHS + 3):
        received = quantized.predict_on_batch(data[:count])
        np.testing.assert_array_equal(received, expected[:count])
    assert len(graphs) == MOST_GRAPHS


@pytest.fixture
def with_float_head() -> tuple[ko.QuantizedModel, np.ndarray]:
    """A model whose last layer is float, and data for it."""
    data = images(2, 60, 12)
    model = keras.Sequential([keras.Input((12,)), L.Dense(8, "relu"), L.Dense(1, name="head")])
    quantized = on_keras_layers(model, data, recipe=ko.recipes.w8a8(keep_float=["head"]))
    return quantized, data


def test_graphs_share_the_weights(with_float_head, graphs):
    quantized, data = with_float_head
    before = quantized.predict(data, verbose=0)
    quantized.get_layer("head").kernel.assign(np.ones((8, 1)))
    after = quantized.predict(data, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    assert len(graphs) == 2


def doubled(weights: list[np.ndarray]) -> list[np.ndarray]:
    return [2 * w if w.dtype == np.float32 else w for w in weights]


def set_weights_of_a_layer(quantized: ko.QuantizedModel) -> None:
    layer = quantized.layers[2]
    layer.set_weights(doubled(layer.get_weights()))
    quantized.engine = "keras"


def set_weights_of_the_model(quantized: ko.QuantizedModel) -> None:
    quantized.set_weights(doubled(quantized.get_weights()))


@pytest.mark.parametrize("change", [set_weights_of_a_layer, set_weights_of_the_model])
def test_graphs_are_made_again_where_multipliers_change(change, with_float_head, graphs):
    quantized, data = with_float_head
    before = quantized.predict_on_batch(data)
    change(quantized)
    received = quantized.predict_on_batch(data)
    assert np.abs(received - before).max() > 1e-3
    np.testing.assert_array_equal(received, layer_by_layer(quantized, data))
    assert len(graphs) == 2


def test_a_wrong_shape_has_its_error(with_float_head, graphs):
    quantized, _ = with_float_head
    with pytest.raises(ValueError, match=r"shape.*12.*shape.*5"):
        quantized.predict_on_batch(np.ones((3, 5)))
    assert not graphs


def test_layers_are_told_that_they_do_not_train(graphs):
    import torch

    dropout = L.TorchModuleWrapper(torch.nn.Dropout(0.5), output_shape=(None, 4))
    model = keras.Sequential([keras.Input((6,)), L.Dense(4), dropout, L.Dense(2)])
    data = images(0, 20, 6)
    quantized = on_keras_layers(model, data)
    received = quantized.predict_on_batch(data)
    assert len(graphs) == 1
    quantized.compile(jit_compile=False)
    np.testing.assert_array_equal(received, quantized.predict_on_batch(data))


def test_inputs_may_be_left_out(graphs):
    class First(L.Layer):
        def call(self, inputs):
            return inputs[0]

    inputs = [keras.Input((3,)), keras.Input((3,), optional=True)]
    quantized = ko.QuantizedModel(inputs, First()(inputs), engine="keras")
    quantized.compile(jit_compile=True)
    data = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(quantized.predict_on_batch([data, None]), data)
    assert not graphs
    np.testing.assert_array_equal(quantized.predict_on_batch([data, data]), data)
    assert len(graphs) == 1


def test_a_model_with_state_has_no_graphs():
    model = make_stateful()
    model.compile(jit_compile=True)
    model.make_predict_function()
    assert not isinstance(model.predict_function, TorchGraphs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_be_exported_is_left_to_keras(graphs):
    class Opaque(L.Layer):
        def call(self, x):
            return x if float(keras.ops.sum(x)) > 0 else -x

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    model = keras.Sequential([keras.Input((6,)), L.Dense(4), Opaque(name="opaque"), L.Dense(2)])
    data = images(0, 20, 6)
    quantized = on_keras_layers(model, data)
    with pytest.warns(UserWarning, match="cannot export model 'sequential") as caught:
        received = quantized.predict_on_batch(data)
    ours = [warning for warning in caught if "cannot export" in str(warning.message)]
    assert [warning.filename for warning in ours] == [__file__]
    expected = layer_by_layer(quantized, data)
    np.testing.assert_array_equal(received, expected)
    np.testing.assert_array_equal(quantized.predict_on_batch(data), expected)  # and warns once
    assert not graphs


def test_threads_export_in_turn(graphs):
    import torch

    model, data, _ = make("dense")
    models = [on_keras_layers(model, data) for _ in range(4)]
    expected = layer_by_layer(models[0], data)
    received = [None] * len(models)

    def predict(i):
        received[i] = models[i].predict_on_batch(data)

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outputs in received:
        np.testing.assert_array_equal(outputs, expected)
    assert len(graphs) == len(models)
    assert not torch.compiler.is_compiling()
