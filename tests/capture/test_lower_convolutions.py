from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests.capture.support import (
    captured,
    functional,
    islands,
    kinds,
    operations,
    sequential,
)

L = keras.layers
# TensorFlow's CPU kernel of a depthwise convolution cannot dilate and stride in some combinations.
ONE_DIMENSIONAL: dict[str, tuple[Any, str]] = {
    "plain": (lambda: L.Conv1D(4, 3), "Conv2D"),
    "same, strided": (lambda: L.Conv1D(4, 3, strides=2, padding="same"), "Conv2D"),
    "dilated": (lambda: L.Conv1D(4, 3, dilation_rate=2), "Conv2D"),
    "grouped": (lambda: L.Conv1D(4, 3, groups=2), "Conv2D"),
    "causal": (lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2), "Conv2D"),
    "depthwise": (lambda: L.DepthwiseConv1D(3, strides=2, padding="same"), "DepthwiseConv2D"),
    "depthwise multiplied": (lambda: L.DepthwiseConv1D(3, depth_multiplier=2), "DepthwiseConv2D"),
    "transposed": (lambda: L.Conv1DTranspose(3, 3, strides=2), "Conv2DTranspose"),
    "transposed, same": (
        lambda: L.Conv1DTranspose(3, 3, strides=2, padding="same", output_padding=1),
        "Conv2DTranspose",
    ),
}
TWO_DIMENSIONAL: dict[str, tuple[Any, str]] = {
    "plain": (lambda: L.Conv2D(4, 3, use_bias=False), "Conv2D"),
    "same, strided": (lambda: L.Conv2D(4, (3, 2), strides=2, padding="same"), "Conv2D"),
    "dilated": (lambda: L.Conv2D(4, 3, dilation_rate=(1, 2)), "Conv2D"),
    "grouped": (lambda: L.Conv2D(6, 3, groups=2), "Conv2D"),
    "depthwise": (lambda: L.DepthwiseConv2D(3, strides=2, depth_multiplier=2), "DepthwiseConv2D"),
    "transposed": (lambda: L.Conv2DTranspose(3, 3, strides=2), "Conv2DTranspose"),
    "transposed, same": (
        lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1),
        "Conv2DTranspose",
    ),
}


@pytest.mark.parametrize("name", TWO_DIMENSIONAL)
def test_two_dimensions(name: str) -> None:
    make, kind = TWO_DIMENSIONAL[name]
    assert kinds(captured(sequential((9, 8, 4), make()))) == {kind: 1}


@pytest.mark.parametrize("length", [9, None])
@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_one_dimension_becomes_two(name: str, length: int | None) -> None:
    make, kind = ONE_DIMENSIONAL[name]
    found = kinds(captured(sequential((length, 4), make())))
    assert found[kind] == 1
    assert found["Reshape"] == 2
    assert set(found) <= {kind, "Reshape", "ZeroPadding2D"}


def test_a_stack_of_one_dimension_stays_in_four_axes() -> None:
    model = sequential(
        (32, 3),
        L.Conv1D(4, 3, padding="same", activation="relu"),
        L.BatchNormalization(),
        L.MaxPooling1D(2),
        L.SeparableConv1D(5, 3, padding="same", activation="silu"),
        L.UpSampling1D(2),
        L.ZeroPadding1D(1),
        L.Cropping1D((1, 0)),
        L.AveragePooling1D(2),
        L.LeakyReLU(0.1),
        L.Conv1DTranspose(2, 3, padding="same"),
        L.GlobalAveragePooling1D(),
    )
    found = kinds(captured(model))
    assert found["Reshape"] == 1  # At the input; the pooling gives (batch, channels).


def test_separable() -> None:
    layer = L.SeparableConv2D(5, 3, depth_multiplier=2, activation="relu", name="block")
    flat = captured(sequential((8, 8, 3), layer))
    names = [operation.name for operation in operations(flat)]
    assert names == ["block_depthwise", "block", "block_relu"]


@pytest.mark.parametrize("bias", [True, False])
def test_dense_of_any_rank(bias: bool) -> None:
    assert kinds(captured(sequential((4, 5, 3), L.Dense(2, use_bias=bias)))) == {"Dense": 1}


