"""Integer activations with weights narrower than a byte: read where LiteRT's arithmetic is ours."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.qparams import QParams
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph, Quantization


def fully_connected(inputs: int) -> bytes:
    """int8 activations, int4 weights of 3 units."""
    graph = Graph()
    qparams = Quantization.of(QParams(scale=0.1, zero_point=0))
    source = graph.tensor("x", (1, inputs), "int8", qparams)
    scale = np.full(3, 0.01, np.float32)
    kernel = graph.constant(
        np.ones((3, inputs), np.int8), name="kernel", quantization=Quantization.symmetric(scale, 0)
    )
    graph.tensors[kernel].dtype = "int4"
    bias = graph.constant(
        np.zeros(3, np.int32), name="bias", quantization=Quantization.symmetric(scale * 0.1, 0)
    )
    output = graph.tensor("y", (1, 3), "int8", qparams)
    graph.operator(
        "FULLY_CONNECTED", [source, kernel, bias], [output], schema.FullyConnectedOptionsT()
    )
    return pack(graph, [source], [output], ["x"], ["y"], "main")


def test_even():
    model = ko.load_model(fully_connected(8))
    assert model.count_params() > 0


def test_odd_is_refused():
    with pytest.raises(ko.ModelFileError, match=r"int4 weights of shape \(3, 7\) on int8"):
        ko.load_model(fully_connected(7))
