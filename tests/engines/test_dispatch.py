"""Which calls the engine takes and which the Keras layers, and `predict` as Keras has it."""

from __future__ import annotations

import copy
import pickle
import threading

import keras
import numpy as np
import pytest
from keras import ops

import keras_octet as ko
from keras_octet.layers import HybridDense, QuantizedLayer
from keras_octet.running import Runner
from tests.models import images, make

L = keras.layers
BACKEND = keras.backend.backend()
of_torch = pytest.mark.skipif(BACKEND != "torch", reason="of PyTorch")


@pytest.fixture(scope="module")
def model() -> ko.QuantizedModel:
    float_model, calibration, _ = make("convolutional")
    return ko.quantize(float_model, calibration)


@pytest.fixture
def x() -> np.ndarray:
    return images(3, 70, 16, 16, 3)


@pytest.fixture
def expected(model, x) -> np.ndarray:
    return model.predict_on_batch(x)


class Calls:
    """Counts what reaches the engine."""

    def __init__(self, monkeypatch) -> None:
        self.batches: list[int] = []
        for name in ("__call__", "predict"):
            self._wrap(monkeypatch, name)

    def _wrap(self, monkeypatch, name) -> None:
        original = getattr(Runner, name)

        def counted(runner, arrays, *args):
            outputs = original(runner, arrays, *args)
            if outputs is not None:
                self.batches.append(len(keras.tree.flatten(arrays)[0]))
            return outputs

        monkeypatch.setattr(Runner, name, counted)


@pytest.fixture
def calls(monkeypatch, model, x) -> Calls:
    model.predict_on_batch(x[:1])
    return Calls(monkeypatch)


def test_concrete_calls_run_on_the_engine(model, x, expected, calls):
    tensor = ops.convert_to_tensor(x)
    for received in (model(x), model(tensor), model(x, training=False)):
        assert ops.is_tensor(received)
        np.testing.assert_array_equal(ops.convert_to_numpy(received), expected)
    for received in (
        model.predict_on_batch(x),
        model.predict_on_batch(tensor),
        model.predict_on_batch(x.astype(np.float64)),
        model.predict_on_batch([x]),
        model.predict_on_batch({"image": x}),
        model.predict(x, verbose=0),
        model.predict(tensor, verbose=0),
    ):
        assert isinstance(received, np.ndarray)
        np.testing.assert_array_equal(received, expected)
    assert len(calls.batches) == 10


def test_calls_that_keras_must_adjust_or_refuse(model, x, calls):
    with pytest.raises(ValueError, match="shape"):
        model.predict_on_batch(x[..., :2])
    # Each backend has its own error.
    with pytest.raises(Exception, match=r"(?i)str|dtype|type"):
        model(np.array([["a"]]))
    assert not calls.batches
    column = keras.Sequential([keras.Input((1,)), L.Dense(2)])
    data = np.linspace(-1, 1, 20, dtype=np.float32)
    q = ko.quantize(column, data[:, None])
    # Keras adds the missing axis, with or without the engine.
    np.testing.assert_array_equal(
        ops.convert_to_numpy(q(ops.convert_to_tensor(data))), q.predict_on_batch(data[:, None])
    )


def test_symbolic_and_traced_calls_run_the_layers(model, x, expected, calls):
    inputs = keras.Input((16, 16, 3))
    outer = keras.Model(inputs, L.Rescaling(2.0)(model(inputs)))
    np.testing.assert_array_equal(outer.predict(x, verbose=0), 2 * expected)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        np.testing.assert_array_equal(tf.function(lambda v: model(v))(tf.constant(x)), expected)
        np.testing.assert_array_equal(tf.function(lambda: model(x))(), expected)
    if BACKEND == "jax":
        import jax

        np.testing.assert_array_equal(jax.jit(lambda v: model(v))(x), expected)
        one_by_one = jax.vmap(lambda v: model(v[None])[0])
        np.testing.assert_array_equal(one_by_one(x[:3]), expected[:3])
    if BACKEND == "torch":
        import torch

        # The eager backend of the compiler, for it needs no C++ compiler.
        compiled = torch.compile(lambda v: model(v), backend="eager")
        with torch.no_grad():
            received = compiled(torch.from_numpy(x))
        np.testing.assert_array_equal(received.numpy(), expected)
    assert not calls.batches


