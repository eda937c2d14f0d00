"""RNN, UNIDIRECTIONAL_SEQUENCE_RNN and SVDF: call after call what LiteRT computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_octet as ko
from keras_octet.qparams import QParams
from keras_octet.tflite.emit.stateful import ACTIVATIONS
from keras_octet.tflite.graph import Quantization
from keras_octet.tflite.read.bounds import BOUNDS, EXACT, Bound
from keras_octet.tflite.read.parse import parse
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.storage import dequantized
from tests.litert import keras_outputs
from tests.tflite.read.single import Variable, file_of, tensor
from tests.tflite.read.test_golden import assert_within
from tests.tflite.read.test_hostile import repacked

CALLS = 4
few = settings(max_examples=8, deadline=None)
activations = st.sampled_from(list(ACTIVATIONS.values()))
sizes = st.integers(1, 20)


def weights(rng: np.random.Generator, *shape: int, kind: str = "float", bits: int = 8) -> Any:
    """An operand; integers of that many bits with a scale unless the kind is float."""
    values = rng.normal(0, 0.5, shape).astype(np.float32)
    if kind == "float":
        return values
    largest = 2 ** (bits - 1) - 1
    scale = np.float32(np.abs(values).max() / largest)
    integers = np.rint(values / scale).astype(f"int{bits}")
    return integers, Quantization.symmetric(np.array([scale]), 0)


def rnn(kind: str, draw: Any) -> bytes:
    """A file of RNN, or of a sequence."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    batch, time, units, features = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 5)),
        *draw(st.tuples(sizes, sizes)),
    )
    asymmetric = kind == "hybrid" and draw(st.booleans())
    activation, time_major = draw(activations), draw(st.booleans())
    operands = [
        weights(rng, units, features, kind=kind),
        weights(rng, units, units, kind=kind),
        weights(rng, units),
        Variable((batch, units)),
    ]
    common = {"fusedActivationFunction": activation, "asymmetricQuantizeInputs": asymmetric}
    if draw(st.booleans()):
        source = tensor((batch, features), None, "float32")
        target = tensor((batch, units), None, "float32")
        return file_of("RNN", [source, *operands], [target], schema.RNNOptionsT(**common))
    lead = (time, batch) if time_major else (batch, time)
    source, target = (tensor((*lead, size), None, "float32") for size in (features, units))
    options = schema.SequenceRNNOptionsT(timeMajor=time_major, **common)
    return file_of("UNIDIRECTIONAL_SEQUENCE_RNN", [source, *operands], [target], options)


