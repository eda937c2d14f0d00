"""Every row of the operation table, from a float model to a file that is loaded again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import keras_octet as ko
from keras_octet.ops import OPERATIONS
from tests.models import images, randomize
from tests.test_quantize import assert_equal, sqnr

L = keras.layers
IMAGE = (6, 7, 4)


def one(layer: Any) -> Callable[[Any], Any]:
    """The operation between two convolutions, so that it reads and makes int8."""
    return lambda x: layer(L.Conv2D(4, 1)(x))


def two(function: Any) -> Callable[[Any], Any]:
    """The operation on two tensors of different ranges."""
    return lambda x: function([L.Conv2D(4, 1)(x), L.Conv2D(4, 3, padding="same")(x)])


def slopes(*shared_axes: int) -> keras.layers.Layer:
    random = keras.initializers.RandomUniform(0.1, 0.6, seed=1)
    return L.PReLU(alpha_initializer=random, shared_axes=shared_axes or None)


# By the float class in the table; the operation's own result is the model's output.
MODELS: dict[str, list[Callable[[Any], Any]]] = {
    "Dense": [L.Dense(5), lambda x: L.Dense(5, activation="relu")(L.Flatten()(x))],
    "Conv2D": [
        L.Conv2D(6, 3, strides=2, padding="same", activation="relu6"),
        L.Conv2D(6, 3, dilation_rate=2, groups=2),
    ],
    "DepthwiseConv2D": [L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")],
    "Conv2DTranspose": [
        L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu"),
        L.Conv2DTranspose(3, 2, strides=3),
    ],
    "Rescaling": [lambda x: L.BatchNormalization()(L.ReLU()(x))],
    "Add": [two(L.Add()), two(lambda pair: ops.relu(pair[0] + pair[1]))],
    "Subtract": [two(L.Subtract())],
    "Multiply": [two(L.Multiply()), one(ops.silu)],
    "Maximum": [two(L.Maximum())],
    "Minimum": [two(L.Minimum())],
    "Concatenate": [two(L.Concatenate()), two(L.Concatenate(axis=1))],
    "AveragePooling2D": [one(L.AveragePooling2D(2)), one(L.AveragePooling2D(3, padding="same"))],
    "MaxPooling2D": [one(L.MaxPooling2D(2)), one(L.MaxPooling2D(3, strides=1, padding="same"))],
    "GlobalAveragePooling2D": [one(L.GlobalAveragePooling2D(keepdims=True))],
    "GlobalMaxPooling2D": [one(L.GlobalMaxPooling2D())],
    "Reshape": [one(L.Reshape((7, -1)))],
    "Permute": [one(L.Permute((3, 1, 2)))],
    "Cropping2D": [one(L.Cropping2D(((1, 0), (2, 1))))],
    "ZeroPadding2D": [one(L.ZeroPadding2D(((1, 0), (2, 3))))],
    "UpSampling2D": [one(L.UpSampling2D(2)), one(L.UpSampling2D(2, interpolation="bilinear"))],
    "Resizing": [one(L.Resizing(9, 5)), one(L.Resizing(9, 5, interpolation="nearest"))],
    "ReLU": [L.ReLU(), L.ReLU(6.0), L.ReLU(0.4)],
    "LeakyReLU": [one(L.LeakyReLU(0.2))],
    "PReLU": [one(slopes()), one(slopes(1, 2))],
    "ELU": [one(L.ELU())],
    "Activation": [one(L.Activation(name)) for name in ("sigmoid", "tanh", "gelu", "hard_silu")],
    "Gelu": [one(ops.gelu), one(L.Activation(ops.gelu))],
    "Softmax": [one(L.Softmax()), one(L.Softmax(axis=1))],
    "Matmul": [two(lambda pair: ops.matmul(pair[0], ops.transpose(pair[1], (0, 1, 3, 2))))],
}
CASES = [(name, i) for name, builders in MODELS.items() for i in range(len(builders))]


def test_every_row_of_the_table_is_here() -> None:
    assert {cls.__name__ for cls in OPERATIONS} == {*MODELS, "Flatten"}


@pytest.mark.parametrize(("name", "index"), CASES)
def test_row(name: str, index: int, tmp_path: Any) -> None:
    inputs = keras.Input(IMAGE)
    model = randomize(keras.Model(inputs, MODELS[name][index](inputs)))
    x = images(0, 64, *IMAGE)
    q = ko.quantize(model, x)
    assert q.report.count("float") == 0, str(q.report)
    rows = {cls.__name__: row for cls, row in OPERATIONS.items()}
    assert rows[name].quantized_layer in {type(layer) for layer in q.layers}

    received = q.predict(x, verbose=0)
    assert q.engine == "litert"
    assert sqnr(model.predict(x, verbose=0), received) > 22
    q.engine = "keras"
    assert_equal(q.predict(x, verbose=0), received)
    q.save(tmp_path / "q.keras")
    loaded = keras.saving.load_model(tmp_path / "q.keras")
    assert_equal(loaded.predict(x, verbose=0), received)


def test_flatten_of_unknown_size() -> None:
    """Other Flattens become a Reshape; `.tflite` has no RESHAPE to two unknown sizes."""
    inputs = keras.Input((None, None, 4))
    model = randomize(keras.Model(inputs, L.Flatten()(L.Conv2D(4, 1)(inputs))))
    x = images(0, 100, *IMAGE)
    q = ko.quantize(model, x)
    assert {row.layer_type: row.status for row in q.report.layers}["Flatten"] == "int8"
    with pytest.raises(ko.ExportError, match="one unknown size"):
        q.to_tflite()
    q.engine = "keras"
    assert sqnr(model.predict(x, verbose=0), q.predict(x, verbose=0)) > 22


def test_names_of_the_added_layers_are_free() -> None:
    inputs = keras.Input((8,), name="x")
    hidden = L.Dense(8, name="x_quantize")(inputs)
    model = keras.Model(inputs, [hidden, L.Dense(4, name="x_quantize_dequantize")(hidden)])
    q = ko.quantize(model, images(0, 20, 8))
    assert type(q.get_layer("x_quantize")) is ko.layers.QuantizedDense


def test_a_float_tensor_under_two_parameters() -> None:
    inputs = keras.Input((8,))
    bounded = L.ReLU(1.0, name="bounded")(L.Dense(8)(inputs))
    outputs = [L.Dense(3)(L.Concatenate()([bounded, inputs])), L.Dense(2)(bounded)]
    x = images(0, 100, 8)
    q = ko.quantize(keras.Model(inputs, outputs), x, recipe=ko.recipes.w8a8(keep_float="bounded"))
    assert {"bounded_quantize", "bounded_quantize_2"} <= {layer.name for layer in q.layers}
    received = q.predict(x, verbose=0)
    q.engine = "keras"
    assert_equal(q.predict(x, verbose=0), received)


@pytest.mark.parametrize("largest", [100.0, 148.0, 1e4])
def test_between_scales_too_far_apart_to_requantize(largest: float) -> None:
    """From a sigmoid's scale, 1 / 256, to one that a wide tensor imposes on both."""
    inputs = keras.Input((8,))
    narrow = L.Activation("sigmoid")(inputs)
    wide = L.Rescaling(largest, name="wide")(inputs)
    model = keras.Model(inputs, L.Concatenate(name="both")([narrow, wide]))
    x = images(0, 500, 8)
    q = ko.quantize(model, x)
    added = {type(layer) for layer in q.layers}
    ratio = q.get_layer("both").output_qparams.scale * 256
    assert (ko.layers.Requantize in added) == (ratio <= 256)
    received = q.predict(x, verbose=0)
    q.engine = "keras"
    assert_equal(q.predict(x, verbose=0), received)


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("dead", [[1], [0, 1, 2]])
@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_channels_without_weights_keep_their_bias(
    granularity: str, dead: list[int], spread: float
) -> None:
    inputs = keras.Input((6,))
    model = randomize(keras.Model(inputs, L.Dense(3, name="dense")(inputs)))
    kernel, bias = model.get_layer("dense").get_weights()
    kernel[:, dead] = 0.0
    model.get_layer("dense").set_weights([kernel / spread, bias])
    x = spread * images(0, 50, 6)
    q = ko.quantize(model, x, recipe=ko.recipes.w8a8(weight_granularity=granularity))
    received = q.predict(x, verbose=0)
    assert q.engine == "litert"
    step = q.get_layer("dense").output_qparams.scale
    assert np.abs(received - model.predict(x, verbose=0))[:, dead].max() <= 0.51 * step
    q.engine = "keras"
    assert_equal(q.predict(x, verbose=0), received)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "hard_silu"])