@pytest.fixture
def with_float_head() -> tuple[ko.QuantizedModel, np.ndarray]:
    """A model whose last layer stays float, and trains."""
    inputs = keras.Input((12,))
    hidden = L.Dense(8, activation="relu")(inputs)
    model = keras.Model(inputs, L.Dense(1, name="head")(hidden))
    data = images(0, 60, 12)
    q = ko.quantize(model, data, recipe=ko.recipes.w8a8(keep_float=["head"]))
    head = q.get_layer("head")
    head.trainable = True
    return q, data


def gradient_of_head(q, data) -> np.ndarray:
    """Of the mean output with respect to the head's kernel."""
    head = q.get_layer("head")
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(q(data))
        return tape.gradient(loss, head.kernel.value).numpy()
    if BACKEND == "torch":
        head.kernel.value.grad = None
        q(data).mean().backward()
        return head.kernel.value.grad.numpy()
    import jax

    def loss(trainable):
        fixed = [v.value for v in q.non_trainable_variables]
        return q.stateless_call(trainable, fixed, data)[0].mean()

    gradients = jax.grad(loss)([v.value for v in q.trainable_variables])
    return np.asarray(gradients[[v.path for v in q.trainable_variables].index(head.kernel.path)])


def test_differentiated_calls_run_the_layers(with_float_head, monkeypatch):
    q, data = with_float_head
    q.predict_on_batch(data)
    calls = Calls(monkeypatch)
    gradient = gradient_of_head(q, data)
    assert not calls.batches
    features = keras.Model(q.inputs, q.get_layer("head").input).predict(data, verbose=0)
    np.testing.assert_allclose(gradient[:, 0], features.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_inputs_that_are_differentiated(model, x, calls):
    if BACKEND == "torch":
        import torch

        received = model(torch.tensor(x, requires_grad=True))
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            watched = tf.constant(x)
            tape.watch(watched)
            received = model(watched)
    else:
        import jax

        received, _ = jax.vjp(lambda v: model(v), x)
    assert not calls.batches
    assert ops.shape(received) == (70, 4)


@pytest.fixture
def dense() -> tuple[ko.QuantizedModel, np.ndarray, np.ndarray]:
    """A small model on the Keras layers, data for it and what it gives."""
    float_model, calibration, x = make("dense")
    quantized = ko.quantize(float_model, calibration)
    expected = quantized.predict_on_batch(x)
    quantized.engine = "keras"
    return quantized, x, expected


@of_torch
def test_int8_layers_compute_at_once(dense, monkeypatch):
    """`Layer.__call__` takes longer than a small layer."""
    quantized, x, expected = dense

    def refuse(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(QuantizedLayer, "__call__", refuse)
    np.testing.assert_array_equal(quantized.predict_on_batch(x), expected)


@of_torch
def test_hooks_of_layers_run(dense):
    from torch.nn.modules.module import register_module_forward_hook

    quantized, x, _ = dense
    seen = []

    def note(layer, *args):
        seen.append(type(layer).__name__)

    with quantized.layers[2].register_forward_hook(note):
        quantized.predict_on_batch(x)
    assert seen == ["QuantizedDense"]
    with register_module_forward_hook(note):
        quantized.predict_on_batch(x)
    assert set(seen) >= {"Quantize", "QuantizedDense", "Dequantize", "QuantizedModel"}


def test_layers_on_float_get_float32():
    layer = HybridDense(3)
    inputs = keras.Input((8,), dtype="float16")
    model = ko.QuantizedModel(inputs, layer(inputs), engine="keras")
    layer.kernel.assign(images(0, 8, 3) * 100)
    layer.kernel_scale.assign(np.full(3, 0.01))
    layer.prepare()
    x = images(1, 50, 8).astype(np.float16)
    expected = ops.convert_to_numpy(layer(ops.cast(x, "float32")))
    np.testing.assert_array_equal(model.predict_on_batch(x), expected)


def test_the_engine_may_be_set_while_a_model_trains(with_float_head):
    q, data = with_float_head
    q.compile("sgd", "mse")
    reset = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(q, "engine", "keras")
    )
    q.fit(data, np.ones((60, 1)), epochs=2, verbose=0, callbacks=[reset])
    again = keras.callbacks.Callback()
    again.on_predict_batch_end = lambda batch, logs=None: setattr(q, "engine", "keras")
    assert q.predict(data, batch_size=20, verbose=0, callbacks=[again]).shape == (60, 1)


def test_training_a_float_layer_reaches_the_engine(with_float_head):
    q, data = with_float_head
    before = q.predict(data, verbose=0)
    q.compile("sgd", "mse")
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(q.predict(data, verbose=0))
    )
    q.fit(data, np.ones((60, 1)), epochs=2, verbose=0, callbacks=[watch])
    after = q.predict(data, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(seen[-1], after, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(q(data)), after, atol=1e-6)
    q.train_on_batch(data, -np.ones((60, 1)))
    assert np.abs(q.predict(data, verbose=0) - after).max() > 1e-4


class Recorder(keras.callbacks.Callback):
    def __init__(self, stop_after=None) -> None:
        super().__init__()
        self.events, self.rows, self.stop_after = [], [], stop_after

    def on_predict_begin(self, logs=None):
        self.events.append("begin")

    def on_predict_end(self, logs=None):
        self.events.append("end")

    def on_predict_batch_begin(self, batch, logs=None):
        self.events.append(batch)

    def on_predict_batch_end(self, batch, logs=None):
        self.rows.append(len(logs["outputs"]))
        if batch == self.stop_after:
            self.model.stop_predicting = True


def test_predict_calls_callbacks_as_keras_does(model, x, expected, calls):
    recorder, reference = Recorder(), Recorder()
    received = model.predict(x, batch_size=30, verbose=0, callbacks=[recorder])
    np.testing.assert_array_equal(received, expected)
    keras.Model(model.inputs, model.outputs).predict(
        [x], batch_size=30, verbose=0, callbacks=[reference]
    )
    assert recorder.events == reference.events == ["begin", 0, 1, 2, "end"]
    assert recorder.rows == [30, 30, 10]
    assert calls.batches == [30, 30, 10]
    stopping = Recorder(stop_after=1)
    received = model.predict(x, batch_size=30, verbose=0, callbacks=[stopping])
    np.testing.assert_array_equal(received, expected[:60])


def test_predict_shows_its_progress(model, x, expected, capsys):
    np.testing.assert_array_equal(model.predict(x, verbose=1), expected)
    shown = capsys.readouterr().out
    assert "3/3" in shown
    np.testing.assert_array_equal(model.predict(x), expected)
    assert "3/3" in capsys.readouterr().out
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert not capsys.readouterr().out


class Batches(keras.utils.PyDataset):
    def __init__(self, x) -> None:
        super().__init__()
        self.x = x

    def __len__(self) -> int:
        return -(-len(self.x) // 16)

    def __getitem__(self, index):
        part = self.x[16 * index : 16 * index + 16]
        return part, np.zeros(len(part))


def generator(x, forever=False):
    while True:
        for start in range(0, len(x), 16):
            yield x[start : start + 16], np.zeros(len(x[start : start + 16]))
        if not forever:
            return


def datasets(x):
    yield "dataset", Batches(x)
    yield "generator", generator(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        yield "tf.data", tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)))).batch(16)
    if BACKEND == "torch":
        import torch

        rows = torch.utils.data.TensorDataset(torch.from_numpy(x))
        yield "loader", torch.utils.data.DataLoader(rows, batch_size=16)