def svdf(kind: str, draw: Any) -> bytes:
    """A file of SVDF."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    batch, units, rank = draw(st.integers(1, 3)), draw(sizes), draw(st.integers(1, 3))
    memory, features = draw(st.integers(1, 6)), draw(sizes)
    filters, integer = units * rank, kind == "int8"
    dtype = "int8" if integer else "float32"
    source = QParams(scale=0.02, zero_point=5) if integer else None
    target = QParams(scale=0.03, zero_point=-128) if integer else None
    state = QParams(scale=4e-4, zero_point=0, dtype="int16") if integer else None
    kernel = weights(rng, filters, features, kind=kind)
    time = weights(rng, filters, memory, kind=kind, bits=16 if integer else 8)
    bias: Any = weights(rng, units)
    if integer:
        scale = np.float32(4e-4) * time[1].scale
        bias = np.clip(np.rint(bias / scale), -(2**24), 2**24).astype(np.int32)
        bias = bias, Quantization.symmetric(scale, 0)
    options = schema.SVDFOptionsT(
        rank=rank,
        fusedActivationFunction=ACTIVATIONS["relu"] if integer else draw(activations),
        asymmetricQuantizeInputs=kind == "hybrid" and draw(st.booleans()),
    )
    return file_of(
        "SVDF",
        [
            tensor((batch, features), source, dtype),
            kernel,
            time,
            bias if draw(st.booleans()) else None,
            Variable((batch, memory * filters), "int16" if integer else "float32", state),
        ],
        [tensor((batch, units), target, dtype)],
        options,
    )


MAKERS = {"rnn": rnn, "svdf": svdf}
CASES = [
    ("rnn", "float"),
    ("rnn", "hybrid"),
    ("svdf", "float"),
    ("svdf", "hybrid"),
    ("svdf", "int8"),
]


def inputs(content: bytes, seed: int) -> np.ndarray:
    detail = Interpreter(content)._interpreter.get_input_details()[0]
    rng = np.random.default_rng(seed)
    if detail["dtype"] == np.int8:
        return rng.integers(-128, 128, detail["shape"]).astype(np.int8)
    return rng.uniform(-1, 1, detail["shape"]).astype(np.float32)


def operands(content: bytes) -> list[np.ndarray]:
    """The real values of the constants, float64; 0 for a bias that is not there."""
    graph = parse(content).subgraphs[0]
    found = []
    for index in graph.operators[0].inputs[1:4]:
        if index < 0:
            found.append(np.zeros(1))
            continue
        constant = graph.tensors[index]
        values, quantization = constant.data, constant.quantization
        found.append(dequantized(values, quantization) if quantization else values)
    return [values.astype(np.float64) for values in found]


REAL_ACTIVATIONS: dict[int, Any] = {
    ACTIVATIONS[None]: lambda x: x,
    ACTIVATIONS["relu"]: lambda x: np.maximum(x, 0),
    ACTIVATIONS["relu6"]: lambda x: np.clip(x, 0, 6),
    ACTIVATIONS["hard_tanh"]: lambda x: np.clip(x, -1, 1),
    ACTIVATIONS["tanh"]: np.tanh,
}


def assert_steps_of_rnn(
    bound: Bound, content: bytes, x: np.ndarray, state: np.ndarray | None, outputs: np.ndarray
) -> np.ndarray:
    """Each step follows from the one before, within half of the bound; returns the last.

    So two that do differ by no more than the bound where they start a step from the same state.
    """
    options = parse(content).subgraphs[0].operators[0].options
    if x.ndim == 2:
        x, outputs = x[None], outputs[None]
    elif not options.timeMajor:
        x, outputs = x.swapaxes(0, 1), outputs.swapaxes(0, 1)
    first = np.zeros_like(outputs[:1]) if state is None else state[None]
    before = np.concatenate([first, outputs[:-1]])
    kernel, recurrent, bias = operands(content)
    total = x @ kernel.T + before @ recurrent.T + bias
    terms = abs(x) @ abs(kernel.T) + abs(before) @ abs(recurrent.T) + abs(bias)
    expected = REAL_ACTIVATIONS[options.fusedActivationFunction](total)
    half = Bound(bound.ulps // 2, bound.of)
    assert (abs(outputs - expected) <= half.tolerance(outputs, terms)).all()
    return outputs[-1]


def terms_of_svdf(content: bytes, history: list[np.ndarray]) -> np.ndarray:
    """Sums of the magnitudes of what an output is the sum of; inputs since the beginning."""
    kernel, time, bias = map(np.abs, operands(content))
    past = [abs(x) @ kernel.T for x in history[-time.shape[1] :]]
    features = sum(x * time[:, i - len(past)] for i, x in enumerate(past))
    rank = parse(content).subgraphs[0].operators[0].options.rank
    return np.asarray(features).reshape(len(history[0]), -1, rank).sum(-1) + bias


@pytest.mark.parametrize(("name", "kind"), CASES)
@few
@given(data=st.data())
def test_calls(name: str, kind: str, data: Any) -> None:
    content = MAKERS[name](kind, data.draw)
    model, interpreter = ko.load_model(content), Interpreter(content)
    assert model.stateful
    (code,) = interpreter.operators()
    bound = BOUNDS.get((code, kind), EXACT)
    if isinstance(model, ko.QuantizedModel):
        model.engine = "keras"
    states: list[np.ndarray | None] = [None, None]
    history: list[np.ndarray] = []
    for call in range(CALLS):
        x = inputs(content, call)
        history.append(x)
        both = [np.asarray(keras_outputs(model, x)[0]), interpreter(x)[0]]
        if bound == EXACT:
            assert_within(EXACT, *both)
        elif name == "svdf":
            assert_within(bound, *both, terms_of_svdf(content, history))
        else:
            states = [
                assert_steps_of_rnn(bound, content, x, state, outputs)
                for state, outputs in zip(states, both, strict=True)
            ]
    assert model.to_tflite() == content


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] != "float"])
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_engines_share_the_state(name: str, kind: str, data: Any) -> None:
    content = MAKERS[name](kind, data.draw)
    model, interpreter = ko.load_model(content), Interpreter(content)
    bound = BOUNDS.get((interpreter.operators()[0], kind), EXACT)
    history: list[np.ndarray] = []
    for call, engine in enumerate(["litert", "keras", "litert", "litert"]):
        model.engine = engine
        x = inputs(content, call)
        history.append(x)
        terms = terms_of_svdf(content, history) if name == "svdf" else None
        assert_within(bound, model.predict_on_batch(x), interpreter(x)[0], terms)


@pytest.mark.parametrize(("name", "kind"), CASES)
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_saved_and_reset(name: str, kind: str, data: Any, tmp_path_factory: Any) -> None:
    content = MAKERS[name](kind, data.draw)
    model, path = ko.load_model(content), Path(tmp_path_factory.mktemp("m")) / "m.keras"
    x = inputs(content, 1)
    first = np.asarray(model.predict_on_batch(x))
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.to_tflite() == content
    np.testing.assert_array_equal(loaded.predict_on_batch(x), first)
    model.reset_state()
    np.testing.assert_array_equal(model.predict_on_batch(x), first)


def changed_input(position: int, change: Any) -> Any:
    def apply(model: Any) -> None:
        graph = model.subgraphs[0]
        change(graph.tensors[graph.operators[0].inputs[position]])

    return apply


def transposed(tensor: Any) -> None:
    tensor.shape = np.array([*tensor.shape[::-1], 1], np.int32)


def no_variable(tensor: Any) -> None:
    tensor.isVariable = False


def no_rank(model: Any) -> None:
    model.subgraphs[0].operators[0].builtinOptions.rank = 0


def without(position: int) -> Any:
    def apply(model: Any) -> None:
        operator = model.subgraphs[0].operators[0]
        indices = operator.inputs.copy()
        indices[position] = -1
        operator.inputs = indices

    return apply


@pytest.mark.parametrize(("name", "kind"), CASES)
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_nonsense(name: str, kind: str, data: Any) -> None:
    content = MAKERS[name](kind, data.draw)
    changes = [changed_input(i, transposed) for i in (0, 1, 2, 4)]
    changes += [changed_input(4, no_variable), without(1), without(2), without(4)]
    if name == "svdf":
        changes.append(no_rank)
    for change in changes:
        with pytest.raises(ko.ModelFileError):
            ko.load_model(repacked(content, change))
