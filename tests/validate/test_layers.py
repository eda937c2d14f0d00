"""Errors, ranges and clipping of layers against NumPy, step by step."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.capture import capture
from keras_octet.validate.graph import match_layers
from keras_octet.validate.layers import LayerComparison
from tests.models import images, make
from tests.validate.support import batches, classifier, quick, sqnr

L = keras.layers


def two_dense() -> tuple[keras.Model, ko.QuantizedModel, np.ndarray]:
    """A model whose integers are easy to compute by hand."""
    model = keras.Sequential(
        [keras.Input((6,)), L.Dense(5, activation="relu", name="a"), L.Dense(3, name="b")]
    )
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.normal(size=(6, 5)), rng.normal(size=5), rng.normal(size=(5, 3)), rng.normal(size=3)]
    )
    x = rng.normal(size=(40, 6)).astype(np.float32)
    return model, ko.quantize(model, x), x


def dense_by_hand(layer: keras.layers.Layer, q: np.ndarray) -> np.ndarray:
    """The integers of a quantized Dense for the integers `q`, by the formula of the field."""
    source, target = layer.input_qparams[0], layer.output_qparams
    kernel = np.asarray(layer.kernel, np.int64)
    total = (q.astype(np.int64) - source.zero_point) @ kernel + np.asarray(layer.bias, np.int64)
    multiplier = (
        np.float32(source.scale) * np.asarray(layer.kernel_scale) / np.float32(target.scale)
    )
    rounded = np.rint(total.astype(np.float32) * multiplier.astype(np.float32)) + target.zero_point
    lowest = target.zero_point if layer.activation == "relu" else -128
    return np.clip(rounded, lowest, 127).astype(np.int8)


def test_own_and_accumulated_error_by_hand() -> None:
    model, quantized, x = two_dense()
    report = quick(model, quantized, x, layer_samples=None)
    rows = {row.name: row for row in report.layers}
    weights = [np.asarray(w) for w in model.get_weights()]
    float_a = np.maximum(x @ weights[0] + weights[1], 0)
    float_b = float_a @ weights[2] + weights[3]
    a, b = quantized.get_layer("a"), quantized.get_layer("b")

    int_x = a.input_qparams[0].quantize(x)
    int_a = dense_by_hand(a, int_x)
    int_b = dense_by_hand(b, int_a)
    expected = {
        "a": (int_a, int_a, float_a, a),
        "b": (dense_by_hand(b, b.input_qparams[0].quantize(float_a)), int_b, float_b, b),
    }
    for name, (own, accumulated, reference, layer) in expected.items():
        row, real = rows[name], layer.output_qparams.dequantize
        assert row.own.sqnr == pytest.approx(sqnr(reference, real(own)), abs=0.01)
        assert row.accumulated.sqnr == pytest.approx(sqnr(reference, real(accumulated)), abs=0.01)
        error = np.abs(reference - real(accumulated))
        assert row.accumulated.max_error == pytest.approx(error.max(), rel=1e-3)
        assert row.accumulated.mean_error == pytest.approx(error.mean(), rel=1e-3)
        assert row.activation.minimum == pytest.approx(reference.min(), abs=1e-5)
        assert row.activation.maximum == pytest.approx(reference.max(), rel=1e-5)
        assert (row.activation.low, row.activation.high) == layer.output_qparams.range
    assert rows["b"].own.sqnr > rows["b"].accumulated.sqnr
    assert rows["a"].fused == rows["a"].tensor == "a_relu"
    assert report.num_fused == 1


def test_error_of_the_weights_alone_by_hand() -> None:
    model, quantized, x = two_dense()
    rows = {row.name: row for row in quick(model, quantized, x, layer_samples=None).layers}
    weights = [np.asarray(w) for w in model.get_weights()]
    layer = quantized.get_layer("a")
    scale = np.asarray(layer.kernel_scale)
    kernel = np.asarray(layer.kernel) * scale
    bias = np.asarray(layer.bias) * scale * layer.input_qparams[0].scale
    reference = np.maximum(x @ weights[0] + weights[1], 0)
    received = np.maximum(x @ kernel + bias, 0)
    assert rows["a"].weights_only.sqnr == pytest.approx(sqnr(reference, received), abs=0.02)
    assert rows["a"].weights.difference.sqnr == pytest.approx(sqnr(weights[0], kernel), abs=1e-3)


def test_every_kind_of_layer_is_matched() -> None:
    model, quantized, _, _ = classifier()
    pairs = match_layers(capture(model), quantized)
    found = {pair.name: pair for pair in pairs}
    assert set(found) == {
        *("image_quantize", "stem", "depthwise", "project", "residual", "pool", "average"),
        *("logits", "scores"),
    }
    assert found["stem"].fused.name == "stem_relu"
    assert found["image_quantize"].float_layer is None
    assert [pair.name for pair in pairs if pair.fused is not None] == ["stem"]


@pytest.mark.parametrize("name", ["u_net", "two_inputs_two_outputs"])
def test_accumulated_error_is_that_of_the_quantized_models_own_tensors(name: str) -> None:
    model, calibration, data = make(name)
    quantized = ko.quantize(model, calibration)
    report = quick(model, quantized, data, layer_samples=None)
    flat = capture(model)
    pairs = match_layers(flat, quantized)
    assert {row.name for row in report.layers} == {pair.name for pair in pairs}
    floats = keras.Model(flat.inputs, [pair.float_tensor for pair in pairs])
    integers = keras.Model(quantized.inputs, [pair.tensor for pair in pairs])
    arrays = list(data.values()) if isinstance(data, dict) else [data]
    rows = {row.name: row for row in report.layers}
    references = keras.tree.flatten(floats.predict(arrays, verbose=0))
    received = keras.tree.flatten(integers.predict(arrays, verbose=0))
    for pair, reference, value in zip(pairs, references, received, strict=True):
        real = pair.layer.output_qparams.dequantize(value)
        expected = sqnr(reference, real)
        assert rows[pair.name].accumulated.sqnr == pytest.approx(expected, abs=0.02), pair.name


def test_layers_left_in_float_have_their_reason_and_accumulated_error() -> None:
    model, _, x, _ = classifier()
    recipe = ko.recipes.w8a8(keep_float=["project", "residual"])
    quantized = ko.quantize(model, x[:64], recipe=recipe)
    report = quick(model, quantized, x, layer_samples=64)
    rows = {row.name: row for row in report.layers}
    assert [row.name for row in report.float_layers()] == ["project", "residual"]
    assert rows["project"].reason == "kept in float by the recipe"
    assert rows["project"].own is None
    assert rows["project"].activation is None
    assert 10 < rows["project"].accumulated.sqnr < 60
    assert report.num_layer_samples == 64


def test_clipping_and_use_of_the_range() -> None:
    model, _, x = two_dense()
    small = ko.quantize(model, x / 4)
    rows = {row.name: row for row in quick(model, small, x, layer_samples=None).layers}
    layer = small.get_layer("b")
    weights = [np.asarray(w) for w in model.get_weights()]
    float_b = np.maximum(x @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
    low, high = layer.output_qparams.range
    step = layer.output_qparams.scale
    int_b = keras.Model(small.inputs, layer.output).predict(x, verbose=0)
    beyond = (int_b == 127) & (float_b > high + step) | (int_b == -128) & (float_b < low - step)
    assert rows["b"].activation.clipped == pytest.approx(beyond.mean())
    assert rows["b"].activation.clipped > 0.1
    assert rows["b"].activation.num_clipped == beyond.sum()
    assert rows["b"].activation.used == pytest.approx(1.0, abs=1e-6)

    large = ko.quantize(model, np.concatenate([x, 4 * x[:1]]))
    values = {r.name: r for r in quick(model, large, x, layer_samples=None).layers}["b"].activation
    assert values.clipped == 0
    low, high = large.get_layer("b").output_qparams.range
    span = min(float_b.max(), high) - max(float_b.min(), low)
    assert values.used == pytest.approx(span / (high - low), rel=1e-5)


def test_a_zero_that_a_fused_relu_makes_is_not_clipping() -> None:
    model, quantized, x = two_dense()
    row = next(r for r in quick(model, quantized, x, layer_samples=None).layers if r.name == "a")
    assert quantized.get_layer("a").output_qparams.zero_point == -128
    assert row.activation.clipped == 0


def test_an_outlier_has_a_better_range() -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(4, name="d", use_bias=False)])
    model.set_weights([np.eye(4)])
    x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    x[0, 0] = 300.0
    quantized = ko.quantize(model, x)
    rows = {row.name: row for row in quick(model, quantized, x, layer_samples=None).layers}
    values = rows["d"].activation
    low, high = values.better_range
    assert high < 300

    def noise(low: float, high: float) -> float:
        return np.mean((x - np.clip(x, low, high)) ** 2) + ((high - low) / 255) ** 2 / 12

    expected = 10 * np.log10(noise(values.low, values.high) / noise(low, high))
    assert values.better_range_gain == pytest.approx(expected, abs=0.5)


def test_channels_that_are_dead_or_coarse() -> None:
    model = keras.Sequential([keras.Input((5,)), L.Dense(6, name="d", use_bias=False)])
    kernel = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    kernel[:, 1] = 0
    kernel[:, 2] *= 1e-3
    model.set_weights([kernel])
    x = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    quantized = ko.quantize(model, x)
    row = next(r for r in quick(model, quantized, x, layer_samples=None).layers if r.name == "d")
    assert row.weights.dead_channels == 1
    assert row.weights.coarse_channels == 0
    assert row.activation.constant_channels == 1
    assert row.activation.coarse_channels == 1
    assert row.activation.num_channels == row.weights.num_channels == 6

    recipe = ko.recipes.w8a8(weight_granularity="per_tensor")
    quantized = ko.quantize(model, x, recipe=recipe)
    row = next(r for r in quick(model, quantized, x, layer_samples=None).layers if r.name == "d")
    assert row.weights.dead_channels == 2
    assert row.weights.worst_channel == 2
    scale = np.abs(kernel).max() / 127
    assert (row.weights.low, row.weights.high) == pytest.approx((-127 * scale, 127 * scale))


def test_weights_of_every_layout() -> None:
    model, calibration, data = make("u_net")
    quantized = ko.quantize(model, calibration)
    rows = quick(model, quantized, data[:8], layer_samples=None).layers
    weighted = {row.name: row for row in rows if row.weights is not None}
    kinds = {type(quantized.get_layer(name)).__name__ for name in weighted}
    assert {"QuantizedConv2D", "QuantizedConv2DTranspose"} <= kinds
    for name, row in weighted.items():
        kernel = np.asarray(model.get_layer(name).kernel)
        assert (row.weights.minimum, row.weights.maximum) == (kernel.min(), kernel.max())
        # Rounding to 8 bits with a scale for each channel.
        assert 35 < row.weights.worst_channel_sqnr <= row.weights.difference.sqnr + 3, name
        assert sum(row.weights.histogram.counts) == kernel.size
        assert row.weights_only.sqnr > 30


def test_histograms_count_the_values() -> None:
    model, quantized, x = two_dense()
    rows = {row.name: row for row in quick(model, quantized, x, layer_samples=None).layers}
    histogram = rows["b"].activation.histogram
    assert sum(histogram.counts) == 40 * 3
    weights = [np.asarray(w) for w in model.get_weights()]
    float_b = np.maximum(x @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
    edges = np.array(histogram.edges)
    counts, _ = np.histogram(float_b, edges)
    assert np.abs(counts - histogram.counts).sum() <= 2  # values on an edge


def test_layers_do_not_depend_on_the_batches() -> None:
    model, quantized, x, _ = classifier()
    whole = quick(model, quantized, x[:96], layer_samples=None)
    parts = quick(model, quantized, batches(x[:96], size=5), layer_samples=None, batch_size=7)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.accumulated.sqnr == pytest.approx(other.accumulated.sqnr, abs=1e-6)
        assert one.own.sqnr == pytest.approx(other.own.sqnr, abs=0.02)
        assert one.activation.clipped == other.activation.clipped


def test_a_small_memory_budget_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, quantized, x, _ = classifier()
    whole = quick(model, quantized, x[:40], layer_samples=None)
    monkeypatch.setattr(sys.modules[LayerComparison.__module__], "MEMORY_BUDGET", 100_000)
    sizes = []
    update = LayerComparison.update

    def spy(self: LayerComparison, *args: object) -> None:
        sizes.append(self._size)
        update(self, *args)

    monkeypatch.setattr(LayerComparison, "update", spy)
    parts = quick(model, quantized, x[:40], layer_samples=None)
    assert 1 <= sizes[0] < 10
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.accumulated.sqnr == pytest.approx(other.accumulated.sqnr, abs=1e-6)


def test_images_of_several_sizes() -> None:
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    model = keras.Model(inputs, L.Conv2D(2, 1, name="head")(x))
    data = [images(i, 4, size, size, 3) for i, size in enumerate((8, 12))]
    quantized = ko.quantize(model, data)
    report = quick(model, quantized, data, layer_samples=None, effects=True)
    assert report.num_samples == report.num_layer_samples == 8
    assert {row.name for row in report.layers} >= {"conv", "head"}
    assert all(row.own.sqnr > 20 for row in report.layers)
