"""The main path: any model in, a quantized Keras model with LiteRT's bits out."""

from __future__ import annotations

import io
import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import keras_octet as ko
from keras_octet.layers import QuantizedConv2D, QuantizedDense, QuantizedLinear
from tests.models import MODELS, convolutional, dense_model, images, make, randomize

L = keras.layers


def flat(structure: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in keras.tree.flatten(structure)]


def sqnr(reference: np.ndarray, value: np.ndarray) -> float:
    """Signal to quantization noise in dB."""
    noise = np.square(reference - value).sum()
    return float(10 * np.log10(np.square(reference).sum() / max(noise, 1e-30)))


def assert_equal(first: Any, second: Any) -> None:
    keras.tree.assert_same_structure(first, second)
    for a, b in zip(flat(first), flat(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", list(MODELS))
def test_whole_model(name, tmp_path):
    model, calibration, x = make(name)
    before = [np.array(weight) for weight in model.get_weights()]
    expected = model.predict(x, verbose=0)

    q = ko.quantize(model, representative_dataset=calibration)

    assert isinstance(q, keras.Model)
    assert q.report.count("float") == 0, str(q.report)
    received = q.predict(x, verbose=0)
    keras.tree.assert_same_structure(expected, received)
    for reference, value in zip(flat(expected), flat(received), strict=True):
        assert sqnr(reference, value) > 22
    # LiteRT, which ran above, and the Keras layers agree on every bit.
    assert q.engine == "litert"
    q.engine = "keras"
    assert_equal(q.predict(x, verbose=0), received)
    # So does the model after a round trip through a file.
    q.save(tmp_path / "q.keras")
    loaded = keras.saving.load_model(tmp_path / "q.keras")
    assert_equal(loaded.predict(x, verbose=0), received)
    assert loaded.report == q.report
    # The caller's model is what it was.
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert_equal(model.predict(x, verbose=0), expected)


def test_weights_are_integers():
    model, calibration, _ = make("convolutional")
    q = ko.quantize(model, calibration)
    dtypes = {str(weight.dtype) for weight in q.weights if weight.name != "kernel_scale"}
    assert dtypes == {"int8", "int32"}
    stem = q.get_layer("stem")
    assert isinstance(stem, QuantizedConv2D)
    assert stem.weights[0].dtype == "int8"
    assert stem.activation == "relu6"
    assert not q.trainable_weights
    # Nothing the size of a kernel is kept in float.
    assert all(len(weight.shape) == 1 for weight in q.weights if "float" in str(weight.dtype))


def test_layers_keep_their_names():
    model, calibration, _ = make("convolutional")
    q = ko.quantize(model, calibration)
    names = {layer.name for layer in q.layers}
    assert {"image", "stem", "depthwise", "project", "residual", "pool", "predictions"} <= names
    lines: list[str] = []
    q.summary(line_length=160, print_fn=lambda text, **_: lines.append(text))
    assert "QuantizedDepthwiseConv2D" in "\n".join(lines)


def test_unknown_layers_stay_float(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Wave(L.Layer):
        def call(self, x):
            return ops.sin(3.0 * x)

    inputs = keras.Input((12,))
    x = L.Dense(10, activation="relu", name="before")(inputs)
    x = Wave(name="wave")(x)
    model = randomize(keras.Model(inputs, L.Dense(3, name="after")(x)))
    data = images(0, 50, 12)
    q = ko.quantize(model, data)
    rows = {row.name: row for row in q.report.layers}
    assert rows["before"].status == rows["after"].status == "int8"
    assert "wave" not in rows or rows["wave"].status == "float"
    assert q.report.count("float") >= 1
    assert sqnr(model.predict(data, verbose=0), q.predict(data, verbose=0)) > 25
    q.save(tmp_path / "q.keras")
    loaded = keras.saving.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(q.predict(data, verbose=0), loaded.predict(data, verbose=0))


def test_untraceable_layer_runs_on_the_keras_path_and_export_names_it():
    class Opaque(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

        def call(self, x):
            return ops.sort(x * self.gain, axis=-1)

    model = keras.Sequential([keras.Input((6,)), L.Dense(4), Opaque(name="opaque"), L.Dense(2)])
    data = images(0, 20, 6)
    q = ko.quantize(model, data)
    assert {"dense" in row.name for row in q.report.layers if row.status == "int8"} == {True}
    with pytest.raises(ko.ExportError, match="opaque"):
        q.to_tflite()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        q.predict(data, verbose=0)
    assert any("opaque" in str(warning.message) for warning in caught)
    assert q.engine == "keras"
    assert sqnr(model.predict(data, verbose=0), q.predict(data, verbose=0)) > 25


def test_a_constant_of_a_traced_layer_is_copied(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Scaled(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.gain = self.add_weight(shape=(4,), initializer="ones", name="gain")

        def call(self, x):
            return ops.logaddexp(x, self.gain)

    model = keras.Sequential([keras.Input((6,)), L.Dense(4), Scaled(name="scaled")])
    data = images(0, 20, 6)
    q = ko.quantize(model, data)
    q.engine = "keras"
    before = q.predict(data, verbose=0)
    model.predict(data, verbose=0)  # JAX gives the buffers of the variables away.
    model.layers[-1].gain.assign(np.full(4, 9.0))
    np.testing.assert_array_equal(q.predict(data, verbose=0), before)
    q.save(tmp_path / "q.keras")
    loaded = keras.saving.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(loaded.predict(data, verbose=0), before)


def test_recipe_keeps_layers_in_float_and_reports_rules_without_match():
    model, calibration, x = make("convolutional")
    recipe = ko.recipes.w8a8(keep_float=["predictions", "no_such_layer*"])
    q = ko.quantize(model, calibration, recipe=recipe)
    rows = {row.name: row for row in q.report.layers}
    assert rows["predictions"].status == "float"
    assert "recipe" in rows["predictions"].reason
    assert type(q.get_layer("predictions")) is L.Dense
    assert len(q.report.unmatched_rules) == 1
    assert "no_such_layer*" in q.report.unmatched_rules[0]
    assert sqnr(model.predict(x, verbose=0), q.predict(x, verbose=0)) > 25


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({"keep_float": "head"}, {"head", "head_softmax"}),
        ({"keep_float": "split"}, {"split_depthwise", "split", "split_silu_sigmoid", "split_silu"}),
        ({"keep_float": "inner"}, {"inner_conv", "conv_relu"}),
        ({"keep_float": "inner/conv"}, {"inner_conv", "conv_relu"}),
        ({"keep_float": "inner_conv"}, {"inner_conv"}),
        ({"keep_float": "conv"}, {"conv_to_2d", "conv", "inner_conv", "conv_relu"}),
        ({"keep_float_types": "Conv1D"}, {"conv_to_2d", "conv", "inner_conv", "conv_relu"}),
        ({"keep_float_types": "Softmax"}, {"head_softmax"}),
        ({"rules": [ko.Rule(name="inner", layer_type="Dense", keep_float=True)]}, set()),
    ],
)
def test_rules_are_about_the_layers_of_the_original(kept, expected):
    """Composite layers, activations given as arguments, one dimension done in two, nesting."""
    inner = keras.Sequential(
        [keras.Input((12, 4)), L.Conv1D(4, 1, activation="relu", name="conv")], name="inner"
    )
    inputs = keras.Input((16, 3))
    x = L.Conv1D(4, 3, name="conv")(inputs)
    x = inner(L.SeparableConv1D(4, 3, activation="silu", name="split")(x))
    x = L.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, L.Dense(4, activation="softmax", name="head")(x))
    q = ko.quantize(model, images(0, 8, 16, 3), recipe=ko.recipes.w8a8(**kept))
    assert {row.name for row in q.report.layers if row.status == "float"} == expected
    assert len(q.report.unmatched_rules) == (not expected)
    types = {row.name: row.layer_type for row in q.report.layers}
    assert (types["conv"], types["head"], types["split"]) == ("Conv1D", "Dense", "SeparableConv1D")
    assert types["head_softmax"] == "Softmax"


def test_integer_inputs_and_outputs():
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    recipe = ko.recipes.w8a8(input_dtype="int8", output_dtype="int8")
    integer = ko.quantize(model, calibration, recipe=recipe)
    assert integer.inputs[0].dtype == integer.outputs[0].dtype == "int8"
    (qparams,) = integer.input_qparams.values()
    received = integer.predict(qparams.quantize(x), verbose=0)
    assert received.dtype == np.int8
    (output,) = integer.output_qparams.values()
    assert output == ko.QParams(scale=1 / 256, zero_point=-128)
    np.testing.assert_array_equal(output.dequantize(received), q.predict(x, verbose=0))
    assert not q.output_qparams


def test_integer_inputs_and_outputs_of_float_layers(tmp_path):
    inputs = {"a": keras.Input((8,), name="a"), "b": keras.Input((8,), name="b")}
    wave = ops.sin(2.0 * ops.exp(inputs["a"]))
    outputs = {"wave": wave, "sum": L.Add()([wave, inputs["b"]]), "same": inputs["b"]}
    model = keras.Model(inputs, outputs)
    data = {"a": images(0, 100, 8), "b": images(1, 100, 8)}
    recipe = ko.recipes.w8a8(input_dtype="int8", output_dtype="int8")
    q = ko.quantize(model, data, recipe=recipe)
    assert {str(tensor.dtype) for tensor in [*q.inputs, *q.outputs]} == {"int8"}
    q.save(tmp_path / "q.keras")
    q = keras.saving.load_model(tmp_path / "q.keras")
    x = {name: q.input_qparams[name].quantize(values) for name, values in data.items()}
    received, expected = q.predict(x, verbose=0), model.predict(data, verbose=0)
    targets = [q.output_qparams[name] for name in q.output_names]
    for reference, values, target in zip(flat(expected), flat(received), targets, strict=True):
        assert values.dtype == np.int8
        assert sqnr(reference, target.dequantize(values)) > 25


def test_an_input_that_nothing_reads_stays_float():
    inputs = [keras.Input((4,), name="a"), keras.Input((4,), name="b")]
    model = keras.Model(inputs, [L.Dense(2)(inputs[0]), inputs[1]])
    data = [images(0, 20, 4), images(1, 20, 4)]
    recipe = ko.recipes.w8a8(input_dtype="int8", output_dtype="int8")
    q = ko.quantize(model, data, recipe=recipe)
    assert [str(tensor.dtype) for tensor in q.inputs] == ["int8", "float32"]
    np.testing.assert_array_equal(q.predict([data[0].astype("int8"), data[1]])[1], data[1])


@pytest.mark.parametrize(
    "observer",
    [ko.MinMax(), ko.MovingAverage(), ko.Percentile(percentile=99.9), ko.MSE(), ko.Entropy()],
    ids=lambda observer: type(observer).__name__,
)
def test_every_observer(observer):
    model, calibration, x = make("dense")
    q = ko.quantize(model, calibration, recipe=ko.recipes.w8a8(observer=observer))
    assert sqnr(model.predict(x, verbose=0), q.predict(x, verbose=0)) > 15


def test_calibration_can_be_reused(tmp_path):
    model, data, x = make("convolutional")
    halves = ko.calibrate(model, data[:32]) | ko.calibrate(model, data[32:])
    halves.save(tmp_path / "calibration.json")
    calibration = ko.Calibration.load(tmp_path / "calibration.json")
    expected = ko.quantize(model, data).predict(x, verbose=0)
    received = ko.quantize(model, calibration=calibration).predict(x, verbose=0)
    # Two batch shapes may differ in the last bit of a float, hence of a scale.
    assert np.abs(received - expected).max() <= 1 / 256
    with pytest.raises(ko.CalibrationError, match="another model"):
        ko.quantize(make("u_net")[0], calibration=calibration)


def test_needs_data_or_calibration():
    model = dense_model()
    with pytest.raises(ko.CalibrationError, match="neither"):
        ko.quantize(model)
    data = images(0, 4, 20)
    calibration = ko.calibrate(model, data)
    with pytest.raises(ko.CalibrationError, match="both"):
        ko.quantize(model, data, calibration=calibration)


def test_evaluate_uses_the_metrics_of_the_original():
    model, calibration, x = make("dense")
    labels = model.predict(x, verbose=0).argmax(axis=1)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    q = ko.quantize(model, calibration)
    scores = q.evaluate(x, labels, verbose=0, return_dict=True)
    assert scores["accuracy"] > 0.9


def test_inside_another_model(tmp_path):
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    inputs = keras.Input((16, 16, 3))
    outer = keras.Model(inputs, L.Dense(2, name="head")(q(inputs)))
    expected = ops.convert_to_numpy(outer.get_layer("head")(q.predict(x, verbose=0)))
    np.testing.assert_allclose(outer.predict(x, verbose=0), expected, atol=1e-6)
    # A frozen feature extractor: only the head trains.
    weights = [np.array(weight) for weight in q.get_weights()]
    outer.compile("sgd", "mse")
    outer.fit(x, np.ones((100, 2)), epochs=1, verbose=0)
    assert len(outer.trainable_weights) == 2
    for old, new in zip(weights, q.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    outer.save(tmp_path / "outer.keras")
    loaded = keras.saving.load_model(tmp_path / "outer.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), outer.predict(x, verbose=0))


def test_every_way_of_calling_gives_the_same_bits():
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    expected = q.predict(x, verbose=0)
    np.testing.assert_array_equal(q.predict(x, batch_size=7, verbose=0), expected)
    np.testing.assert_array_equal(q.predict_on_batch(x), expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(q(x)), expected)
    tensor = ops.convert_to_tensor(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(q(tensor)), expected)
    if keras.backend.backend() == "jax":
        import jax

        np.testing.assert_array_equal(jax.jit(lambda value: q(value))(x), expected)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for jit in (False, True):
            traced = tf.function(lambda value: q(value), jit_compile=jit)
            np.testing.assert_array_equal(traced(tf.constant(x)), expected)


def test_set_weights_reaches_both_paths():
    first, calibration, x = make("convolutional")
    q = ko.quantize(first, calibration)
    before = q.predict(x, verbose=0)
    other = ko.quantize(first, calibration)
    zeros = [np.zeros_like(w) if w.dtype == np.int8 else w for w in q.get_weights()]
    other.set_weights(zeros)
    after = other.predict(x, verbose=0)
    assert not np.array_equal(before, after)
    other.engine = "keras"
    np.testing.assert_array_equal(other.predict(x, verbose=0), after)


def test_a_variable_assigned_reaches_both_paths():
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    before = q.predict(x, verbose=0)
    # The last, whose every change shows in the outputs.
    layer = [layer for layer in q.layers if isinstance(layer, QuantizedLinear)][-1]
    layer.bias.assign(layer.bias + np.arange(layer.bias.shape[0]) * 500)
    layer.kernel.assign(-layer.kernel)
    q.engine = "litert"
    after = q.predict(x, verbose=0)
    assert not np.array_equal(before, after)
    q.engine = "keras"
    np.testing.assert_array_equal(q.predict_on_batch(x), after)


def test_dead_channel_with_a_large_bias():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(3, name="dense")(inputs))
    kernel = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    kernel[:, 1] = 1e-12
    model.set_weights([kernel, np.array([0.1, 50.0, -0.1], np.float32)])
    data = images(0, 40, 4)
    q = ko.quantize(model, data)
    received = q.predict(data, verbose=0)
    step = q.get_layer("dense").output_qparams.scale
    assert np.abs(received - model.predict(data, verbose=0)).max() <= 2 * step


def test_constant_output_and_zero_input():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, kernel_initializer="zeros")])
    data = np.zeros((8, 4), np.float32)
    q = ko.quantize(model, data)
    np.testing.assert_array_equal(q.predict(data, verbose=0), np.zeros((8, 3)))


def test_unknown_engine():
    model, calibration, _ = make("dense")
    q = ko.quantize(model, calibration)
    with pytest.raises(ko.EngineError, match="litert"):
        q.engine = "abacus"


def test_export_writes_whole_files(tmp_path):
    model, calibration, _ = make("dense")
    q = ko.quantize(model, calibration)
    q.export(tmp_path / "m.tflite")
    assert (tmp_path / "m.tflite").read_bytes() == q.to_tflite()
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]
    q.export(tmp_path / "m.tflite", batch_size=1)
    assert (tmp_path / "m.tflite").read_bytes() == q.to_tflite(batch_size=1) != q.to_tflite()