def test_predict_streams_datasets(model, x, expected, calls):
    for name, dataset in datasets(x):
        calls.batches.clear()
        received = model.predict(dataset, verbose=0)
        np.testing.assert_array_equal(received, expected, err_msg=name)
        assert calls.batches == [16, 16, 16, 16, 6], name


def test_predict_takes_as_many_steps_as_asked(model, x, expected):
    received = model.predict(generator(x, forever=True), steps=3, verbose=0)
    np.testing.assert_array_equal(received, expected[:48])
    received = model.predict(x, steps=2, batch_size=10, verbose=0)
    np.testing.assert_array_equal(received, expected[:20])


def test_predict_refuses_an_empty_dataset(model):
    def empty():
        return
        yield

    older = (IndexError,) if keras.__version__.startswith("3.14") else ()
    with pytest.raises((ValueError, StopIteration, *older)):
        model.predict(empty(), verbose=0)


def test_several_inputs_and_outputs():
    float_model, calibration, x = make("two_inputs_two_outputs")
    q = ko.quantize(float_model, calibration)
    expected = q.predict_on_batch(x)
    assert isinstance(expected, dict)
    for received in (
        q.predict(x, verbose=0),
        q.predict(x, batch_size=7, verbose=0, callbacks=[keras.callbacks.Callback()]),
        keras.tree.map_structure(ops.convert_to_numpy, q(x)),
    ):
        for key, value in expected.items():
            np.testing.assert_array_equal(received[key], value)
    with pytest.raises(Exception, match=r"(?i)cardinality|size|shape|dimension|incompatible"):
        q.predict({"left": x["left"], "right": x["right"][:5]}, verbose=0)


