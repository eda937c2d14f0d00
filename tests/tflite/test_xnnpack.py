"""The form of a graph that XNNPACK runs fastest: other operators, the same bits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_octet.layers import (
    QuantizedActivation,
    QuantizedAveragePooling2D,
    QuantizedConv2D,
    QuantizedPReLU,
    QuantizedReLU,
    QuantizedScale,
)
from keras_octet.qparams import QParams
from keras_octet.tflite.graph import Graph
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.storage import narrow_constants
from tests.litert import model_of
from tests.strategies import (
    hard_swish_qparams,
    integers,
    qparams,
    related_qparams,
    seeds,
)
from tests.tflite.support import assert_same_in_both_forms, forms_of

EVERY_VALUE = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)


def hard_swish(source: QParams, target: QParams) -> keras.Model:
    layer = QuantizedActivation(
        activation="hard_silu", input_qparams=[source], output_qparams=target
    )
    return model_of(layer, (256,))


def relu(source: QParams, max_value: float | None, *, rescaled: bool) -> keras.Model:
    """With the parameters of its input, or those for its outputs."""
    highest = source.scale * (127 - source.zero_point)
    scale = (highest if max_value is None else min(highest, max_value)) / 255
    target = QParams(scale=scale, zero_point=-128) if rescaled else source
    layer = QuantizedReLU(max_value=max_value, input_qparams=[source], output_qparams=target)
    return model_of(layer, (256,))


def test_hard_swish_is_nearly_always_taken():
    rng = np.random.default_rng(0)
    models = (hard_swish(*hard_swish_qparams(-x, y)) for x, y in rng.uniform(3, 16, (200, 2)))
    lengths = Counter(len(Interpreter(forms_of(x)[1]).operators()) for x in models)
    assert set(lengths) == {1, 5, 9}
    assert lengths[5] > 180
    assert lengths[1] < 4


@given(st.floats(-16, -1), st.floats(0.5, 16))
def test_hard_swish_of_calibrated_values(low, high):
    assert_same_in_both_forms(hard_swish(*hard_swish_qparams(low, high)), EVERY_VALUE)


@given(qparams, st.floats(0.01, 0.99), st.integers(-128, 127))
def test_hard_swish_of_any_parameters(source, ratio, zero_point):
    target = QParams(scale=source.scale / ratio / 128, zero_point=zero_point)
    assert_same_in_both_forms(hard_swish(source, target), EVERY_VALUE)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e30, 1e38])
def test_extreme_scales_stay(scale):
    params = QParams(scale=scale, zero_point=3)
    kept = {"input_qparams": [params], "output_qparams": params}
    for layer, operators in [
        (QuantizedActivation(activation="hard_silu", **kept), ["HARD_SWISH"]),
        (QuantizedReLU(**kept), ["RELU"]),
        (QuantizedPReLU(alpha_qparams=params, shared_axes=(1, 2), **kept), ["PRELU"]),
        (QuantizedAveragePooling2D(pool_size=(2, 2), strides=(2, 2), **kept), ["AVERAGE_POOL_2D"]),
        (QuantizedScale(**kept), ["DEPTHWISE_CONV_2D"]),
        (QuantizedConv2D(filters=8, kernel_size=(3, 3), **kept), ["CONV_2D"]),
    ]:
        plain, other = forms_of(model_of(layer, (8, 8, 3)))
        assert Interpreter(other).operators() == operators
        assert other == plain


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("max_value", [None, 6.0])
@given(low=st.floats(-16, -1), high=st.floats(1, 16))
def test_relu_of_calibrated_values(low, high, max_value, rescaled):
    scale = (high - low) / 255
    source = QParams(scale=scale, zero_point=round(-128 - low / scale))
    code = "RELU" if max_value is None else "RELU6"
    operators = assert_same_in_both_forms(relu(source, max_value, rescaled=rescaled), EVERY_VALUE)
    assert operators == ["DEQUANTIZE", code, "MUL", "ADD", "QUANTIZE"]


@given(qparams, st.floats(-8, 8), st.integers(-128, 127))
def test_relu_of_any_parameters(source, exponent, zero_point):
    target = QParams(scale=source.scale * 2**exponent, zero_point=zero_point)
    layer = QuantizedReLU(input_qparams=[source], output_qparams=target)
    assert_same_in_both_forms(model_of(layer, (256,)), EVERY_VALUE)


def prelu(shape: tuple[int, int, int], shared_axes: Any, *parameters: QParams) -> keras.Model:
    """With random slopes; parameters of inputs, slopes and outputs."""
    source, alpha, target = parameters
    layer = QuantizedPReLU(
        shared_axes=shared_axes,
        alpha_qparams=alpha,
        input_qparams=[source],
        output_qparams=target,
    )
    model = model_of(layer, shape)
    layer.alpha.assign(integers(0, tuple(layer.alpha.shape)))
    return model


@given(related_qparams(2), qparams)
def test_prelu_of_any_parameters(params, alpha):
    model = prelu((16, 16, 3), (1, 2), params[0], alpha, params[1])
    assert_same_in_both_forms(model, every_value_in(3))


def test_most_prelus_of_calibrated_values_are_taken():
    rng = np.random.default_rng(0)
    taken = 0
    for low, high, part, slope in rng.uniform((2, 2, 0.2, 0.2), (12, 12, 1, 1.2), (40, 4)):
        source, target = (
            QParams(scale=(high + x) / 255, zero_point=round(-128 + 255 * x / (high + x)))
            for x in (low, low * part)
        )
        alpha = QParams(scale=slope / 127, zero_point=0)
        model = prelu((16, 16, 64), (1, 2), source, alpha, target)
        taken += assert_same_in_both_forms(model, every_value_in(64)) != ["PRELU"]
    assert taken > 25


def every_value_in(channels: int) -> np.ndarray:
    return np.broadcast_to(EVERY_VALUE.reshape(1, 16, 16, 1), (1, 16, 16, channels))


@pytest.mark.parametrize(
    ("shared_axes", "taken"),
    [((1, 2), True), ((1, 3), False), ((2, 3), False), ((1,), False), (None, False)],
)
def test_prelu_with_a_slope_for_each_channel_is_taken(shared_axes, taken):
    source, target = QParams(scale=0.0514, zero_point=-11), QParams(scale=0.0413, zero_point=-40)
    model = prelu((16, 16, 16), shared_axes, source, QParams(scale=0.0031, zero_point=0), target)
    assert (assert_same_in_both_forms(model, every_value_in(16)) != ["PRELU"]) == taken


@given(
    seeds,
    qparams,
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 3),
    st.sampled_from(["same", "valid"]),
)
def test_average_pooling(seed, params, pool_size, strides, padding):
    layer = QuantizedAveragePooling2D(
        pool_size=pool_size,
        strides=tuple(min(strides, size) for size in pool_size),
        padding=padding,
        input_qparams=[params],
        output_qparams=params,
    )
    rng, shape = np.random.default_rng(seed), (40, 40, 5)
    values = np.stack(
        [
            integers(seed, shape),
            rng.integers(-2, 3, shape),  # many ties
            rng.integers(124, 128, shape),  # the factor moves these most
            rng.integers(-128, -123, shape),
        ]
    ).astype(np.int8)
    operators = assert_same_in_both_forms(model_of(layer, values.shape[1:]), values)
    assert operators == ["DEQUANTIZE", "AVERAGE_POOL_2D", "MUL", "ADD", "QUANTIZE"]


@pytest.mark.parametrize(
    ("pool_size", "strides", "scale"),
    [
        ((2, 5), (1, 1), 0.05),  # of many values
        ((2, 2), (1, 1), 0.06),  # with another scale: LiteRT averages the integers all the same
        ((2, 2), (3, 2), 0.05),  # that skip values
        ((3, 1), (3, 2), 0.05),
    ],
)
def test_averages_that_stay(pool_size, strides, scale):
    layer = QuantizedAveragePooling2D(
        pool_size=pool_size,
        strides=strides,
        input_qparams=[QParams(scale=0.05, zero_point=3)],
        output_qparams=QParams(scale=scale, zero_point=3),
    )
    model = model_of(layer, (9, 9, 2))
    assert assert_same_in_both_forms(model, integers(0, (1, 9, 9, 2))) == ["AVERAGE_POOL_2D"]


def test_a_constant_that_was_narrowed_is_not_that_of_the_same_value():
    graph = Graph()
    values = np.array([0.1, 0.2], np.float32)
    graph.then("ADD", [graph.tensor("x", (None, 2), "float32"), graph.constant(values)])
    narrow_constants(graph, "float16")
    index = graph.constant(values)
    np.testing.assert_array_equal(graph.tensors[index].data, values)