def test_layers_that_are_dense_layers() -> None:
    model = sequential(
        (4, 6),
        L.TimeDistributed(L.Dense(5, activation="relu")),
        L.EinsumDense("abc,cd->abd", output_shape=(None, 3), bias_axes="d", activation="tanh"),
    )
    assert kinds(captured(model)) == {"Dense": 2, "ReLU": 1, "Activation": 1}


def test_an_einsum_that_is_no_dense_layer_is_an_island() -> None:
    model = sequential((4, 6), L.EinsumDense("abc,cde->abde", output_shape=(4, 2, 3)))
    assert islands(captured(model)) == ["EinsumDense"]


def test_operations_with_constant_kernels() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 2, 4)).astype("float32")
    matrix = rng.normal(size=(4, 5)).astype("float32")
    bias = rng.normal(size=5).astype("float32")

    def function(x: Any) -> Any:
        x = ops.conv(x, kernel, padding="same")
        return ops.matmul(x, matrix) + bias

    assert kinds(captured(functional(function, (6, 6, 2)))) == Counter(Conv2D=1, Dense=1)


def test_operations_on_sequences() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 2, 4)).astype("float32")
    depthwise = rng.normal(size=(2, 4, 2)).astype("float32")

    def function(x: Any) -> Any:
        return ops.depthwise_conv(ops.conv(x, kernel, strides=2), depthwise, padding="same")

    found = kinds(captured(functional(function, (9, 2))))
    assert found == Counter(Conv2D=1, DepthwiseConv2D=1, Reshape=2)


def test_a_product_of_two_tensors_stays_an_operation() -> None:
    flat = captured(functional(lambda a, b: ops.matmul(a, b), (3, 4), (4, 5)))
    assert kinds(flat) == {"Matmul": 1}


def test_three_dimensions_are_an_island() -> None:
    assert islands(captured(sequential((4, 4, 4, 2), L.Conv3D(3, 2)))) == ["Conv3D"]


def _both_formats(build: Any) -> tuple[keras.Model, keras.Model]:
    """The same weights in channels_first and in channels_last."""
    first, last = build("channels_first"), build("channels_last")
    rng = np.random.default_rng(0)
    for a, b in zip(first.weights, last.weights, strict=True):
        value = rng.uniform(0.1, 0.5, a.shape)
        a.assign(value)
        b.assign(value)
    return first, last


def test_channels_first_becomes_channels_last() -> None:
    """The TensorFlow backend cannot run the original on a CPU: the reference is channels_last."""
    from keras_octet.capture import capture

    def build(data_format: str) -> keras.Model:
        first = data_format == "channels_first"
        axis = 1 if first else -1
        options = {"data_format": data_format}
        inputs = keras.Input((3, 8, 8) if first else (8, 8, 3))
        x = L.Conv2D(4, 3, padding="same", use_bias=False, **options)(inputs)
        x = L.BatchNormalization(axis=axis)(x)
        x = skip = L.ReLU()(x)
        x = L.DepthwiseConv2D(3, padding="same", activation="silu", **options)(x)
        x = L.Add()([x, skip])
        x = L.MaxPooling2D(2, **options)(x)
        x = L.Conv2DTranspose(2, 2, strides=2, **options)(x)
        x = L.UpSampling2D(2, **options)(x)
        x = L.AveragePooling2D(2, **options)(x)
        x = L.Concatenate(axis=axis)([x, skip])
        x = L.ZeroPadding2D(1, **options)(x)
        x = L.Conv2D(4, 3, activation="softplus", **options)(x)
        return keras.Model(
            inputs, [L.GlobalAveragePooling2D(**options)(x), L.Flatten(**options)(x)]
        )

    first, last = _both_formats(build)
    flat = capture(first)
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
    expected = [np.asarray(ops.convert_to_numpy(y)) for y in last(x)]
    received = [np.asarray(ops.convert_to_numpy(y)) for y in flat(np.moveaxis(x, -1, 1))]
    for a, b in zip(expected, received, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4)
    assert kinds(flat)["Permute"] <= 3  # At the input and around the softplus island.
    assert kinds(flat)["Rescaling"] == 0
