"""Operators that compute the same are written once."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_octet.layers import QuantizedReLU
from keras_octet.qparams import QParams
from keras_octet.tflite.graph import RESOURCE, Graph, Quantization
from keras_octet.tflite.merge import merge_equal_operators
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite, write
from tests.strategies import integers
from tests.tflite.support import assert_close, randomized

L = keras.layers


@pytest.mark.parametrize(
    ("layers", "operators"),
    [
        ([L.ReLU(), L.ReLU(), L.Activation("relu")], ["CONV_2D", "ADD", "ADD"]),
        ([L.ReLU(), L.ReLU(6.0)], ["CONV_2D", "RELU", "RELU6", "ADD"]),
        ([L.MaxPool2D(2), L.MaxPool2D(2)], ["CONV_2D", "MAX_POOL_2D", "ADD"]),
        ([L.MaxPool2D(2), L.MaxPool2D(3, 2, "same")], ["CONV_2D", *2 * ["MAX_POOL_2D"], "ADD"]),
        ([L.Conv2D(2, 1), L.Conv2D(2, 1)], [*3 * ["CONV_2D"], "ADD"]),  # of other weights
    ],
)
def test_equal_layers_of_one_tensor(layers, operators):
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(image)
    model = randomized(keras.Model(image, L.Add()([layer(x) for layer in layers])))
    assert assert_close(model).operators() == operators


def test_what_reads_equal_results_is_equal():
    image = keras.Input((8, 8, 3))
    ends = [L.MaxPool2D(2)(L.ZeroPadding2D(1)(L.ReLU()(image))) for _ in range(2)]
    operators = assert_close(keras.Model(image, L.Add()(ends))).operators()
    assert operators == ["RELU", "PAD", "MAX_POOL_2D", "ADD"]


def test_outputs_of_the_model_stay():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, [L.ReLU()(image), L.ReLU()(image)])
    assert assert_close(model).operators() == ["RELU", "RELU"]


@pytest.mark.parametrize(("scale", "count"), [(0.05, 1), (0.06, 2)])
def test_integers_of_one_meaning_are_one(scale, count):
    source, target = QParams(scale=0.07, zero_point=3), QParams(scale=0.05, zero_point=-128)
    other = QParams(scale=scale, zero_point=-128)
    x = keras.Input((32,), dtype="int8")
    a, b = (QuantizedReLU(input_qparams=[source], output_qparams=p)(x) for p in (target, other))
    model = keras.Model(x, L.Concatenate()([a, b]))
    interpreter = Interpreter(to_tflite(model))
    assert interpreter.operators().count("RELU") == count
    values = integers(0, (2, 32))
    np.testing.assert_array_equal(interpreter(values)[0], np.asarray(model(values)))


def test_forms_of_one_tensor_for_xnnpack():
    params = QParams(scale=0.05, zero_point=3)
    kept = {"input_qparams": [params], "output_qparams": params}
    x = keras.Input((32,), dtype="int8")
    model = keras.Model(
        x, L.Concatenate()([QuantizedReLU(max_value=m, **kept)(x) for m in (None, 6.0)])
    )
    operators = Interpreter(write(model, for_xnnpack=True).content).operators()
    assert operators.count("DEQUANTIZE") == 1
    assert operators.count("QUANTIZE") == 2


@pytest.mark.parametrize(
    "code", ["READ_VARIABLE", "SVDF", "RANDOM_UNIFORM", "WHILE", "CUSTOM", "CALL_ONCE"]
)
def test_what_variables_or_chance_decide_stays(code):
    graph = Graph()
    source = graph.tensor("x", (4,), RESOURCE if code == "READ_VARIABLE" else "float32")
    graph.tensors[source].is_variable = code == "SVDF"
    outputs = [graph.tensor("y", (4,), "float32") for _ in range(2)]
    for output in outputs:
        graph.operator(code, [source], [output])
    merge_equal_operators(graph, [])
    assert len(graph.operators) == 2


@pytest.mark.parametrize(
    ("shapes", "scales"),
    [
        ([(4,), (4, 1)], [None, None]),
        ([(4,), (4,)], [None, 0.5]),
        ([(4,), (4,)], [0.25, 0.5]),
    ],
)
def test_other_outputs_are_of_other_operators(shapes, scales):
    graph = Graph()
    x = graph.tensor("x", (4,), "int8")
    for shape, scale in zip(shapes, scales, strict=True):
        params = None if scale is None else QParams(scale=scale, zero_point=0)
        graph.operator("RELU", [x], [graph.tensor("y", shape, "int8", Quantization.of(params))])
    merge_equal_operators(graph, [])
    assert len(graph.operators) == 2
