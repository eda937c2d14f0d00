"""Keras's quantizer objects in recipes: the same integers, or an error that says why not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import quantizers

import keras_octet as ko
from keras_octet.layers import QuantizedLinear
from tests.models import dense_model, randomize

NEAREST = {"weight_rounding": "nearest", "bias_correction": False}


@pytest.mark.parametrize("value_range", [(-127, 127), (-128, 127), (-7, 7), (-8, 7)])
@pytest.mark.parametrize("axis", [0, (0, 1)])
def test_weights_are_the_integers_of_keras(axis, value_range):
    model = randomize(dense_model())
    x = np.random.default_rng(0).normal(size=(32, 20)).astype("float32")
    quantizer = quantizers.AbsMaxQuantizer(axis=axis, value_range=value_range)
    quantized = ko.quantize(model, x, recipe=ko.Recipe(scheme=quantizer))
    kernels = [
        keras.ops.convert_to_numpy(layer.kernel)
        for layer in quantized.layers
        if isinstance(layer, QuantizedLinear)
    ]
    assert len(kernels) == 2
    for layer, kernel in zip(model.layers, kernels, strict=True):
        expected, _ = quantizer(layer.kernel)
        assert np.array_equal(kernel.reshape(expected.shape), keras.ops.convert_to_numpy(expected))


def test_a_quantizer_stands_for_a_scheme_everywhere():
    per_channel, per_tensor = quantizers.AbsMaxQuantizer(), quantizers.AbsMaxQuantizer(axis=(1, 0))
    scheme = ko.Scheme(**NEAREST)
    assert ko.Scheme.from_keras(per_channel) == scheme
    recipe = ko.Recipe(scheme=per_channel, rules=[ko.Rule(name="a", scheme=per_tensor)])
    assert recipe.scheme == scheme
    assert recipe.rules[0].scheme == ko.Scheme(weight_granularity="per_tensor", **NEAREST)
    assert ko.Recipe.from_json(recipe.to_json()) == recipe
    x = np.random.default_rng(0).normal(size=(32, 20)).astype("float32")
    model = randomize(dense_model())
    first, second = (
        ko.quantize(model, x, recipe=r) for r in (per_channel, ko.Recipe(scheme=scheme))
    )
    assert first.to_tflite() == second.to_tflite()


class Other(quantizers.Quantizer):
    pass


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (quantizers.AbsMaxQuantizer(axis=-1), r"axis=0 .* Received: axis=\(-1,\)"),
        (quantizers.AbsMaxQuantizer(axis=0, value_range=(-100, 100)), r"\(-100, 100\)"),
        (quantizers.AbsMaxQuantizer(axis=0, value_range=(0, 127)), "symmetric"),
        (Other(), "Only keras.quantizers.AbsMaxQuantizer .* Received: Other"),
        (quantizers.Int8QuantizationConfig(), "when the model runs, one for every row"),
        (
            quantizers.Int8QuantizationConfig(activation_quantizer=None),
            "leaves activations in float",
        ),
        (quantizers.Int4QuantizationConfig(), "its mode is 'int4'"),
        (quantizers.Float8QuantizationConfig(), "its mode is 'float8'"),
    ],
)
def test_what_means_something_else_is_refused(quantizer, message):
    for use in (ko.Scheme.from_keras, lambda each: ko.Recipe(scheme=each)):
        with pytest.raises(ko.RecipeError, match=message):
            use(quantizer)
    with pytest.raises(ko.RecipeError, match=message):
        ko.quantize(dense_model(), np.zeros((4, 20), "float32"), recipe=quantizer)


def test_the_scheme_that_a_message_suggests_can_be_used():
    quantizer = quantizers.AbsMaxQuantizer(axis=(0, 1))
    config = quantizers.Int8QuantizationConfig(weight_quantizer=quantizer)
    with pytest.raises(ko.RecipeError) as error:
        ko.Scheme.from_keras(config)
    code = str(error.value).rpartition("config: ")[2].removesuffix(".")
    expected = ko.Scheme(weight_granularity="per_tensor", activation_symmetric=True, **NEAREST)
    assert eval(code) == expected


def test_a_recipe_is_a_recipe():
    with pytest.raises(ko.RecipeError, match=r"a Recipe, .* Received: 'int8'"):
        ko.quantize(dense_model(), np.zeros((4, 20), "float32"), recipe="int8")
