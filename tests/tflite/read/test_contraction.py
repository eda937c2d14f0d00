"""A product and a sum after it: a compiler may make one operation of them, which rounds once."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph
from keras_octet.tflite.run import Interpreter
from tests.tflite.read.test_golden import run_layers


def test_a_product_and_a_sum_are_within_the_documented_bound() -> None:
    graph = Graph()
    inputs = [graph.tensor(name, (None, 64), "float32") for name in "abc"]
    product, total = (graph.tensor(name, (None, 64), "float32") for name in ("product", "total"))
    graph.operator("MUL", inputs[:2], [product], schema.MulOptionsT())
    graph.operator("ADD", [product, inputs[2]], [total], schema.AddOptionsT())
    content = pack(graph, inputs, [total], list("abc"), ["total"], name="main")

    rng = np.random.default_rng(0)
    a, b, c = values = [rng.normal(0, 1, (500, 64)).astype(np.float32) for _ in range(3)]
    (expected,) = Interpreter(content)(*values)
    np.testing.assert_array_equal(expected, a * b + c)
    (received,) = run_layers(ko.load_model(content), values)
    bound = 0.5 * np.spacing(np.abs(a * b)) + np.spacing(
        np.maximum(np.abs(expected), np.abs(received))
    )
    assert (np.abs(received - expected) <= bound).all()