@pytest.mark.parametrize(("largest", "companion"), [(200.0, 1.0), (1.0, 1.0), (1.0, 1e4)])
def test_activations_at_extreme_scales(name: str, largest: float, companion: float) -> None:
    inputs = keras.Input((8,))
    x = L.Activation(name, name="activation")(L.Rescaling(largest)(inputs))
    x = L.Concatenate()([x, L.Rescaling(companion)(inputs)])
    model = keras.Model(inputs, x)
    data = images(0, 100, 8)
    q = ko.quantize(model, data)
    status = {row.name: row.status for row in q.report.layers}
    assert status["activation"] == ("float" if (name, companion) == ("hard_silu", 1e4) else "int8")
    received = q.predict(data, verbose=0)
    q.engine = "keras"
    if status["activation"] == "int8":
        assert_equal(q.predict(data, verbose=0), received)


def test_weights_of_few_bits_within_the_limit_of_the_multiplier() -> None:
    """Of 2 bits, the scale of a weight is 127 times that of 8 bits."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(2, name="dense", use_bias=False)(inputs))
    kernel = np.zeros((4, 2), np.float32)
    kernel[0], kernel[1] = 1.0, -1.0
    model.set_weights([kernel])
    x = np.repeat(images(0, 50, 1), 4, axis=1) * np.float32(100)
    x[:, 1] -= np.float32(0.1)  # nearly cancels
    recipe = ko.Recipe(scheme=ko.Scheme(weight_bits=2))
    q = ko.quantize(model, x, recipe=recipe)
    assert {row.name: row.status for row in q.report.layers}["dense"] == "float"
    assert np.abs(q.predict(x, verbose=0) - model.predict(x, verbose=0)).max() < 1e-3
