"""Constants that a file stores narrower than it computes with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.errors import ExportError
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph, Quantization
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite
from tests.tflite.support import example, keras_outputs, sequence

L = keras.layers


def network() -> keras.Model:
    return sequence(
        (8, 8, 3),
        L.Conv2D(64, 3, activation="relu"),
        L.DepthwiseConv2D(3),
        L.GlobalAveragePooling2D(),
        L.Dense(10),
    )


def stored_types(content: bytes) -> set[str]:
    """Types of the constants that hold real numbers."""
    tensors = parse(content).subgraphs[0].tensors
    return {x.dtype for x in tensors if x.data is not None and x.dtype not in ("int32", "int64")}


def test_float16_halves_a_file_that_reads_back_exactly(tmp_path: Path) -> None:
    model = network()
    content = to_tflite(model, weights="float16")
    assert stored_types(content) == {"float16"}
    assert len(content) < 0.7 * len(to_tflite(model))
    loaded = ko.load_model(content)
    np.testing.assert_array_equal(
        loaded.get_weights()[0], model.get_weights()[0].astype(np.float16).astype(np.float32)
    )
    arrays = example(model, 2)
    np.testing.assert_allclose(
        keras_outputs(loaded, arrays)[0], keras_outputs(model, arrays)[0], rtol=2e-2, atol=2e-2
    )
    np.testing.assert_allclose(
        Interpreter(content)(*arrays)[0], keras_outputs(loaded, arrays)[0], rtol=2e-5, atol=2e-5
    )
    assert loaded.to_tflite() == content
    loaded.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").to_tflite() == content


def test_weights_are_stored_as_asked() -> None:
    content = to_tflite(network(), weights="float16")
    assert stored_types(ko.load_model(content).to_tflite(weights="float32")) == {"float32"}
    assert Interpreter(content).left() == []
    with pytest.raises(ExportError, match="weights='int8'"):
        ko.load_model(content).to_tflite(weights="int8")


def test_weights_that_float16_no_longer_holds_stay_exact() -> None:
    loaded = ko.load_model(to_tflite(network(), weights="float16"))
    dense = loaded.layers[-1]
    dense.kernel.assign(dense.kernel + 1e-5)
    content = loaded.to_tflite()
    assert stored_types(content) == {"float16", "float32"}
    again = ko.load_model(content)
    for ours, theirs in zip(again.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_float16_cannot_hold_stays_float32() -> None:
    model = sequence((2,), L.Dense(3))
    model.layers[-1].kernel.assign(np.full((2, 3), 1e6))
    assert stored_types(to_tflite(model, weights="float16")) == {"float16", "float32"}


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("axis", [0, None])
def test_weights_only_in_integers(dtype: str, axis: int | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    limit = 8 if dtype == "int4" else 128
    stored = rng.integers(-limit, limit, (5, 6)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, 5 if axis == 0 else 1).astype(np.float32)
    graph = Graph()
    x, y = graph.tensor("x", (None, 6), "float32"), graph.tensor("y", (None, 5), "float32")
    quantization = Quantization.symmetric(scale, 0)
    integers = graph.constant(stored, name="integers", quantization=quantization, dtype=dtype)
    kernel = graph.tensor("kernel", (5, 6), "float32")
    graph.operator("DEQUANTIZE", [integers], [kernel], schema.DequantizeOptionsT())
    options = schema.FullyConnectedOptionsT()
    graph.operator("FULLY_CONNECTED", [x, kernel, -1], [y], options)
    content = pack(graph, [x], [y], ["x"], ["y"], "main")

    loaded = ko.load_model(content)
    assert type(loaded.layers[-1]) is L.Dense
    expected = stored.astype(np.float32) * scale.reshape(-1, 1)
    np.testing.assert_array_equal(loaded.layers[-1].kernel, expected.T)
    arrays = example(loaded, 3)
    np.testing.assert_allclose(
        keras_outputs(loaded, arrays)[0], Interpreter(content)(*arrays)[0], rtol=2e-5, atol=2e-5
    )
    assert loaded.to_tflite() == content
    loaded.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").to_tflite() == content
    kernel_variable: Any = loaded.layers[-1].kernel
    kernel_variable.assign(kernel_variable + 0.001)
    assert stored_types(loaded.to_tflite()) == {"float32"}