def test_options_of_the_engine(model, x, expected):
    for options in (ko.EngineOptions(num_threads=1), ko.EngineOptions(num_threads=3)):
        model.engine_options = options
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
        np.testing.assert_array_equal(model.predict_on_batch(x), expected)
    model.engine_options = ko.EngineOptions()
    for wrong in ({"num_threads": 0}, {"num_threads": 1.5}, {"tolerance": -1.0}):
        with pytest.raises(ko.EngineError, match=next(iter(wrong))):
            ko.EngineOptions(**wrong)


def test_copies_and_files_carry_options_but_no_native_handles(model, x, expected, tmp_path):
    float_model, calibration, _ = make("dense")
    q = ko.quantize(float_model, calibration)
    q.engine_options = ko.EngineOptions(num_threads=1)
    before = len(pickle.dumps(q))
    expected = q.predict(calibration, verbose=0)
    assert q._runner is not None
    assert len(pickle.dumps(q)) <= before + 64  # no program, no .tflite bytes
    q.save(tmp_path / "q.keras")
    for other in (
        copy.deepcopy(q),
        pickle.loads(pickle.dumps(q)),
        keras.saving.load_model(tmp_path / "q.keras"),
    ):
        assert other._runner is None
        assert other.engine_options == q.engine_options
        np.testing.assert_array_equal(other.predict(calibration, verbose=0), expected)


def test_a_model_saved_with_an_engine_that_is_missing_loads(monkeypatch, tmp_path):
    float_model, calibration, _ = make("dense")
    q = ko.quantize(float_model, calibration)
    config = q.get_config()
    from keras_octet.engines import ENGINES
    from keras_octet.engines.base import Engine

    absent = Engine(name="absent", package="no_such_package", exact=True, compile=lambda s, o: None)
    monkeypatch.setitem(ENGINES, "absent", absent)
    with pytest.raises(ko.EngineError, match="no_such_package"):
        q.engine = "absent"
    with pytest.warns(UserWarning, match="absent"):
        loaded = ko.QuantizedModel.from_config({**config, "engine": "absent"})
    assert loaded.engine == "litert"


def test_threads_share_one_model(model, x, expected):
    model.engine = "litert"  # not compiled yet
    errors: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for _ in range(10):
                part = slice(start, start + 7)
                np.testing.assert_array_equal(model.predict_on_batch(x[part]), expected[part])
                np.testing.assert_array_equal(model.predict(x[part], verbose=0), expected[part])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(5 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
