"""How much a model computes, and whether its batches may be cut."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import keras_octet as ko
from keras_octet.engines.work import is_separable, multiply_adds
from tests.models import MODELS, images, make

L = keras.layers


def of(*layers) -> keras.Model:
    return keras.Sequential([keras.Input((4, 6)), *layers])


@pytest.mark.parametrize("name", list(MODELS))
def test_quantized_models_are_separable(name):
    model, calibration, _ = make(name)
    assert is_separable(ko.quantize(model, calibration))


class Normalized(L.Layer):
    """A layer of the user's that looks at the whole batch."""

    def call(self, x):
        return x - ops.mean(x, axis=0, keepdims=True)


@pytest.mark.parametrize(
    "model",
    [
        of(Normalized()),
        of(L.Softmax(axis=0)),
        of(L.Softmax(axis=-3)),
        of(L.Lambda(lambda x: x)),
        of(L.Dense(3, activation=lambda x: x / ops.max(x))),
        of(L.Permute((2, 1)), Normalized()),
        keras.Sequential([keras.Input(batch_shape=(2, 4)), L.Dense(3)]),
    ],
    ids=lambda model: model.layers[-1].name,
)
def test_models_that_may_mix_samples(model):
    assert not is_separable(model)


def test_operations_along_the_batch():
    x = keras.Input((4, 6))
    assert is_separable(keras.Model(x, ops.mean(x, axis=1)))
    assert is_separable(keras.Model(x, ops.softmax(x * 2.0 + 1.0)))
    assert not is_separable(keras.Model(x, ops.mean(x, axis=0)))
    assert not is_separable(keras.Model(x, ops.cumsum(x, axis=0)))
    assert not is_separable(keras.Model(x, ops.sum(x)))
    assert not is_separable(keras.Model(x, ops.flip(x)))


def test_a_model_that_mixes_samples_keeps_the_batches_of_the_user():
    inputs = keras.Input((8,))
    x = L.Dense(5, activation="relu")(inputs)
    x = Normalized()(x)
    model = keras.Model(inputs, x)
    data = images(0, 50, 8)
    q = ko.quantize(model, data)
    for size in (50, 7):
        received = q.predict(data, batch_size=size, verbose=0)
        batches = [q.predict_on_batch(data[i : i + size]) for i in range(0, 50, size)]
        np.testing.assert_array_equal(received, np.concatenate(batches))
    assert not np.array_equal(
        q.predict(data, batch_size=50, verbose=0), q.predict(data, batch_size=7, verbose=0)
    )


def test_multiply_adds_of_known_layers():
    def work(shape, *layers):
        model = keras.Sequential([keras.Input(shape), *layers])
        values = sum(int(np.prod(layer.output.shape[1:])) for layer in model.layers)
        return multiply_adds(model) - 8 * values

    assert work((100,), L.Dense(10)) == 100 * 10 // 16
    assert work((7, 100), L.Dense(10)) == 7 * 100 * 10
    assert work((8, 8, 3), L.Conv2D(5, 3, padding="same")) == 8 * 8 * 9 * 3 * 5
    assert work((8, 8, 3), L.DepthwiseConv2D(3, strides=2, padding="same")) == 4 * 4 * 9 * 3
    assert work((4, 4, 3), L.Conv2DTranspose(5, 2, strides=2)) == 4 * 4 * 4 * 3 * 5
    assert multiply_adds(keras.Sequential([keras.Input((None, 3)), L.Dense(2)])) == 0
