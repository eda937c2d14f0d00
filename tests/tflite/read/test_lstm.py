"""Fused LSTMs with every option: LiteRT's bits where they can be had, call after call."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_octet as ko
from keras_octet.exportable import ExportableModel
from keras_octet.tflite.read.bounds import BOUNDS, EXACT
from keras_octet.tflite.run import Interpreter
from tests.litert import keras_outputs
from tests.tflite.read.lstm_files import LSTM, bidirectional_file, lstm_file, random_inputs
from tests.tflite.read.test_golden import assert_within
from tests.tflite.read.test_hostile import repacked

CALLS = 3
ACTIVATIONS = ("relu", "relu6", "hard_tanh", "tanh")
few = settings(max_examples=6, deadline=None)


@st.composite
def lstms(draw: Any, kind: str, units: Any, layer_norm: bool = True) -> LSTM:
    size = draw(units)
    projection = draw(st.booleans())
    # LiteRT has no room for a larger output.
    outputs = st.integers(1, size)
    return LSTM(
        kind=kind,
        batch=draw(st.integers(1, 3)),
        time=draw(st.integers(1, 5)),
        features=draw(st.integers(1, 20)),
        units=size,
        output_size=draw(outputs) if projection else 0,
        input_gate=draw(st.booleans()),
        peephole=draw(st.booleans()),
        layer_norm=layer_norm and draw(st.booleans()),
        projection=projection,
        projection_bias=projection and draw(st.booleans()),
        sequence=draw(st.sampled_from([True, True, False])),
        time_major=draw(st.booleans()),
        activation="tanh" if kind == "int8" else draw(st.sampled_from(ACTIVATIONS)),
        cell_clip=draw(st.sampled_from([0.0, 0.7])),
        proj_clip=draw(st.sampled_from([0.0, 0.3])),
        asymmetric=kind == "hybrid" and draw(st.booleans()),
        cell_exponent=draw(st.integers(-15, -9)),
        gain=draw(st.floats(0.1, 1.0)),
        seed=draw(st.integers(0, 2**16)),
    )


def layers_of(content: bytes) -> Any:
    """The loaded model, which runs its Keras layers."""
    model = ko.load_model(content)
    if isinstance(model, ko.QuantizedModel):
        model.engine = "keras"
    return model


def called(model: Any, x: np.ndarray) -> np.ndarray:
    (outputs,) = keras_outputs(model, x)
    return np.asarray(outputs)


def assert_same_bits(lstm: LSTM) -> None:
    content = lstm_file(lstm)
    model, interpreter = layers_of(content), Interpreter(content)
    assert isinstance(model, ko.QuantizedModel)
    written = Interpreter(model.to_tflite())
    for call in range(CALLS):
        x = random_inputs(lstm, call)
        (expected,) = interpreter(x)
        np.testing.assert_array_equal(called(model, x), expected)
        np.testing.assert_array_equal(written(x)[0], expected)


@few
@given(lstms("int8", st.integers(1, 20)))
def test_int8(lstm: LSTM) -> None:
    assert_same_bits(lstm)


# Eigen computes what is left over of four units one by one, with another exp.
@few
@given(lstms("hybrid", st.integers(1, 8).map(lambda n: 4 * n), layer_norm=False))
def test_hybrid(lstm: LSTM) -> None:
    assert_same_bits(lstm)


@few
@given(st.one_of(lstms("float", st.integers(1, 20)), lstms("hybrid", st.integers(1, 20))))
def test_float_is_within_its_bound(lstm: LSTM) -> None:
    # Large weights and values without a bound enlarge a difference at every step.
    activation = "tanh" if "relu" in str(lstm.activation) else lstm.activation
    lstm = replace(lstm, gain=min(lstm.gain, 0.5), activation=activation)
    content = lstm_file(lstm)
    model, interpreter = layers_of(content), Interpreter(content)
    for call in range(CALLS):
        x = random_inputs(lstm, call)
        (expected,) = interpreter(x)
        bound = BOUNDS["UNIDIRECTIONAL_SEQUENCE_LSTM", "float"].tolerance(expected)
        assert (np.abs(called(model, x) - expected) <= bound).all()


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("kind", ["float", "hybrid"])
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_both_directions(kind: str, merge: bool, data: Any) -> None:
    units = st.integers(1, 5).map(lambda n: 4 * n)
    lstm = replace(data.draw(lstms(kind, units, layer_norm=False)), sequence=True, gain=0.3)
    if merge and not lstm.time_major:
        lstm = replace(lstm, batch=1)
    lstm = replace(lstm, activation="tanh" if kind == "float" else lstm.activation)
    content = bidirectional_file(lstm, merge=merge)
    model, interpreter = layers_of(content), Interpreter(content)
    bound = BOUNDS["UNIDIRECTIONAL_SEQUENCE_LSTM", "float"] if kind == "float" else EXACT
    written = Interpreter(model.to_tflite())
    assert written.operators().count("UNIDIRECTIONAL_SEQUENCE_LSTM") == 2
    for call in range(CALLS):
        x = random_inputs(lstm, call)
        received, expected = keras_outputs(model, x), interpreter(x)
        for ours, again, theirs in zip(received, written(x), expected, strict=True):
            assert_within(bound, np.asarray(ours), theirs)
            assert_within(bound, again, theirs)


def test_joined_directions_of_several_sequences() -> None:
    """LiteRT steps through the states with the width of the joined outputs."""
    with pytest.raises(ko.ModelFileError, match="time major"):
        ko.load_model(bidirectional_file(LSTM(batch=2), merge=True))


def projecting(kind: str, output_size: int, **options: Any) -> LSTM:
    return LSTM(kind=kind, units=4, output_size=output_size, projection=True, **options)


LARGE = {
    "float": (lstm_file, projecting("float", 21, time_major=True)),
    "float, one sequence": (lstm_file, projecting("float", 21, batch=1)),
    "float step": (lstm_file, projecting("float", 5, sequence=False)),
    "float, both directions": (bidirectional_file, projecting("float", 5, time_major=True)),
    "hybrid": (lstm_file, projecting("hybrid", 5, time_major=True)),
    "hybrid step": (lstm_file, projecting("hybrid", 5, sequence=False)),
    "hybrid, both directions": (bidirectional_file, projecting("hybrid", 9)),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_projections_are_refused(name: str) -> None:
    """LiteRT writes them beyond its memory, which now and then aborts the process."""
    file, lstm = LARGE[name]
    options = {"merge": False} if file is bidirectional_file else {}
    with pytest.raises(ko.ModelFileError, match="beyond its memory"):
        ko.load_model(file(lstm, **options))


@pytest.mark.parametrize(
    "lstm",
    [projecting("float", 20, time_major=True), projecting("float", 40), projecting("hybrid", 8)],
    ids=["spare", "spare, sequences apart", "hybrid, sequences apart"],
)
def test_largest_projections(lstm: LSTM) -> None:
    content = lstm_file(lstm)
    (expected,) = Interpreter(content)(random_inputs(lstm, 0))
    bound = BOUNDS["UNIDIRECTIONAL_SEQUENCE_LSTM", "float"] if lstm.kind == "float" else EXACT
    assert_within(bound, called(layers_of(content), random_inputs(lstm, 0)), expected)


EVERYTHING = {
    "peephole": True,
    "layer_norm": True,
    "projection": True,
    "projection_bias": True,
    "output_size": 3,
    "cell_clip": 2.0,
    "proj_clip": 1.0,
}
FILES = {
    "float": LSTM(**EVERYTHING),
    "float plain": LSTM(time_major=True),
    "hybrid": LSTM(kind="hybrid", units=8, asymmetric=True, **EVERYTHING),
    "int8": LSTM(kind="int8", **EVERYTHING),
    "float step": LSTM(sequence=False),
    "int8 step": LSTM(kind="int8", sequence=False, **EVERYTHING),
    "int8 without input gate": LSTM(kind="int8", input_gate=False, time_major=True),
}


@pytest.mark.parametrize("name", FILES)
def test_round_trip(name: str, tmp_path: Path) -> None:
    content = lstm_file(FILES[name])
    model = layers_of(content)
    again = model.to_tflite()
    assert again == content
    x = random_inputs(FILES[name], 1)
    called(model, x)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.to_tflite() == content
    if name.startswith("float"):
        assert type(loaded) is ExportableModel
    model.reset_state()
    np.testing.assert_array_equal(called(loaded, x), called(model, x))


@pytest.mark.parametrize("name", ["hybrid", "int8"])
def test_all_engines_share_the_state(name: str) -> None:
    lstm = replace(FILES[name], layer_norm=False)
    content = lstm_file(lstm)
    model, interpreter = ko.load_model(content), Interpreter(content)
    assert model.stateful
    for call, engine in enumerate(["litert", "keras", "litert", "litert", "auto", "keras"]):
        model.engine = engine
        x = random_inputs(lstm, call)
        (expected,) = interpreter(x)
        received = model.predict_on_batch(x) if call % 2 else model(x)
        received = keras.ops.convert_to_numpy(received)
        np.testing.assert_array_equal(received, expected)
    model.engine = "litert"
    many = np.concatenate([random_inputs(lstm, 10 + i) for i in range(4)])
    expected = np.concatenate([interpreter(x)[0] for x in np.split(many, 4)])
    received = model.predict(many, batch_size=lstm.batch, verbose=0)
    np.testing.assert_array_equal(received, expected)

    model.reset_state()
    x = random_inputs(lstm, 0)
    np.testing.assert_array_equal(model.predict_on_batch(x), Interpreter(content)(x)[0])


def test_threads_take_turns() -> None:
    """Each call sees the whole state of another: as many outputs as calls, whatever the order."""
    lstm = FILES["int8"]
    content = lstm_file(lstm)
    model, interpreter = ko.load_model(content), Interpreter(content)
    x = random_inputs(lstm, 0)
    expected = {interpreter(x)[0].tobytes() for _ in range(24)}
    received: list[bytes] = []

    def run() -> None:
        received.extend(model.predict_on_batch(x).tobytes() for _ in range(8))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(received) == expected


def of_another_shape(position: int) -> Any:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        tensor = graph.tensors[graph.operators[0].inputs[position]]
        if len(tensor.shape) == 2 and tensor.shape[0] != tensor.shape[1]:
            tensor.shape = tensor.shape[::-1].copy()
        else:
            tensor.shape = np.array([1, *tensor.shape], np.int32)

    return change


def without(position: int) -> Any:
    def change(model: Any) -> None:
        set_inputs(model, {position: -1})

    return change


def set_inputs(model: Any, tensors: dict[int, int]) -> None:
    operator = model.subgraphs[0].operators[0]
    operator.inputs = np.array(
        [tensors.get(i, index) for i, index in enumerate(operator.inputs)], np.int32
    )


def no_variable(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.operators[0].inputs[18]].isVariable = False


def huge_batch(model: Any) -> None:
    graph = model.subgraphs[0]
    indices = graph.operators[0].inputs
    for index in (indices[0], indices[18], indices[19], graph.outputs[0]):
        tensor = graph.tensors[index]
        tensor.shape = np.array([2**26, *tensor.shape[1:]], np.int32)


def shared_state(model: Any) -> None:
    set_inputs(model, {19: model.subgraphs[0].operators[0].inputs[18]})


def few_inputs(model: Any) -> None:
    operator = model.subgraphs[0].operators[0]
    operator.inputs = operator.inputs[:19]


def clipped_at(value: float) -> Any:
    def change(model: Any) -> None:
        model.subgraphs[0].operators[0].builtinOptions.cellClip = value

    return change


def without_activation(model: Any) -> None:
    options = model.subgraphs[0].operators[0].builtinOptions
    options.fusedActivationFunction = schema.ActivationFunctionType.NONE


def basic(model: Any) -> None:
    options = model.subgraphs[0].operators[0].builtinOptions
    options.kernelType = schema.LSTMKernelType.BASIC


def test_basic_kind() -> None:
    with pytest.raises(ko.ModelFileError, match="basic"):
        ko.load_model(repacked(lstm_file(FILES["float step"]), basic))


NONSENSE = {
    **{f"input {i} of another shape": of_another_shape(i) for i in range(24) if i not in (0,)},
    **{f"no input {i}": without(i) for i in range(24) if i not in (17,)},
    "a state that is no variable": no_variable,
    "one tensor for both states": shared_state,
    "an absurd batch": huge_batch,
    "19 inputs": few_inputs,
    "a negative bound": clipped_at(-1.0),
    "a bound that is no number": clipped_at(float("nan")),
}


@pytest.mark.parametrize("name", NONSENSE)
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_nonsense(name: str, kind: str) -> None:
    content = lstm_file(FILES[kind])
    with pytest.raises(ko.ModelFileError):
        ko.load_model(repacked(content, NONSENSE[name]))


@pytest.mark.parametrize("kind", ["float", "hybrid"])
def test_no_activation(kind: str) -> None:
    """LiteRT would read what it never wrote."""
    with pytest.raises(ko.ModelFileError, match="activation"):
        ko.load_model(repacked(lstm_file(FILES[kind]), without_activation))


def no_intermediates(model: Any) -> None:
    model.subgraphs[0].operators[0].intermediates = None


def odd_cell_scale(model: Any) -> None:
    graph = model.subgraphs[0]
    cell = graph.tensors[graph.operators[0].inputs[19]]
    cell.quantization.scale = np.array([3e-4], np.float32)


def weights_with_zero_point(model: Any) -> None:
    graph = model.subgraphs[0]
    kernel = graph.tensors[graph.operators[0].inputs[2]]
    kernel.quantization.zeroPoint = np.array([3], np.int64)


@pytest.mark.parametrize("change", [no_intermediates, odd_cell_scale, weights_with_zero_point])
def test_integer_nonsense(change: Any) -> None:
    with pytest.raises(ko.ModelFileError):
        ko.load_model(repacked(lstm_file(FILES["int8"]), change))
