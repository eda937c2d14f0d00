"""Images of few channels in the form that XNNPACK runs fastest: other positions, the same bits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_octet as ko
from keras_octet.layers import (
    QuantizedConv2D,
    QuantizedDepthwiseConv2D,
    QuantizedPad,
    QuantizedScale,
    QuantizedZeroPadding2D,
)
from keras_octet.qparams import QParams
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import write
from tests.litert import fill, model_of
from tests.strategies import integers, qparams, related_qparams, seeds
from tests.tflite.support import assert_same_in_both_forms, forms_of

PARAMETERS = QParams(scale=0.05, zero_point=3)
KEPT = {"input_qparams": [PARAMETERS], "output_qparams": PARAMETERS}


@given(
    seeds,
    related_qparams(2),
    st.sampled_from([None, "relu", "relu6"]),
    st.sampled_from([(7, 9, 3), (16, 16, 1), (30, 2), (3, 17, 2, 4)]),
)
def test_channels_are_scaled_row_by_row(seed, params, activation, shape):
    layer = QuantizedScale(
        activation=activation, input_qparams=params[:1], output_qparams=params[1]
    )
    model = model_of(layer, shape)
    fill(layer, seed)
    operators = assert_same_in_both_forms(model, integers(seed, (2, *shape)))
    between = [] if len(shape) == 3 else ["RESHAPE"]  # to rank 4 and back
    rows = ["RESHAPE", "DEPTHWISE_CONV_2D", "RESHAPE"]
    assert operators == [*between, *rows, *between]


@pytest.mark.parametrize(
    ("shape", "batch_size", "taken"),
    [
        ((8, 8, 3), None, True),
        ((8, 5, 3), None, False),  # a row of 15
        ((8, 8, 16), None, False),
        ((2, 2048, 2), None, True),
        ((2, 2049, 2), None, False),
        ((None, 8, 3), 1, True),
        ((None, 8, 3), None, False),
        ((8, None, 3), 1, False),
    ],
)
def test_which_channels_are_scaled_row_by_row(shape, batch_size, taken):
    model = model_of(QuantizedScale(**KEPT), shape)
    content = write(model, batch_size=batch_size, for_xnnpack=True).content
    assert (Interpreter(content).operators() != ["DEPTHWISE_CONV_2D"]) == taken


small = st.integers(1, 5)


def convolution(shape: tuple, filters: int, size: int, **options: Any) -> keras.Model:
    layer = QuantizedConv2D(
        filters=filters, kernel_size=(size, size), **{"padding": "same", **KEPT, **options}
    )
    model = model_of(layer, shape)
    fill(layer, 0)
    return model


@given(
    seed=seeds,
    params=related_qparams(2),
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 24), small, small),
    window=st.tuples(small, st.integers(1, 9)),
    strides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    padding=st.sampled_from(["same", "valid"]),
    activation=st.sampled_from([None, "relu"]),
    per_tensor=st.booleans(),
)
def test_convolutions_of_few_channels(
    seed, params, sizes, window, strides, padding, activation, per_tensor
):
    height, width, channels, filters = sizes
    if padding == "valid":
        height, width = max(height, window[0]), max(width, window[1])
    shape = (height, width, channels)
    layer = QuantizedConv2D(
        filters=filters,
        kernel_size=window,
        strides=strides,
        padding=padding,
        activation=activation,
        per_tensor=per_tensor,
        input_qparams=params[:1],
        output_qparams=params[1],
    )
    model = model_of(layer, shape)
    fill(layer, seed)
    assert_same_in_both_forms(model, integers(seed, (2, *shape)))


PADDED = ["RESHAPE", "PAD", "RESHAPE", "CONV_2D"]


@pytest.mark.parametrize(
    ("shape", "filters", "size", "options", "operators"),
    [
        # Two results as one.
        ((32, 32, 3), 32, 3, {}, [*PADDED, "RESHAPE"]),
        ((28, 28, 1), 32, 5, {}, [*PADDED, "RESHAPE"]),
        ((16, 16, 32), 1, 3, {}, [*PADDED, "RESHAPE"]),
        # One result, whose window moves by the columns that are one; SAME padding pads them.
        ((32, 32, 3), 32, 3, {"strides": (2, 2)}, ["RESHAPE", "CONV_2D"]),
        ((32, 32, 3), 32, 7, {"strides": (2, 2)}, ["RESHAPE", "CONV_2D"]),
        ((38, 38, 3), 32, 7, {"strides": (2, 2), "padding": "valid"}, ["RESHAPE", "CONV_2D"]),
        ((32, 37, 3), 32, 3, {"strides": (2, 2)}, PADDED),
        # One result, the fewest multiplications, would leave a column over.
        ((7, 61, 2), 16, 7, {"strides": (4, 4), "padding": "valid"}, [*PADDED, "RESHAPE"]),
        ((32, 37, 1), 8, 2, {"strides": (2, 2), "padding": "valid"}, ["CONV_2D"]),
        # 31 results are not pairs.
        ((32, 31, 3), 32, 3, {}, ["CONV_2D"]),
        ((32, 32, 8), 32, 3, {}, ["CONV_2D"]),
        ((32, 32, 3), 32, 1, {}, ["CONV_2D"]),
        ((32, 32, 3), 32, 3, {"dilation_rate": (2, 1)}, ["CONV_2D"]),
        ((32, 32, 3), 32, 3, {"dilation_rate": (1, 2)}, ["CONV_2D"]),
        ((32, 32, 4), 32, 3, {"groups": 2}, ["CONV_2D"]),
        ((None, 32, 3), 32, 3, {}, ["CONV_2D"]),
        ((32, None, 3), 32, 3, {}, ["CONV_2D"]),
    ],
)
def test_which_convolutions_join_columns(shape, filters, size, options, operators):
    model = convolution(shape, filters, size, **options)
    values = integers(0, (2, *(32 if size is None else size for size in shape)))
    assert assert_same_in_both_forms(model, values) == operators


def test_a_file_with_joined_columns_is_read_and_written_as_it_is():
    model = convolution((32, 32, 3), 32, 3)
    content = write(model, for_xnnpack=True).content
    again = ko.load_model(content)
    values = integers(0, (2, 32, 32, 3))
    (expected,) = Interpreter(content)(values)
    np.testing.assert_array_equal(again.predict(values, verbose=0), expected)
    assert again.to_tflite() == again.to_tflite(for_xnnpack=True) == content


def window(**options: Any) -> QuantizedConv2D:
    return QuantizedConv2D(filters=16, kernel_size=(3, 3), **{**KEPT, **options})


@pytest.mark.parametrize(
    ("channels", "rows", "columns", "others", "readers", "operators"),
    [
        # The columns that are joined are padded once.
        (3, 2, 3, 0, [window()], [*PADDED, "RESHAPE"]),
        (3, 2, 0, 0, [window()], [*PADDED, "RESHAPE"]),
        (3, 2, 3, 0, [window(padding="same")], [*PADDED[:3], *PADDED, "RESHAPE"]),
        (2, 2, 3, 1, [window()], ["PAD", "RESHAPE", "CONV_2D", "RESHAPE"]),
        (3, 2, 3, 0, [window(), None], [*PADDED[:3], "RESHAPE", "CONV_2D", "RESHAPE"]),
        # XNNPACK's convolutions pad for themselves.
        (8, 2, 3, 0, [window()], ["PAD", "CONV_2D"]),
        (
            8,
            2,
            3,
            0,
            [QuantizedDepthwiseConv2D(kernel_size=(3, 3), **KEPT)],
            ["PAD", "DEPTHWISE_CONV_2D"],
        ),
        (8, 2, 3, 0, [window(padding="same")], PADDED),
        (8, 2, 3, 0, [window(), window()], [*PADDED, "CONV_2D"]),
        (8, 2, 3, 0, [window(), None], PADDED),
    ],
)
def test_padding_in_front_of_convolutions(channels, rows, columns, others, readers, operators):
    """`readers` of the padded image; None: it is an output."""
    image = keras.Input((14, 14, channels), dtype="int8")
    paddings = [(0, 0), (rows, rows), (columns, columns), (0, others)]
    padded = QuantizedPad(paddings=paddings, value=3, **KEPT)(image)
    model = keras.Model(image, [padded if x is None else x(padded) for x in readers])
    for layer in filter(None, readers):
        fill(layer, 0)
    assert assert_same_in_both_forms(model, integers(0, (2, 14, 14, channels))) == operators


def test_padding_with_other_qparams_stays():
    image = keras.Input((14, 14, 3), dtype="int8")
    other = QParams(scale=0.05, zero_point=-128)
    x = QuantizedPad(
        paddings=[(0, 0), (1, 1), (1, 1), (0, 0)],
        value=-128,
        input_qparams=[PARAMETERS],
        output_qparams=other,
    )(image)
    for output in (x, window(input_qparams=[other])(x)):
        _, content = forms_of(keras.Model(image, output))
        # XNNPACK refuses it.
        operators = Interpreter(content, delegate=False).operators()
        assert operators[0] == "PAD"
        assert operators.count("PAD") == 1


def test_float_and_narrow_convolutions_stay():
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.Conv2D(32, 3)(image))
    assert assert_same_in_both_forms(model, np.ones((1, 32, 32, 3), np.float32)) == ["CONV_2D"]
    layer = QuantizedConv2D(filters=32, kernel_size=(3, 3), kernel_dtype="int4", **KEPT)
    model = model_of(layer, (32, 32, 3))
    layer.kernel.assign(integers(0, (3, 3, 3, 32), -7, 7))
    assert assert_same_in_both_forms(model, integers(0, (1, 32, 32, 3))) == ["CONV_2D"]


@given(
    seeds,
    qparams,
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=2),
)
def test_padding_of_rows(seed, params, padding):
    layer = QuantizedZeroPadding2D(
        padding=tuple(padding), input_qparams=[params], output_qparams=params
    )
    operators = assert_same_in_both_forms(model_of(layer, (5, 7, 3)), integers(seed, (2, 5, 7, 3)))
    assert operators == (["RESHAPE", "PAD", "RESHAPE"] if any(padding[1]) else ["PAD"])


@pytest.mark.parametrize(
    ("shape", "paddings", "taken"),
    [
        ((8, 8, 32), [(0, 0), (1, 1), (1, 1), (0, 0)], True),
        ((8, 8, 33), [(0, 0), (1, 1), (1, 1), (0, 0)], False),
        ((8, 3), [(0, 0), (1, 2), (0, 0)], True),
        ((8, 8, 3), [(2, 0), (1, 1), (1, 1), (0, 0)], True),
        ((8, 8, 3), [(0, 0), (1, 1), (1, 1), (0, 1)], False),
        ((8, 8, 3), [(0, 0), (1, 1), (0, 0), (0, 0)], False),
        ((8,), [(0, 0), (1, 1)], False),
        ((None, 8, 3), [(0, 0), (1, 1), (1, 1), (0, 0)], False),
        ((8, None, 3), [(0, 0), (1, 1), (1, 1), (0, 0)], False),
        ((0, 8, 3), [(0, 0), (1, 1), (1, 1), (0, 0)], False),
    ],
)
def test_what_is_padded_row_by_row(shape, paddings, taken):
    model = model_of(QuantizedPad(paddings=paddings, value=3, **KEPT), shape)
    values = integers(0, (2, *(8 if size is None else size for size in shape)))
    assert (assert_same_in_both_forms(model, values) != ["PAD"]) == taken


def test_padding_of_vectors_stays():
    image = keras.Input((3, 3, 3))
    x = keras.ops.sum(image, axis=(1, 2, 3))
    model = keras.Model(image, keras.ops.pad(x, [(0, 2)]))
    values = np.ones((2, 3, 3, 3), np.float32)
    assert assert_same_in_both_forms(model, values) == ["SUM", "PAD"]


@pytest.mark.parametrize(
    ("dtype", "channels", "taken"),
    [("float32", 8, True), ("float32", 9, False), ("int32", 3, False)],
)
def test_which_other_images_are_padded_row_by_row(dtype, channels, taken):
    image = keras.Input((6, 6, channels), dtype=dtype)
    model = keras.Model(image, keras.ops.pad(image, [(0, 0), (2, 2), (2, 2), (0, 0)]))
    values = integers(0, (2, 6, 6, channels)).astype(dtype)
    assert (assert_same_in_both_forms(model, values) != ["PAD"]) == taken
