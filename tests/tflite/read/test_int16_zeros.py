"""TensorFlow's converter gives int16 zeros, such as the first state of an LSTM, a scale of 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.qparams import QParams
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph, Quantization
from keras_octet.tflite.run import Interpreter
from tests.tflite.read.test_golden import run_layers
from tests.tflite.read.test_hostile import repacked

SHAPE = (3, 8)


def file_of(code: str, *, bias: bool = False) -> bytes:
    """One operator of zeros, and of the input or of weights."""
    rng, graph = np.random.default_rng(0), Graph()
    known = Quantization.of(QParams(scale=2**-10, zero_point=0, dtype="int16"))
    none = Quantization(scale=np.zeros(1, np.float32), zero_point=np.zeros(1, np.int64), axis=0)
    x = graph.tensor("x", SHAPE, "int16", known)
    zeros = graph.constant(np.zeros(SHAPE, np.int16), name="zeros", quantization=none)
    y = graph.tensor("y", SHAPE, "int16", known)
    if code == "FULLY_CONNECTED":
        scale = Quantization.symmetric(np.full(8, 0.01, np.float32), 0)
        inputs = [
            zeros,
            graph.constant(rng.integers(-127, 128, (8, 8)).astype(np.int8), quantization=scale),
        ]
        if bias:
            values = rng.integers(-(2**30), 2**30, 8)
            inputs.append(graph.constant(values, quantization=none))
        product = graph.tensor("product", SHAPE, "int16", known)
        graph.operator(code, inputs, [product], schema.FullyConnectedOptionsT())
        graph.operator("ADD", [x, product], [y], schema.AddOptionsT())
    else:
        options = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT}
        graph.operator(code, [x, zeros], [y], options[code]())
    return pack(graph, [x], [y], ["x"], ["y"], "main")


@pytest.mark.parametrize("code", ["MUL", "FULLY_CONNECTED"])
def test_same_bits(code: str) -> None:
    assert_same_bits(file_of(code))


def test_a_bias_is_lost() -> None:
    """LiteRT multiplies the sum by 0."""
    assert_same_bits(file_of("FULLY_CONNECTED", bias=True))


def assert_same_bits(content: bytes) -> None:
    model = ko.load_model(content)
    values = np.random.default_rng(1).integers(-(2**15), 2**15, SHAPE).astype(np.int16)
    (expected,) = Interpreter(content)(values)
    np.testing.assert_array_equal(run_layers(model, [values])[0], expected)
    again = model.to_tflite()
    assert scales_of(again) == scales_of(content)
    np.testing.assert_array_equal(Interpreter(again)(values)[0], expected)


def scales_of(content: bytes) -> list[float]:
    model = schema.ModelT.InitFromPackedBuf(content)
    quantizations = [x.quantization for x in model.subgraphs[0].tensors]
    return sorted(float(x.scale[0]) for x in quantizations if x is not None)


@pytest.mark.parametrize("code", ["ADD", "SUB"])
def test_in_a_sum_refused(code: str) -> None:
    """LiteRT would abort the process."""
    with pytest.raises(ko.ModelFileError, match="a scale of 0"):
        ko.load_model(file_of(code))


def test_of_an_output_refused() -> None:
    def without_scale(model: Any) -> None:
        model.subgraphs[0].tensors[2].quantization.scale = np.zeros(1, np.float32)

    with pytest.raises(ko.ModelFileError, match="a scale of 0"):
        ko.load_model(repacked(file_of("MUL"), without_scale))
