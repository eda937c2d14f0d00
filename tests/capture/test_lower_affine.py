from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests.capture.support import captured, functional, kinds, operations, sequential

L = keras.layers
CHANNELS = np.asarray([0.5, -2.0, 3.0], np.float32)

ARITHMETIC: dict[str, Any] = {
    "x + c": lambda x: x + 2.0,
    "c + x": lambda x: ops.add(CHANNELS, x),
    "x - c": lambda x: x - CHANNELS,
    "c - x": lambda x: 1.5 - x,
    "x * c": lambda x: x * CHANNELS,
    "c * x": lambda x: 3 * x,
    "x / c": lambda x: x / CHANNELS.reshape(1, 1, 1, 3),
    "-x": lambda x: -x,
    "subtract": lambda x: ops.subtract(CHANNELS, x),
    "rescaling": L.Rescaling(1 / 127.5, offset=-1.0),
    "rescaling by channel": L.Rescaling(CHANNELS.tolist(), offset=[1.0, 2.0, 3.0]),
    "batch normalization": L.BatchNormalization(),
    "batch normalization without parameters": L.BatchNormalization(center=False, scale=False),
    "normalization": L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
    "inverse normalization": L.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3], invert=True),
    "normalization of everything": L.Normalization(axis=None, mean=0.3, variance=2.0),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_affine_maps_become_a_rescaling(name: str) -> None:
    model = functional(lambda x: ops.maximum(ARITHMETIC[name](x), ops.abs(x)), (4, 5, 3))
    assert kinds(captured(model)) == Counter(Rescaling=1, Maximum=1, Absolute=1)


def test_adapted_normalization() -> None:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(2, 3, (50, 4)).astype("float32"))
    assert kinds(captured(sequential((4,), layer))) == {"Rescaling": 1}


def test_a_map_along_another_axis_is_permuted() -> None:
    model = sequential((3, 4, 5), L.BatchNormalization(axis=1))
    assert kinds(captured(model)) == Counter(Permute=2, Rescaling=1)


def test_constants_along_two_axes_stay_an_operation() -> None:
    constant = np.arange(12, dtype="float32").reshape(4, 3)
    assert kinds(captured(functional(lambda x: x + constant, (4, 3)))) == {"Add": 1}


def test_integer_arithmetic_is_not_made_affine() -> None:
    model = functional(lambda x: ops.cast(x - 3, "float32") * 0.5, (4,), dtype="int32")
    found = kinds(captured(model))
    assert found == Counter(Subtract=1, Cast=1, Rescaling=1)


def test_integer_images_are_rescaled_to_float() -> None:
    flat = captured(
        functional(lambda x: L.Conv2D(2, 3)(L.Rescaling(1 / 255)(x)), (6, 6, 3), dtype="uint8")
    )
    assert flat.inputs[0].dtype == "uint8"
    assert kinds(flat) == {"Rescaling": 1, "Conv2D": 1}


def test_square_and_division_of_tensors() -> None:
    flat = captured(functional(lambda x: x / (ops.square(x) + 1.0), (5,)))
    assert kinds(flat) == Counter(Multiply=1, Rescaling=1, TrueDivide=1)


def test_the_setting_is_a_float_or_a_vector() -> None:
    flat = captured(sequential((3,), L.ReLU(), L.Rescaling([2.0, 2.0, 2.0], offset=CHANNELS)))
    layer = operations(flat)[-1]
    assert layer.scale == 2.0
    assert np.asarray(layer.offset).shape == (3,)
