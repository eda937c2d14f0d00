"""What Keras users have works with quantized models: callbacks, plots, logs, export's arguments."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from tests.models import convolutional, images, randomize, two_inputs_two_outputs


@pytest.fixture(scope="module")
def models() -> tuple[keras.Model, ko.QuantizedModel, np.ndarray, np.ndarray]:
    model, x = randomize(convolutional()), images(1, 48, 16, 16, 3)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, ko.quantize(model, x), x, np.arange(48) % 4


class Recorder(keras.callbacks.Callback):
    """Writes down what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def on_test_begin(self, logs: Any = None) -> None:
        self.calls.append("begin")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls.append((batch, sorted(logs)))

    def on_test_end(self, logs: Any = None) -> None:
        self.calls.append(("end", sorted(logs)))

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls.append((batch, tuple(logs["outputs"].shape)))


def test_callbacks_are_called_as_for_the_float_model(models: Any) -> None:
    model, quantized, x, y = models
    recorders = Recorder(), Recorder()
    for each, recorder in zip((model, quantized), recorders, strict=True):
        each.evaluate(x, y, callbacks=[recorder], verbose=0)
        each.predict(x, callbacks=[recorder], verbose=0)
    assert recorders[0].calls == recorders[1].calls
    assert len(recorders[0].calls) == 6


def test_tensorboard(models: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    pytest.importorskip("tensorflow", reason="the callback writes with TensorFlow")
    _, quantized, x, y = models
    board = keras.callbacks.TensorBoard(tmp_path)
    quantized.evaluate(x, y, callbacks=[board], verbose=0)
    quantized.predict(x, callbacks=[board], verbose=0)
    assert list(tmp_path.rglob("events.out.*"))


PLOT = {"show_dtype": True, "show_shapes": True, "show_layer_names": True}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_graph_of_a_plot(models: Any) -> None:
    _, quantized, _, _ = models
    text = keras.utils.model_to_dot(quantized, **PLOT).to_string()
    assert all(layer.name in text for layer in quantized.layers)
    assert "int8" in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_plot_model(models: Any, tmp_path: Path) -> None:
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    _, quantized, _, _ = models
    keras.utils.plot_model(quantized, str(tmp_path / "model.png"), **PLOT)
    assert (tmp_path / "model.png").stat().st_size > 1000


def batch_of(path: Path) -> tuple[list[int], list[int]]:
    """Shape and signature of shape of a file's first input."""
    subgraph = schema.ModelT.InitFromPackedBuf(path.read_bytes()).subgraphs[0]
    tensor = subgraph.tensors[subgraph.inputs[0]]
    signature = tensor.shapeSignature
    return list(tensor.shape), list(tensor.shape if signature is None else signature)


def test_export_takes_the_arguments_of_keras(models: Any, tmp_path: Path, capsys: Any) -> None:
    _, quantized, _, _ = models
    path = tmp_path / "m.tflite"
    quantized.export(path, format="litert", verbose=True)
    assert capsys.readouterr().out == f"Saved artifact at '{path}'.\n"
    assert batch_of(path) == ([1, 16, 16, 3], [-1, 16, 16, 3])
    signature = [keras.InputSpec(shape=(4, 16, 16, 3), dtype="float32")]
    quantized.export(path, format="litert", verbose=False, input_signature=signature)
    assert capsys.readouterr().out == ""
    assert batch_of(path) == ([4, 16, 16, 3], [4, 16, 16, 3])
    with pytest.raises(ko.ExportError, match=r"\(None, 16, 16, 3\).* Received: \[\(4, 8, 8, 3\)\]"):
        quantized.export(path, input_signature=[keras.InputSpec(shape=(4, 8, 8, 3))])


def test_a_signature_of_several_inputs(tmp_path: Path) -> None:
    model = randomize(two_inputs_two_outputs())
    x = {name: images(1, 8, 8) for name in ("left", "right")}
    quantized = ko.quantize(model, x)
    signature = {name: keras.InputSpec(shape=(2, 8)) for name in x}
    quantized.export(tmp_path / "m.tflite", input_signature=signature)
    assert batch_of(tmp_path / "m.tflite")[1] == [2, 8]
    signature["left"] = keras.InputSpec(shape=(3, 8))
    with pytest.raises(ko.ExportError, match="with one size"):
        quantized.export(tmp_path / "m.tflite", input_signature=signature)
