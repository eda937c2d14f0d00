"""Every float file that we write reads back: what it computes, and the file when written again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.exportable import ExportableModel
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite
from tests.tflite import test_float_layers as written
from tests.tflite.support import example, keras_outputs, sequence

L = keras.layers

MODELS: dict[str, Callable[[], Any]] = {
    **{name: make for name, (make, _) in written.CANONICAL.items()},
    **written.FLOAT_LAYERS,
    **{
        f"activation {name}": lambda name=name: sequence((5,), L.Dense(4, activation=name))
        for name in written.ACTIVATIONS.split()
    },
    **{
        f"operation {name}": lambda step=step: sequence((4, 3), step)
        for name, step in written.OPERATIONS.items()
    },
    **{
        f"{name} recurrent": lambda cell=cell: sequence((4, 3), cell(5, return_sequences=True))
        for name, cell in written.CELLS.items()
    },
    "bidirectional": lambda: sequence((4, 3), L.Bidirectional(L.LSTM(3))),
}


@pytest.mark.parametrize("name", MODELS)
def test_reads_back(name: str) -> None:
    content = to_tflite(MODELS[name]())
    loaded = ko.load_model(content)
    assert type(loaded) is ExportableModel
    original = Interpreter(content)
    arrays = example(loaded, 3)
    for ours, theirs in zip(keras_outputs(loaded, arrays), original(*arrays), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)
    again = loaded.to_tflite()
    assert Interpreter(again).operators() == original.operators()
    assert Interpreter(again).left() == original.left()
    assert abs(len(again) - len(content)) <= 0.01 * len(content)
    for ours, theirs in zip(Interpreter(again)(*arrays), original(*arrays), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert again == content
