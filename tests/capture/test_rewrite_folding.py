from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_octet.capture.rewrites.affine import Affine
from tests.capture.support import captured, functional, kinds, operations, sequential

L = keras.layers

LINEAR: dict[str, Any] = {
    "dense": lambda: L.Dense(6),
    "convolution": lambda: L.Conv2D(6, 3, padding="same", use_bias=False),
    "grouped convolution": lambda: L.Conv2D(6, 3, groups=2),
    "depthwise": lambda: L.DepthwiseConv2D(3, depth_multiplier=2),
    "transposed": lambda: L.Conv2DTranspose(6, 3, strides=2),
    "separable": lambda: L.SeparableConv2D(6, 3),
}


@pytest.mark.parametrize("name", LINEAR)
def test_normalization_after_a_linear_layer_is_folded(name: str) -> None:
    model = sequential((6, 6, 4), LINEAR[name](), L.BatchNormalization(), L.ReLU())
    assert kinds(captured(model))["Rescaling"] == 0


@pytest.mark.parametrize("name", ["dense", "grouped convolution", "depthwise", "separable"])
def test_normalization_before_a_linear_layer_is_folded(name: str) -> None:
    model = sequential((6, 6, 4), L.ReLU(), L.BatchNormalization(), LINEAR[name]())
    assert kinds(captured(model))["Rescaling"] == 0


@pytest.mark.parametrize("name", ["convolution", "transposed"])
def test_an_offset_before_padding_is_not_folded(name: str) -> None:
    model = sequential((6, 6, 4), L.ReLU(), L.BatchNormalization(), LINEAR[name]())
    assert kinds(captured(model))["Rescaling"] == 1


@pytest.mark.parametrize("name", LINEAR)
def test_a_scale_before_any_linear_layer_is_folded(name: str) -> None:
    model = sequential((6, 6, 4), L.Rescaling([0.5, -2.0, 3.0, 0.1]), LINEAR[name]())
    assert kinds(captured(model))["Rescaling"] == 0


def test_a_linear_layer_that_something_else_reads_is_not_changed() -> None:
    def function(x: Any) -> Any:
        x = L.Dense(4)(x)
        return L.BatchNormalization()(x), ops.tanh(x)

    assert kinds(captured(functional(function, (5,))))["Rescaling"] == 1


def test_an_output_is_not_changed() -> None:
    def function(x: Any) -> Any:
        x = L.Dense(4)(x)
        return x, L.BatchNormalization()(x)

    assert kinds(captured(functional(function, (5,)))) == {"Dense": 1, "Rescaling": 1}


def test_a_chain_of_maps_is_one_map() -> None:
    def function(x: Any) -> Any:
        x = (x * 2.0 + 1.0) / 3.0
        return ops.tanh(L.BatchNormalization()(x) - 0.5)

    assert kinds(captured(functional(function, (4, 4, 3)))) == {"Rescaling": 1, "Activation": 1}


def test_one_map_into_several_layers() -> None:
    def function(x: Any) -> Any:
        x = L.BatchNormalization()(x)
        return L.Conv2D(3, 3)(x), L.Dense(2)(x), L.Dense(4)(L.Flatten()(x))

    found = kinds(captured(functional(function, (5, 5, 2))))
    assert found == Counter(Conv2D=1, Dense=2, Reshape=1)


def test_a_map_with_one_reader_that_cannot_take_it_stays() -> None:
    def function(x: Any) -> Any:
        x = L.BatchNormalization()(x)
        return L.Dense(2)(x), ops.tanh(x)

    assert kinds(captured(functional(function, (5,))))["Rescaling"] == 1


def test_hard_sigmoid_of_a_convolution_is_a_convolution_and_a_relu() -> None:
    flat = captured(sequential((6, 6, 3), L.Conv2D(4, 1, activation="hard_sigmoid")))
    assert kinds(flat) == {"Conv2D": 1, "ReLU": 1}
    assert operations(flat)[1].max_value == pytest.approx(1.0)


@pytest.mark.parametrize(("bound", "left"), [(None, 0), (2.0, 1)])
def test_a_scale_by_channel_passes_a_relu_without_bound(bound: float | None, left: int) -> None:
    model = sequential((4,), L.Dense(3), L.ReLU(bound), L.Rescaling([0.5, 2.0, 3.0]))
    data = np.random.default_rng(0).normal(0, 10, (20, 4)).astype("float32")
    assert kinds(captured(model, data))["Rescaling"] == left


def test_a_negative_scale_does_not_pass_a_relu() -> None:
    model = functional(lambda x: ops.relu(L.Dense(3)(x)) * -2.0, (4,))
    assert kinds(captured(model))["Rescaling"] == 1


