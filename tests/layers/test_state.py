"""Layers that keep state: from call to call on every path, in files, in copies, and put back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.engines import is_separable
from keras_octet.exportable import ExportableModel
from keras_octet.layers import QuantizedLayer, StatefulLayer, stateful_layers
from keras_octet.layers.base import register


@register
class RunningTotal(StatefulLayer, QuantizedLayer):
    """The sum of all batches so far, and of what it starts from."""

    output_dtype = "int32"

    def build(self, input_shape: Any) -> None:
        self.start = self._add_integer_weight("start", input_shape, "int32")
        self.total = self.add_state("total", input_shape, "int32", initial=self.start)
        self.calls = self.add_state("calls", (), "int8", initial=-128)

    def call(self, inputs: Any) -> Any:
        total = keras.ops.convert_to_tensor(self.total) + keras.ops.cast(inputs, "int32")
        self.total.assign(total)
        self.calls.assign(keras.ops.convert_to_tensor(self.calls) + 1)
        return keras.ops.cast(total, "int32")


STEPS = np.arange(24, dtype=np.int8).reshape(6, 2, 2)
TOTALS = np.cumsum(STEPS, 0, dtype=np.int32)


def make_model(cls: type = ko.QuantizedModel) -> Any:
    inputs = keras.Input(batch_shape=(2, 2), dtype="int8", name="x")
    nested = keras.Model(inputs, RunningTotal(name="inner")(inputs), name="nested")
    model = cls(inputs, [RunningTotal(name="outer")(inputs), nested(inputs)])
    if cls is ko.QuantizedModel:
        model.engine = "keras"
    return model


def first(outputs: Any) -> np.ndarray:
    one, other = (keras.ops.convert_to_numpy(x) for x in outputs)
    np.testing.assert_array_equal(one, other)
    return one


@pytest.mark.parametrize("cls", [ko.QuantizedModel, ExportableModel])
def test_calls_and_predict_go_on_from_one_another(cls: type) -> None:
    model = make_model(cls)
    assert model.stateful
    assert [layer.name for layer in stateful_layers(model)] == ["outer", "inner"]
    np.testing.assert_array_equal(first(model(STEPS[0])), TOTALS[0])
    np.testing.assert_array_equal(first(model.predict_on_batch(STEPS[1])), TOTALS[1])
    many = STEPS[2:5].reshape(6, 2)
    received = first(model.predict(many, batch_size=2, verbose=0))
    np.testing.assert_array_equal(received, TOTALS[2:5].reshape(6, 2))
    np.testing.assert_array_equal(first(model(STEPS[5])), TOTALS[5])
    model.reset_state()
    np.testing.assert_array_equal(first(model(STEPS[0])), TOTALS[0])


def test_state_starts_from_its_initial_value() -> None:
    model = make_model()
    layer = model.get_layer("outer")
    assert [variable.name for variable in layer.states] == ["total", "calls"]
    assert int(layer.calls.numpy()) == -128
    layer.start.assign([[5, 6], [7, 8]])
    model.reset_state()
    model(STEPS[1])
    np.testing.assert_array_equal(layer.total.numpy(), [[9, 11], [13, 15]])
    assert int(layer.calls.numpy()) == -127


def test_a_loaded_model_starts_afresh(tmp_path: Path) -> None:
    model = make_model()
    model(STEPS[3])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(first(loaded(STEPS[0])), TOTALS[0])
    np.testing.assert_array_equal(first(model(STEPS[0])), STEPS[3] + TOTALS[0])


def test_variables_are_weights_once_and_not_trainable() -> None:
    layer = make_model().get_layer("outer")
    assert [w.name for w in layer.weights] == ["start", "total", "calls"]
    assert not layer.trainable_weights


def test_a_copy_has_a_state_of_its_own() -> None:
    model = make_model()
    model(STEPS[0])
    other = copy.deepcopy(model)
    np.testing.assert_array_equal(first(model(STEPS[1])), TOTALS[1])
    np.testing.assert_array_equal(first(model(STEPS[2])), TOTALS[2])
    assert first(other(STEPS[0])).shape == (2, 2)
    np.testing.assert_array_equal(first(model(STEPS[3])), TOTALS[3])


def test_other_models_are_not_stateful() -> None:
    inputs = keras.Input((3,))
    model = ExportableModel(inputs, keras.layers.Dense(2)(inputs))
    assert not model.stateful
    model.reset_state()


def test_keras_recurrent_layers_are_reset_too() -> None:
    inputs = keras.Input(batch_shape=(2, 3, 4))
    model = ExportableModel(inputs, keras.layers.LSTM(5, stateful=True)(inputs))
    x = np.ones((2, 3, 4), np.float32)
    before = keras.ops.convert_to_numpy(model(x))
    assert model.stateful
    assert not np.array_equal(keras.ops.convert_to_numpy(model(x)), before)
    model.reset_state()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), before)


def test_batches_of_a_stateful_model_are_not_cut() -> None:
    inputs = keras.Input((2,), dtype="int8")
    layer = RunningTotal()
    layer.build((1, 2))
    assert not is_separable(keras.Model(inputs, layer(inputs)))
