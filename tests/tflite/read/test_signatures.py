"""Files with several signatures: a model of each, one file of all of them again."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import keras_octet as ko
from keras_octet.exportable import ExportableModel
from keras_octet.layers.operators import AssignVariable, ReadVariable, Variable
from keras_octet.model import QuantizedModel
from keras_octet.tflite.read import parse
from tests.golden import record
from tests.tflite.read.test_hostile import repacked

# `step` averages its inputs in two variables, `wipe` sets them.
CONTENT, CALLS = record.load("read_variable_float_two_signatures")
X = CALLS[0][0][0]
ORDER = ("step", "step", "wipe", "step", "wipe", "step", "step")


class LiteRT:
    """The signatures of a file as functions that share an interpreter."""

    def __init__(self, content: bytes) -> None:
        self._interpreter = Interpreter(model_content=content)

    @property
    def signatures(self) -> dict[str, Any]:
        return self._interpreter.get_signature_list()

    def __call__(self, key: str, x: np.ndarray) -> np.ndarray:
        runner = self._interpreter.get_signature_runner(key)
        (name,) = self.signatures[key]["inputs"]
        (value,) = runner(**{name: x}).values()
        return value


def in_turns(call: Any) -> list[np.ndarray]:
    return [np.asarray(call(key, X + i)) for i, key in enumerate(ORDER)]


def calls_of(model: ExportableModel) -> Any:
    return lambda key, x: model.signatures[key].predict_on_batch(x)


def assert_like_litert(model: ExportableModel) -> None:
    model.reset_state()
    expected = in_turns(LiteRT(CONTENT))
    assert not np.array_equal(expected[3], expected[1])  # `wipe` does something
    for ours, theirs in zip(in_turns(calls_of(model)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_variables_are_shared(tmp_path: Path) -> None:
    model = ko.load_model(CONTENT)
    assert list(model.signatures) == ["step", "wipe"]
    assert model.signatures["step"] is model
    assert model.signatures["wipe"].output_names == ["last"]
    assert_like_litert(model)
    if keras.backend.backend() == "torch":
        layers = [x for one in model.signatures.values() for x in one.layers]
        assert all(x.state_dict() for x in layers if isinstance(x, Variable))

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert list(loaded.signatures) == ["step", "wipe"]
    assert_like_litert(loaded)
    assert loaded.to_tflite() == model.to_tflite()


def test_written_to_one_file() -> None:
    content = ko.load_model(CONTENT).to_tflite()
    before, after = LiteRT(CONTENT), LiteRT(content)
    assert after.signatures == before.signatures
    assert list(after.signatures) == ["step", "wipe"]
    for ours, theirs in zip(in_turns(after), in_turns(before), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # One subgraph gives variables their first values: another would do so at its own first call.
    assert len(parse(content).subgraphs) == len(parse(CONTENT).subgraphs)
    assert_like_litert(ko.load_model(content))


def test_one_signature_alone() -> None:
    wipe = ko.load_model(CONTENT, signature="wipe")
    assert list(wipe.signatures) == ["wipe"]
    np.testing.assert_array_equal(wipe.predict_on_batch(X), 2 * X)
    assert list(LiteRT(wipe.to_tflite()).signatures) == ["wipe"]
    with pytest.raises(ko.ModelFileError, match="no signature 'stop'"):
        ko.load_model(CONTENT, signature="stop")


def dense(units: int, name: str) -> keras.Model:
    x = keras.Input((6,), name="x")
    return keras.Model(x, keras.layers.Dense(units, name="y")(x), name=name)


@pytest.fixture(scope="module")
def quantized() -> QuantizedModel:
    """Two signatures without variables, whose layers have the same names."""
    keras.utils.set_random_seed(0)
    data = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    first, second = (ko.quantize(dense(units, name), data) for units, name in ((3, "a"), (4, "b")))
    return QuantizedModel(first.inputs[0], first.outputs[0], signatures={"other": second})


def test_weights_of_all_signatures_are_saved(quantized: QuantizedModel, tmp_path: Path) -> None:
    assert len(quantized.weights) == len(quantized.signatures["other"].weights)
    quantized.save(tmp_path / "model.keras")
    content = quantized.to_tflite()
    litert = LiteRT(content)
    x = np.random.default_rng(1).normal(size=(1, 6)).astype(np.float32)
    for model in (keras.saving.load_model(tmp_path / "model.keras"), ko.load_model(content)):
        assert list(model.signatures) == ["serving_default", "other"]
        for key, one in model.signatures.items():
            assert isinstance(one, QuantizedModel)
            one.engine = "keras"
            received = one.predict_on_batch(x)
            np.testing.assert_array_equal(received, litert(key, x))
            np.testing.assert_array_equal(received, quantized.signatures[key].predict_on_batch(x))


def test_a_fixed_batch_size_is_that_of_all(quantized: QuantizedModel) -> None:
    file = parse(quantized.to_tflite(batch_size=5))
    for signature in file.signatures:
        subgraph = file.subgraphs[signature.subgraph]
        assert [subgraph.tensors[i].shape for i in subgraph.inputs] == [(5, 6)]


def test_a_signature_that_cannot_be_read_is_left_out() -> None:
    def without_outputs(model: Any) -> None:
        (second,) = (x for x in model.signatureDefs if x.signatureKey == b"wipe")
        second.outputs = []
        model.subgraphs[second.subgraphIndex].outputs = np.array([], np.int32)

    damaged = repacked(CONTENT, without_outputs)
    with pytest.warns(UserWarning, match=r"left out:\n  'wipe': .* 0 outputs") as caught:
        model = ko.load_model(damaged)
    assert caught[0].filename == __file__
    assert list(model.signatures) == ["step"]
    with pytest.raises(ko.ModelFileError, match=" 0 outputs"):
        ko.load_model(damaged, signature="wipe")


def test_an_operator_that_is_not_supported_leaves_out_its_signature() -> None:
    def with_lookup(model: Any) -> None:
        (second,) = (x for x in model.signatureDefs if x.signatureKey == b"wipe")
        code = type(model.operatorCodes[0])()
        code.builtinCode = schema.BuiltinOperator.HASHTABLE_LOOKUP
        code.version = 1
        model.operatorCodes.append(code)
        operator = model.subgraphs[second.subgraphIndex].operators[-1]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    changed = repacked(CONTENT, with_lookup)
    with pytest.warns(UserWarning, match="'wipe': 1 operator"):
        model = ko.load_model(changed)
    assert list(model.signatures) == ["step"]
    assert list(ko.load_model(changed, signature="step").signatures) == ["step"]
    with pytest.raises(ko.ModelFileError, match="HASHTABLE_LOOKUP"):
        ko.load_model(changed, signature="wipe")


def variable(name: str, *values: float) -> ExportableModel:
    x = keras.Input((3,))
    layer = Variable(shape=(len(values),), value_dtype="float32", shared_name=name)
    start = layer(x)
    layer.set_initial(np.array(values, np.float32))
    value = ReadVariable()(start)
    last = AssignVariable()([start, value + 1.0])
    return ExportableModel(x, layer(x + value, update=last))


@pytest.mark.parametrize(
    ("values", "difference"),
    [([0.0, 0.0, 0.0], r"float32 \(1,\) and float32 \(3,\)"), ([2.0], "different initial values")],
)
def test_variables_of_one_name_that_differ(values: list[float], difference: str) -> None:
    first = variable("v", 1.0)
    with pytest.raises(ValueError, match=f"'v', of {difference}"):
        ExportableModel(first.inputs, first.outputs, signatures={"other": variable("v", *values)})


def test_state_of_all_signatures_is_reset() -> None:
    first, second = variable("a", 1.0), variable("b", 2.0)
    model = ExportableModel(first.inputs, first.outputs, signatures={"other": second})
    x = np.zeros((1, 3), np.float32)
    for _ in range(2):
        second.predict_on_batch(x)
    assert second.predict_on_batch(x)[0, 0] == 4.0
    model.reset_state()
    assert second.predict_on_batch(x)[0, 0] == 2.0


def test_many_signatures_of_many_variables() -> None:
    """Each signature runs the one subgraph that initializes all the variables."""
    first, *others = (variable(f"v{i}", float(i)) for i in range(30))
    signatures = {f"get_{i}": other for i, other in enumerate(others)}
    model = ExportableModel(first.inputs, first.outputs, signatures=signatures)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "signature", UserWarning)
        read = ko.load_model(model.to_tflite())
    assert list(read.signatures) == ["serving_default", *signatures]


def test_load_weights_compiles_all_signatures_again(
    quantized: QuantizedModel, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).normal(size=(1, 6)).astype(np.float32)
    other = quantized.signatures["other"]
    before = other.predict_on_batch(x)
    quantized.save_weights(tmp_path / "q.weights.h5")
    other.set_weights([np.flip(w) for w in other.get_weights()])
    assert not np.array_equal(other.predict_on_batch(x), before)
    quantized.load_weights(tmp_path / "q.weights.h5")
    np.testing.assert_array_equal(other.predict_on_batch(x), before)


def test_two_signatures_of_one_key_are_refused(quantized: QuantizedModel) -> None:
    other = quantized.signatures["other"]
    with pytest.raises(ValueError, match="Two signatures have the key 'serving_default'"):
        ExportableModel(other.inputs, other.outputs, signatures={"serving_default": other})
    with pytest.raises(ValueError, match="without further signatures"):
        ExportableModel(other.inputs, other.outputs, signatures={"first": quantized})


def test_a_signature_must_be_a_model() -> None:
    x = keras.Input((3,))
    with pytest.raises(ValueError, match=r"Signature 'other' .* Received: Dense"):
        ExportableModel(x, x + 1.0, signatures={"other": keras.layers.Dense(3)})


def test_many_signatures_of_one_subgraph_are_bounded() -> None:
    def many(model: Any) -> None:
        first = model.signatureDefs[0]
        for i in range(10_000):
            copy = type(first)(first.inputs, first.outputs, b"%d" % i, first.subgraphIndex)
            model.signatureDefs.append(copy)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ko.load_model(repacked(CONTENT, many))
    assert len(model.signatures) < 20


def test_copies_of_weights_are_bounded(
    quantized: QuantizedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(model: Any) -> None:
        first = model.signatureDefs[0]
        for i in range(8):
            copy = type(first)(first.inputs, first.outputs, b"%d" % i, first.subgraphIndex)
            model.signatureDefs.append(copy)

    content = repacked(quantized.to_tflite(), some)
    assert len(ko.load_model(content).signatures) == 10
    monkeypatch.setattr("keras_octet.tflite.read.builder.MAX_SHARED_ELEMENTS", 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = ko.load_model(content)
    assert any("the same subgraphs too often" in str(x.message) for x in caught)
    assert 2 <= len(model.signatures) < 10
