import gc
import tracemalloc
from typing import Any

import keras
import numpy as np
import pytest

from keras_octet.calibrate import run as run_module
from keras_octet.calibrate.run import calibrate, keras_runner
from keras_octet.errors import CalibrationError
from keras_octet.observer_specs import MSE, MinMax, MovingAverage, Percentile
from keras_octet.recipe import Recipe, Rule, recipes

RNG = np.random.default_rng(0)
X = RNG.normal(size=(11, 6, 6, 2)).astype(np.float32)


def branched() -> keras.Model:
    image = keras.Input((6, 6, 2), name="image")
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.ReLU(name="relu")(x)
    y = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    z = keras.layers.GlobalMaxPooling2D(name="most")(x)
    z = keras.layers.Add(name="sum")([y, z])
    return keras.Model(image, keras.layers.Dense(3, name="head")(z))


def expected_ranges(model: keras.Model, x: Any) -> dict[str, tuple[float, float]]:
    outputs = {layer.name: layer.output for layer in model.layers}
    values = keras.Model(model.inputs, outputs).predict_on_batch(x)
    return {name: (float(v.min()), float(v.max())) for name, v in values.items()}


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_every_float_tensor_is_observed(batch_size) -> None:
    model = branched()
    calibration = calibrate(model, X, batch_size=batch_size)
    expected = expected_ranges(model, X)
    assert next(iter(calibration)) == "image"
    assert calibration.keys() == expected.keys()
    assert calibration.num_samples == 11
    for name, values in expected.items():
        np.testing.assert_allclose(calibration.range(name), values, rtol=1e-5, atol=1e-6)
        assert calibration[name].spec == MinMax()


def test_padding_is_not_counted() -> None:
    recipe = recipes.w8a8(observer=Percentile())
    calibration = calibrate(branched(), X, recipe=recipe, batch_size=4)
    counts = {name: observer.get_state()["counts"].sum() for name, observer in calibration.items()}
    assert counts == {
        "image": 11 * 72,
        "conv": 11 * 64,
        "relu": 11 * 64,
        "pool": 11 * 4,
        "most": 11 * 4,
        "sum": 11 * 4,
        "head": 11 * 3,
    }


def test_halves_merge_to_the_whole() -> None:
    model = branched()
    recipe = recipes.w8a8(observer=MSE(num_bins=128))
    # One sample at a time: a backend may round differently in batches of another size.
    first, second, whole = (
        calibrate(model, part, recipe=recipe, batch_size=1) for part in (X[:5], X[5:], X)
    )
    assert first | second == whole


def test_the_recipe_chooses_the_observers() -> None:
    recipe = Recipe(
        rules=(
            Rule(name="conv", keep_float=True),
            Rule(layer_type="ReLU", observer=MSE()),
            Rule(layer_type="InputLayer", observer=MovingAverage()),
            Rule(name="h*", observer=Percentile()),
        )
    )
    calibration = calibrate(branched(), X, recipe=recipe)
    assert {name: observer.spec for name, observer in calibration.items()} == {
        "image": MovingAverage(),
        "conv": MinMax(),
        "relu": MSE(),
        "pool": MinMax(),
        "most": MinMax(),
        "sum": MinMax(),
        "head": Percentile(),
    }


def test_a_part_of_the_tensors() -> None:
    model = branched()
    calibration = calibrate(model, X, tensors={"sum", "image"})
    assert list(calibration) == ["image", "sum"]
    assert list(calibrate(model, X, tensors=["image"])) == ["image"]
    assert list(calibrate(model, X, tensors=[])) == []
    with pytest.raises(CalibrationError, match=r"'summ'.*Did you mean 'sum'"):
        calibrate(model, X, tensors=["summ"])
    with pytest.raises(CalibrationError, match="collection"):
        calibrate(model, X, tensors="sum")


class Halves(keras.layers.Layer):
    def call(self, x):
        return x[:, :2], x[:, 2:] * 10

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, 2)), keras.KerasTensor((None, x.shape[1] - 2))


def test_several_outputs_and_integer_inputs() -> None:
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(7, 3, name="embedding")(tokens)
    x = keras.layers.Flatten(name="flat")(x)
    first, second = Halves(name="halves")(x)
    model = keras.Model({"t": tokens}, {"a": first, "b": second})
    data = RNG.integers(0, 7, (9, 4))
    calibration = calibrate(model, {"t": data}, batch_size=4)
    assert list(calibration) == ["embedding", "flat", "halves", "halves:1"]
    table = keras.ops.convert_to_numpy(model.get_layer("embedding").embeddings)
    flat = table[data].reshape(9, 12)
    np.testing.assert_allclose(
        calibration.range("halves:1"), (10 * flat[:, 2:].min(), 10 * flat[:, 2:].max()), rtol=1e-5
    )


def test_operations_of_keras_ops_and_axes_mixed_with_the_batch() -> None:
    image = keras.Input((6, 4), name="image")
    x = keras.ops.reshape(image, (-1, 4))
    x = keras.layers.Dense(2, name="head")(keras.ops.sin(x))
    model = keras.Model(image, x)
    data = X.reshape(-1, 6, 4)[:7]
    calibration = calibrate(model, data, recipe=recipes.w8a8(observer=MSE()), batch_size=3)
    assert calibration["head"].get_state()["counts"].sum() == 7 * 6 * 2