def test_mixed_precision_and_unbatched_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, calibration, x = make("convolutional")
        q = ko.quantize(model, calibration)
        received = q.predict(x, verbose=0)
        q.engine = "keras"
        np.testing.assert_array_equal(q.predict(x, verbose=0), received)
    finally:
        keras.config.set_dtype_policy("float32")


def test_dynamic_sizes():
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(6, 3, strides=2, padding="same", activation="relu")(inputs)
    x = L.UpSampling2D(2)(x)
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    model = randomize(keras.Model(inputs, x))
    q = ko.quantize(model, images(0, 16, 12, 10, 3))
    for size in [(12, 10), (9, 14)]:
        x = images(1, 3, *size, 3)
        q.engine = "keras"
        received = q.predict(x, verbose=0)
        assert sqnr(model.predict(x, verbose=0), received) > 25


def test_generator_of_the_converter_kind():
    model, calibration, x = make("dense")

    def representative_dataset():
        for row in calibration:
            yield [row[None]]

    q = ko.quantize(model, representative_dataset=representative_dataset)
    assert isinstance(q.get_layer(index=2), QuantizedDense)
    assert sqnr(model.predict(x, verbose=0), q.predict(x, verbose=0)) > 25


def test_float_model_file_objects_are_untouched():
    model = randomize(convolutional())
    buffer = io.StringIO()
    model.summary(print_fn=lambda text, **_: buffer.write(text))
    before = buffer.getvalue()
    ko.quantize(model, images(0, 8, 16, 16, 3))
    buffer = io.StringIO()
    model.summary(print_fn=lambda text, **_: buffer.write(text))
    assert buffer.getvalue() == before
    assert all(len(layer._inbound_nodes) <= 1 for layer in model.layers)
