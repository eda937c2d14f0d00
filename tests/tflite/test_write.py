"""The file as a whole: names, sizes, sharing, alignment, errors."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.table import add_emitter
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite
from tests.tflite.support import assert_close, example, parsed, randomized, sequence

L = keras.layers


def small_model() -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    x = L.ReLU(6.0, name="relu")(L.Conv2D(4, 3, name="conv")(image))
    outputs = L.Dense(2, name="scores")(L.GlobalAveragePooling2D(name="pool")(x))
    return randomized(keras.Model(image, outputs, name="small"))


def test_signature_and_tensor_names() -> None:
    content = to_tflite(small_model())
    interpreter = Interpreter(content)
    assert interpreter.input_names == ["image"]
    assert interpreter.output_names == ["scores"]
    names = [tensor.name.decode() for tensor in parsed(content).subgraphs[0].tensors]
    assert {"image", "relu", "pool", "scores", "conv/kernel", "conv/bias"} <= set(names)
    assert len(names) == len(set(names))


def test_batch_is_one_in_the_file_and_may_be_resized() -> None:
    tensor = parsed(to_tflite(small_model())).subgraphs[0].tensors[0]
    assert list(tensor.shape) == [1, 8, 8, 3]
    assert list(tensor.shapeSignature) == [-1, 8, 8, 3]
    assert_close(small_model(), batches=(5, 1, 2))


def test_a_fixed_batch_stays_fixed() -> None:
    inputs = keras.Input(batch_shape=(2, 4))
    model = randomized(keras.Model(inputs, L.Dense(3)(inputs)))
    tensor = parsed(to_tflite(model)).subgraphs[0].tensors[0]
    assert list(tensor.shape) == [2, 4]
    assert tensor.shapeSignature is None
    assert_close(model, batches=(2,))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_fixes_every_shape(batch_size: int) -> None:
    model = small_model()
    content = to_tflite(model, batch_size=batch_size)
    tensors = parsed(content).subgraphs[0].tensors
    assert list(tensors[0].shape) == [batch_size, 8, 8, 3]
    assert [tensor.shapeSignature for tensor in tensors] == [None] * len(tensors)
    (values,) = example(model, batch_size)
    (received,) = Interpreter(content)(values)
    (resized,) = Interpreter(to_tflite(model))(values)
    np.testing.assert_array_equal(received, resized)


def test_batch_size_reaches_an_axis_it_was_merged_into() -> None:
    inputs = keras.Input((5, 4))
    steps = keras.ops.reshape(inputs, (-1, 4))
    model = randomized(keras.Model(inputs, keras.ops.reshape(L.Dense(3)(steps), (-1, 5, 3))))
    subgraph = parsed(to_tflite(model, batch_size=2)).subgraphs[0]
    assert sorted(list(x.shape) for x in subgraph.tensors if x.type == 0 and not x.buffer) == [
        [2, 5, 3],
        [2, 5, 4],
        [10, 3],
        [10, 4],
    ]


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "1"])
def test_a_batch_size_that_is_none_is_refused(batch_size: Any) -> None:
    with pytest.raises(ExportError, match="positive integer"):
        to_tflite(small_model(), batch_size=batch_size)


def test_another_batch_size_than_the_models_is_refused() -> None:
    inputs = keras.Input(batch_shape=(2, 4), name="pair")
    model = keras.Model(inputs, L.Dense(3)(inputs))
    assert to_tflite(model, batch_size=2) == to_tflite(model)
    with pytest.raises(ExportError, match=r"'pair' has the fixed shape \(2, 4\)"):
        to_tflite(model, batch_size=1)


def test_image_size_may_be_unknown() -> None:
    inputs = keras.Input((None, None, 3))
    x = L.MaxPooling2D()(L.Conv2D(4, 3, padding="same")(inputs))
    model = randomized(keras.Model(inputs, L.GlobalAveragePooling2D()(x)))
    interpreter = Interpreter(to_tflite(model))
    for shape in ((1, 10, 12, 3), (2, 6, 4, 3)):
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        expected = keras.ops.convert_to_numpy(model(values))
        np.testing.assert_allclose(interpreter(values)[0], expected, atol=2e-5)


def test_same_model_gives_same_bytes() -> None:
    model = small_model()
    assert to_tflite(model) == to_tflite(model)


def test_buffers_are_aligned() -> None:
    content = to_tflite(small_model())
    root = schema.Model.GetRootAs(content, 0)
    assert schema.Model.ModelBufferHasIdentifier(content, 0)
    starts = []
    for i in range(root.BuffersLength()):
        buffer = root.Buffers(i)
        if buffer.DataLength():
            vector = buffer._tab.Vector(buffer._tab.Offset(4))
            starts.append(vector)
            data = np.frombuffer(content, np.uint8, buffer.DataLength(), vector)
            np.testing.assert_array_equal(data, buffer.DataAsNumpy())
    assert len(starts) >= 5
    assert [start % 16 for start in starts] == [0] * len(starts)


def test_equal_constants_are_stored_once() -> None:
    inputs = keras.Input((4,))
    first, second = L.Dense(4, name="first"), L.Dense(4, name="second")
    model = keras.Model(inputs, second(first(inputs)))
    second.set_weights(first.get_weights())
    sizes = [len(b.data) for b in parsed(to_tflite(model)).buffers if b.data is not None]
    assert sizes.count(4 * 4 * 4) == 1


def test_minimum_runtime_is_stated() -> None:
    model = parsed(to_tflite(sequence((4, 4, 2), L.Conv2D(4, 3, groups=2))))
    (metadata,) = model.metadata
    assert metadata.name == b"min_runtime_version"
    assert bytes(model.buffers[metadata.buffer].data) == b"2.9.0".ljust(16, b"\0")


def test_relu_is_fused_into_its_producer() -> None:
    inputs = keras.Input((4, 4, 2))
    outputs = L.ReLU(6.0)(L.Add()([L.ReLU()(L.Conv2D(2, 1)(inputs)), inputs]))
    interpreter = assert_close(randomized(keras.Model(inputs, outputs)))
    assert interpreter.operators() == ["CONV_2D", "ADD"]


@pytest.mark.parametrize("reader", ["output", "layer"])
def test_relu_is_not_fused_when_its_input_is_read_elsewhere(reader: str) -> None:
    inputs = keras.Input((4,))
    x = L.Dense(3)(inputs)
    other = x if reader == "output" else L.Softmax()(x)
    model = randomized(keras.Model(inputs, [L.ReLU()(x), other]))
    assert "RELU" in assert_close(model).operators()


def test_outputs_that_are_inputs_or_repeat() -> None:
    inputs = keras.Input((4,), name="x")
    hidden = L.Dense(3, name="hidden")(inputs)
    model = randomized(keras.Model(inputs, [hidden, inputs, hidden, L.Dropout(0.5)(hidden)]))
    interpreter = assert_close(model)
    assert len(set(interpreter.output_names)) == 4
    # A runtime may hand out one buffer for each, so each is a tensor of its own.
    subgraph = parsed(to_tflite(model)).subgraphs[0]
    assert len({*subgraph.inputs, *subgraph.outputs}) == 5


def test_dict_of_inputs_and_outputs() -> None:
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((3,), name="b")}
    model = keras.Model(inputs, {"sum": L.Add(name="total")([inputs["a"], inputs["b"]])})
    interpreter = Interpreter(to_tflite(model))
    assert interpreter.input_names == ["a", "b"]
    assert interpreter.output_names == ["total"]


def test_sequential_model() -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="relu"), L.Softmax()])
    assert_close(randomized(model))


class Doubling(L.Layer):
    def call(self, inputs: Any) -> Any:
        return 2 * inputs


class Halving(L.Layer):
    def call(self, inputs: Any) -> Any:
        return 0.5 * inputs


def test_every_layer_without_a_form_is_named_at_once() -> None:
    model = sequence((4,), Doubling(name="up"), L.Dense(3), Halving(name="down"))
    with pytest.raises(ExportError) as caught:
        to_tflite(model)
    for word in ("'up'", "Doubling", "'down'", "Halving"):
        assert word in str(caught.value)
    assert "Dense" not in str(caught.value)


def test_every_configuration_without_a_form_is_named_at_once() -> None:
    model = sequence(
        (4,), L.ReLU(threshold=1.0, name="one"), L.Activation("squareplus", name="two")
    )
    with pytest.raises(ExportError, match=r"(?s)'one'.*'two'"):
        to_tflite(model)


def test_a_subclass_is_another_layer() -> None:
    class Other(L.Dense):
        pass

    with pytest.raises(ExportError, match="Other"):
        to_tflite(sequence((4,), Other(3)))


def test_a_model_without_a_graph_is_refused() -> None:
    class Subclassed(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(ExportError, match="functional"):
        to_tflite(Subclassed())


def test_emitters_may_be_given() -> None:
    def emit(layer: Any, graph: Any, inputs: list[int], output: int) -> None:
        graph.operator("NEG", inputs, [output], schema.NegOptionsT())

    content = to_tflite(sequence((4,), Doubling()), {Doubling: emit})
    assert Interpreter(content).operators() == ["NEG"]


def test_a_class_has_one_emitter() -> None:
    with pytest.raises(ValueError, match="Dense already has"):
        add_emitter(lambda layer, graph, inputs, output: None, L.Dense)


@pytest.mark.slow
def test_whole_model() -> None:
    model = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None)
    content = to_tflite(model)
    interpreter = Interpreter(content)
    assert (interpreter.partitions(), interpreter.left()) == (1, [])
    values = np.random.default_rng(0).normal(size=(2, 96, 96, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(values, training=False))
    np.testing.assert_allclose(interpreter(values)[0], expected, rtol=1e-3, atol=1e-6)