def test_a_fixed_batch_size_is_kept() -> None:
    image = keras.Input(batch_shape=(3, 5), name="image")
    model = keras.Model(image, keras.layers.Dense(2, name="head")(image))
    data = RNG.normal(size=(7, 5))
    calibration = calibrate(model, data, recipe=recipes.w8a8(observer=MSE()), batch_size=32)
    assert calibration.num_samples == 7
    assert calibration["head"].get_state()["counts"].sum() == 14


def test_unknown_image_sizes() -> None:
    image = keras.Input((None, None, 2), name="image")
    x = keras.layers.Conv2D(3, 3, padding="same", name="conv")(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pool")(x))
    batches = [X, X[:, :4], X[:3]]
    calibration = calibrate(model, batches, recipe=recipes.w8a8(observer=MSE()))
    assert calibration.num_samples == 25
    assert calibration["conv"].get_state()["counts"].sum() == 3 * (14 * 36 + 11 * 24)
    sizes = run_module._MicroBatchSizes(model, [x], 32)
    run_module_budget = run_module.MEMORY_BUDGET
    side = 1024
    assert sizes([np.zeros((1, side, side, 2))]) == run_module_budget // (side * side * 3 * 4)


def test_micro_batches_keep_to_the_memory_budget(monkeypatch) -> None:
    model = branched()
    received = []

    def make_runner(flat_model, tensors):
        run = keras_runner(flat_model, tensors)

        def counting(arrays):
            received.append(len(arrays[0]))
            return run(arrays)

        return counting

    monkeypatch.setattr(run_module, "MEMORY_BUDGET", 3 * 64 * 4)
    calibrate(model, [X[:1], X[1:]], tensors=["conv"], make_runner=make_runner)
    assert received == [3, 3, 3, 3]
    received.clear()
    monkeypatch.setattr(run_module, "MEMORY_BUDGET", 1)
    calibrate(model, X[:2], tensors=["conv"], make_runner=make_runner)
    assert received == [1, 1]


def test_a_runner_takes_the_place_of_keras() -> None:
    model = branched()
    asked = []

    def make_runner(flat_model, tensors):
        asked.append((flat_model, list(tensors)))
        return lambda arrays: {name: np.ones(4, np.float32) for name in tensors}

    calibration = calibrate(model, X, tensors=["image", "relu", "conv"], make_runner=make_runner)
    assert asked == [(model, ["conv", "relu"])]
    assert calibration.range("conv") == (1.0, 1.0)
    assert calibration.range("image") == (float(X.min()), float(X.max()))


def test_memory_does_not_grow_with_the_dataset() -> None:
    model = branched()
    batch = np.zeros((256, 6, 6, 2), np.float32)
    names = {layer.name: layer.output for layer in model.layers if layer.name != "image"}
    run = keras_runner(model, names)

    def peak(num_batches: int) -> int:
        def generator():
            for _ in range(num_batches):
                yield [batch + RNG.random(dtype=np.float32)]

        recipe = recipes.w8a8(observer=Percentile())
        gc.collect()
        tracemalloc.start()
        calibrate(model, generator, recipe=recipe, batch_size=256, make_runner=lambda *_: run)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)
    # Without the collector, so that nothing is left for it to free at a time of its own.
    gc.disable()
    try:
        few, many = peak(5), peak(45)
    finally:
        gc.enable()
    # A dataset that was kept would add 40 batches of inputs, and more of outputs.
    assert many < few + 20 * batch.nbytes


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_named(bad) -> None:
    model = branched()
    bias = model.get_layer("conv").bias
    bias.assign([0.0, 0.0, bad, 0.0])
    kind = "NaN" if np.isnan(bad) else "infinite"
    with pytest.raises(CalibrationError, match=rf"'conv' \(Conv2D\).*{kind}.*batch 0"):
        calibrate(model, X)


def test_the_batch_that_makes_a_tensor_overflow_is_named() -> None:
    image = keras.Input((4,), name="image")
    model = keras.Model(image, keras.layers.Activation("exponential", name="exp")(image))
    data = np.zeros((12, 4), np.float32)
    data[7, 2] = 1000.0
    batches = [data[:4], data[4:8], data[8:]]
    with pytest.raises(CalibrationError, match=r"Tensor 'exp'.*infinite values in batch 1 of"):
        calibrate(model, batches, batch_size=4)


def test_bad_data_are_explained_before_they_run() -> None:
    data = X.copy()
    data[9, 0, 0, 0] = np.nan
    with pytest.raises(CalibrationError, match=r"Batch 2.*'image'.*sample 1"):
        calibrate(branched(), data, batch_size=4)
    with pytest.raises(CalibrationError, match="batch_size"):
        calibrate(branched(), X, batch_size=0)


def test_the_model_is_not_changed() -> None:
    model = branched()
    before = model.get_config(), [w.copy() for w in model.get_weights()]
    nodes = len(model.get_layer("conv")._inbound_nodes)
    calibrate(model, X)
    assert model.get_config() == before[0]
    for old, new in zip(before[1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(model.get_layer("conv")._inbound_nodes) == nodes


def test_a_model_that_shares_weights_by_value_still_runs() -> None:
    model, other = branched(), branched()
    for variable, source in zip(model.variables, other.variables, strict=True):
        variable.assign(source.value)
    # Called, not predicted: predicting would itself give the shared arrays away.
    before = keras.ops.convert_to_numpy(other(X[:2]))
    calibrate(model, X, batch_size=4)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(other(X[:2])), before)
