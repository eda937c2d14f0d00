"""Loops, branches and models that keep state: call after call, on their own and in other models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.model import QuantizedModel
from keras_octet.tflite.read.bounds import Bound, bound_of
from keras_octet.tflite.read.parse import TFLiteFile, parse
from keras_octet.tflite.run import Interpreter
from tests.golden import record
from tests.tflite.read.test_golden import FIXED_BYTES, WRITTEN_AS, assert_within, running_operators

NAMES = sorted(
    path.stem
    for prefix in ("while_", "if_", "read_variable_", "strided_slice_float_dynamic")
    for path in record.FOLDER.glob(f"{prefix}*.tflite")
)
STATEFUL = [x for x in NAMES if x.startswith("read_variable_") or x.endswith("_stateful")]
# A size that is known only when the model runs is found out in another way.
WRITTEN = {
    "while_float_open_length": {
        "main": "TRANSPOSE SHAPE STRIDED_SLICE PACK FILL SHAPE STRIDED_SLICE WHILE TRANSPOSE"
    }
}


def codes(file: TFLiteFile, name: str) -> list[str]:
    """Operators of a subgraph, as they are written, but for those that only change a shape.

    An index with one operator is written as a slice and a RESHAPE, which the delegate takes.
    """
    graph = next(x for x in file.subgraphs if x.name == name)
    found = [WRITTEN_AS.get(code, code) for code, _ in running_operators(graph)]
    return [code for code in found if code != "RESHAPE"]


def bound(file: TFLiteFile) -> Bound:
    """What the operators of all subgraphs add up to."""
    return bound_of(pair for graph in file.subgraphs for pair in running_operators(graph))


def run(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """One call of the Keras layers, compiled as `predict` compiles them."""
    arrays: Any = inputs if len(inputs) > 1 else inputs[0]
    outputs = keras.Model.predict_on_batch(model, arrays)
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def assert_calls(model: keras.Model, calls: list[record.Call], limit: Bound) -> None:
    """Call after call, the outputs that LiteRT gave."""
    for inputs, expected in calls:
        for ours, theirs in zip(run(model, inputs), expected, strict=True):
            assert_within(limit, ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_calls(name: str, tmp_path: Path) -> None:
    content, calls = record.load(name)
    limit = bound(parse(content))
    model = ko.load_model(content)
    assert model.stateful is (name in STATEFUL)
    assert_calls(model, calls, limit)
    model.reset_state()
    assert_calls(model, calls, limit)

    # Saved in the middle of a sequence, a model starts from the beginning.
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_calls(loaded, calls, limit)
    assert loaded.to_tflite() == model.to_tflite()


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    content, calls = record.load(name)
    model = ko.load_model(content)
    run(model, calls[0][0])  # what the variables hold now is not what the file begins with
    again = model.to_tflite()
    before, after = parse(content), parse(again)
    assert {x.name for x in after.subgraphs} == {x.name for x in before.subgraphs}
    for graph in after.subgraphs:
        expected_codes = codes(before, graph.name)
        if graph.name in WRITTEN.get(name, ()):
            running = set(WRITTEN[name][graph.name].split()) - {"SHAPE"}
            assert [x.code for x in graph.operators] == WRITTEN[name][graph.name].split()
            assert running.issuperset(expected_codes)
        else:
            assert codes(after, graph.name) == expected_codes
        old = next(x for x in before.subgraphs if x.name == graph.name)
        for mine, theirs in ((graph.inputs, old.inputs), (graph.outputs, old.outputs)):
            assert [graph.tensors[i].name for i in mine] == [old.tensors[i].name for i in theirs]
    assert len(again) <= 1.01 * len(content) + FIXED_BYTES
    ours, theirs = Interpreter(again), Interpreter(content)
    if theirs.output_names:
        assert (ours.input_names, ours.output_names) == (theirs.input_names, theirs.output_names)
    # Float kernels round as the processor does: what was recorded may be another's.
    for inputs, _ in calls:
        for x, y in zip(ours(*inputs), theirs(*inputs), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", NAMES)
def test_inside_another_model(name: str) -> None:
    content, calls = record.load(name)
    inner = ko.load_model(content)
    inputs = [
        keras.Input(batch_shape=x.shape, dtype=x.dtype, name=f"in_{i}")
        for i, x in enumerate(inner.inputs)
    ]
    outer = keras.Model(inputs, inner(inputs if len(inputs) > 1 else inputs[0]))
    assert_calls(outer, calls, bound(parse(content)))
    outer.summary(print_fn=lambda text: None, expand_nested=True)
    assert "While" in str(ko.inspect(inner)) or "while" not in name


@pytest.mark.parametrize("name", STATEFUL)
def test_eager_calls(name: str) -> None:
    content, calls = record.load(name)
    model = ko.load_model(content)
    limit = bound(parse(content))
    for inputs, expected in calls:
        outputs = keras.Model.__call__(model, inputs if len(inputs) > 1 else inputs[0])
        for ours, theirs in zip(keras.tree.flatten(outputs), expected, strict=True):
            assert_within(limit, keras.ops.convert_to_numpy(ours), theirs)


@pytest.mark.parametrize("engine", ["litert", "keras", "auto"])
@pytest.mark.parametrize("name", ["read_variable_int8", "read_variable_hybrid"])
def test_engines(name: str, engine: str) -> None:
    content, calls = record.load(name)
    model = ko.load_model(content)
    assert isinstance(model, QuantizedModel)
    model.engine = engine
    for _ in range(2):
        for inputs, (expected,) in calls:
            np.testing.assert_array_equal(model.predict_on_batch(inputs[0]), expected)
        model.reset_state()


@pytest.mark.parametrize("name", ["while_float_lstm", "if_float"])
def test_a_loop_in_a_model_that_is_quantized(name: str, tmp_path: Path) -> None:
    """A loop or branch stays as it is, in float; so it is written from inside another model."""
    content, calls = record.load(name)
    model = ko.load_model(content)
    inputs = [x for x, _ in calls]
    q = ko.quantize(model, inputs)
    assert {type(x).__name__ for x in q.layers} & {"While", "If"}
    for (x,), (expected,) in calls:
        np.testing.assert_allclose(q.predict_on_batch(x), expected, rtol=1e-6, atol=1e-6)
    x = keras.Input(batch_shape=model.inputs[0].shape)
    ko.export(keras.Model(x, keras.ops.relu(model(x))), tmp_path / "outer.tflite")
    written = Interpreter((tmp_path / "outer.tflite").read_bytes())
    for (x,), (expected,) in calls:
        np.testing.assert_allclose(written(x)[0], np.maximum(expected, 0), rtol=1e-6, atol=1e-6)


def test_a_model_with_variables_is_not_captured() -> None:
    content, calls = record.load("read_variable_float")
    with pytest.raises(ko.CaptureError, match="from call to call"):
        ko.quantize(ko.load_model(content), [calls[0][0]])


def test_batch_size_of_loops_and_branches() -> None:
    """An open batch inside a loop is fixed with that of the model."""
    from keras_octet.layers import operators

    def step(name: str, function: Any) -> keras.Model:
        x = keras.Input((3,), name=name)
        return keras.Model(x, function(x), name=name)

    ops = keras.ops
    loop = operators.While(
        condition=step("small", lambda x: ops.max(x) < 10.0),
        body=step("double", lambda x: x * 2.0),
    )
    choice = operators.If(
        then=step("up", lambda x: x + 1.0), otherwise=step("down", lambda x: x - 1.0)
    )
    x = keras.Input((3,))
    (y,) = loop([x])
    (z,) = choice([ops.max(x) > 2.0, y])
    model = ko.exportable.ExportableModel(x, z)
    array = np.array([[1, 2, 3], [0.5, 0.25, 0.125]], np.float32)
    expected = array * 4 + 1
    np.testing.assert_array_equal(run(model, [array])[0], expected)
    content = model.to_tflite(batch_size=2)
    assert all(
        None not in tensor.shape for graph in parse(content).subgraphs for tensor in graph.tensors
    )
    np.testing.assert_array_equal(Interpreter(content)(array)[0], expected)
    np.testing.assert_array_equal(Interpreter(model.to_tflite())(array)[0], expected)