@pytest.mark.parametrize("pool", [L.MaxPooling2D, L.AveragePooling2D])
def test_normalization_across_pooling(pool: Any) -> None:
    """Random gammas are positive, so that a maximum commutes too."""
    after = sequential((8, 8, 3), L.Conv2D(4, 3), pool(2), L.BatchNormalization(), L.ReLU())
    assert kinds(captured(after))["Rescaling"] == 0
    before = sequential((8, 8, 3), L.ReLU(), L.BatchNormalization(), pool(2), L.Conv2D(4, 3))
    assert kinds(captured(before))["Rescaling"] == 0


def test_a_negative_scale_does_not_cross_a_maximum() -> None:
    model = sequential((8, 8, 3), L.Conv2D(2, 3), L.MaxPooling2D(), L.Rescaling([1.0, -1.0]))
    assert kinds(captured(model))["Rescaling"] == 1


def test_normalization_across_flatten_and_reshape() -> None:
    model = sequential(
        (4, 4, 3),
        L.ReLU(),
        L.BatchNormalization(),
        L.Flatten(),
        L.Dense(16),
        L.Reshape((2, 2, 4)),
        L.BatchNormalization(),
        L.ReLU(),
    )
    assert kinds(captured(model)) == Counter(ReLU=2, Reshape=2, Dense=1)


def test_normalization_after_concatenated_convolutions() -> None:
    def function(x: Any) -> Any:
        branches = [L.Conv2D(2, 1)(x), L.Conv2D(3, 3, padding="same")(x)]
        return ops.relu(L.BatchNormalization()(L.Concatenate()(branches)))

    assert kinds(captured(functional(function, (5, 5, 2))))["Rescaling"] == 0


@pytest.mark.parametrize(
    ("size", "padding", "kernel", "strides", "dilation"),
    [
        (8, ((1, 1), (1, 1)), 3, 1, 1),
        (8, ((0, 1), (0, 1)), 3, 2, 1),
        (9, ((1, 1), (1, 1)), 3, 2, 1),
        (8, ((2, 2), (2, 2)), 3, 1, 2),
        (None, ((1, 1), (1, 1)), 3, 1, 1),
    ],
)
@pytest.mark.parametrize("kind", [L.Conv2D, L.DepthwiseConv2D])
def test_padding_is_merged(
    kind: Any, size: int | None, padding: Any, kernel: int, strides: int, dilation: int
) -> None:
    options = {"strides": strides, "dilation_rate": dilation}
    layer = kind(4, kernel, **options) if kind is L.Conv2D else kind(kernel, **options)
    flat = captured(sequential((size, size, 3), L.ZeroPadding2D(padding), layer))
    assert kinds(flat) == {kind.__name__: 1}
    assert operations(flat)[0].padding == "same"


@pytest.mark.parametrize(
    ("size", "padding", "strides"),
    [(8, ((1, 1), (1, 1)), 2), (8, ((2, 0), (2, 0)), 1), (None, ((0, 1), (0, 1)), 2)],
)
def test_padding_that_differs_is_not_merged(size: int | None, padding: Any, strides: int) -> None:
    model = sequential((size, size, 3), L.ZeroPadding2D(padding), L.Conv2D(2, 3, strides=strides))
    assert kinds(captured(model)) == {"ZeroPadding2D": 1, "Conv2D": 1}


def test_padding_is_not_merged_into_pooling() -> None:
    model = sequential((8, 8, 3), L.ZeroPadding2D(1), L.AveragePooling2D(3, strides=1))
    assert kinds(captured(model))["ZeroPadding2D"] == 1


@given(st.data())
def test_composition_of_affine_maps(data: st.DataObject) -> None:
    numbers = st.lists(st.floats(-4, 4), min_size=3, max_size=3)
    first = Affine.make(data.draw(numbers), data.draw(numbers))
    second = Affine.make(data.draw(st.floats(-4, 4)), data.draw(numbers))
    x = np.asarray(data.draw(numbers))
    both = second.after(first)
    expected = second.scale * (first.scale * x + first.offset) + second.offset
    np.testing.assert_allclose(both.scale * x + both.offset, expected, atol=1e-9)


def test_moves_that_cancel_are_removed() -> None:
    def function(x: Any) -> Any:
        x = ops.transpose(x, (0, 3, 1, 2))
        x = ops.relu(x) * 2.0
        x = ops.tanh(x) + ops.sigmoid(x)
        return ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (-1, 4, 5, 3))

    found = kinds(captured(functional(function, (4, 5, 3))))
    assert found["Permute"] == found["Reshape"] == 0


def test_moves_that_do_not_cancel_stay() -> None:
    def function(x: Any) -> Any:
        y = ops.relu(ops.transpose(x, (0, 3, 1, 2)))
        return ops.softmax(y), y

    found = kinds(captured(functional(function, (4, 5, 3))))
    assert found["Permute"] >= 1


def test_two_readers_of_a_move_have_two_names() -> None:
    def function(x: Any) -> Any:
        y = ops.transpose(x, (0, 2, 1))
        return ops.relu(y), ops.tanh(y)

    captured(functional(function, (4, 5)))
