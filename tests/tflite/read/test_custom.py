"""Custom operators: refused with advice, or Keras layers of the user's, and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from keras import ops

import keras_octet as ko
from keras_octet.tflite.emit import EMITTERS
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph, Quantization
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter
from tests.golden import record
from tests.litert import keras_outputs

SPECTROGRAM = "AudioSpectrogram"


@keras.saving.register_keras_serializable("octet_tests")
class Spectrogram(keras.layers.Layer):
    """`(samples, channels)` to `(channels, frames, bins)`."""

    def __init__(self, window: int, stride: int, squared: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window, self.stride, self.squared = window, stride, squared

    def call(self, x: Any) -> Any:
        frames = (x.shape[0] - self.window) // self.stride + 1
        places = np.arange(frames)[:, None] * self.stride + np.arange(self.window)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        hann = ops.convert_to_tensor(hann.astype("float32"))
        parts = ops.take(ops.transpose(x), places, axis=1) * hann
        real, imaginary = ops.rfft(parts)
        power = ops.square(real) + ops.square(imaginary)
        return power if self.squared else ops.sqrt(power)

    def get_config(self) -> dict[str, Any]:
        own = {"window": self.window, "stride": self.stride, "squared": self.squared}
        return super().get_config() | own


def read_spectrogram(operator: ko.CustomOperator) -> Any:
    options = flexbuffers.Loads(operator.options)
    layer = Spectrogram(
        options["window_size"], options["stride"], options["magnitude_squared"], name=operator.name
    )
    return layer(*operator.tensors)


def write_spectrogram(layer: Spectrogram, inputs: list[Any]) -> ko.CustomForm:
    options = {
        "magnitude_squared": layer.squared,
        "stride": layer.stride,
        "window_size": layer.window,
    }
    return ko.CustomForm(inputs=inputs, options=bytes(flexbuffers.Dumps(options)))


@keras.saving.register_keras_serializable("octet_tests")
class Scaled(keras.layers.Layer):
    """int8: the input plus a constant of its own; the bytes of the operator are kept as text."""

    def __init__(self, options: str, size: int, scale: list[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options, self.size, self.scale = options, size, scale
        self.table = self.add_weight(shape=(size,), dtype="int8", trainable=False, name="table")

    def call(self, x: Any) -> Any:
        return ops.cast(ops.clip(ops.cast(x, "int32") + self.table, -128, 127), "int8")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "options": self.options,
            "size": self.size,
            "scale": self.scale,
        }


def read_scaled(operator: ko.CustomOperator) -> Any:
    source, missing, table = operator.inputs
    assert missing is None
    assert source.qparams == ko.QParams(scale=0.5, zero_point=3)
    assert operator.outputs[0].qparams == ko.QParams(scale=0.25, zero_point=-7)
    layer = Scaled(
        operator.options.hex(),
        table.value.size,
        [float(x) for x in table.quantization.scale],
        name=operator.name,
    )
    output = layer(source.value)
    layer.table.assign(table.value)
    return output


def write_scaled(layer: Scaled, inputs: list[Any]) -> ko.CustomForm:
    quantization = ko.Quantization.symmetric(np.array(layer.scale), axis=0)
    table = ops.convert_to_numpy(layer.table.value)
    return ko.CustomForm(
        inputs=[*inputs, None, (table, quantization)], options=bytes.fromhex(layer.options)
    )


def scaled_file(code: str = "Scaled", options: bytes = b"\x00\xffabc") -> bytes:
    """int8 QUANTIZE, the custom operator with a constant, and DEQUANTIZE."""
    graph = Graph()
    given = [Quantization.of(ko.QParams(scale=s, zero_point=z)) for s, z in ((0.5, 3), (0.25, -7))]
    source = graph.tensor("x", (None, 4), "float32")
    quantized = graph.tensor("q", (None, 4), "int8", given[0])
    table = graph.constant(
        np.array([1, -2, 3, 100], np.int8),
        name="table",
        quantization=Quantization.symmetric(np.array([0.1, 0.2, 0.3, 0.4]), axis=0),
    )
    made = graph.tensor("made", (None, 4), "int8", given[1])
    output = graph.tensor("y", (None, 4), "float32")
    graph.operator("QUANTIZE", [source], [quantized], schema.QuantizeOptionsT())
    graph.operator(
        "CUSTOM", [quantized, -1, table], [made], custom_code=code, custom_options=options
    )
    graph.operator("DEQUANTIZE", [made], [output], schema.DequantizeOptionsT())
    return pack(graph, [source], [output], ["x"], ["y"], "main")


@pytest.fixture
def _registered() -> Iterator[None]:
    before = dict(EMITTERS)
    ko.register_custom_operator(
        SPECTROGRAM, read_spectrogram, layer=Spectrogram, write=write_spectrogram
    )
    ko.register_custom_operator("Scaled", read_scaled, layer=Scaled, write=write_scaled)
    yield
    ko.unregister_custom_operator(SPECTROGRAM)
    ko.unregister_custom_operator("Scaled")
    assert before == EMITTERS


def operators(content: bytes) -> list[Any]:
    """Codes, options and names of the tensors."""
    graph = parse(content).subgraphs[0]

    def names(indices: list[int]) -> list[str]:
        return [graph.tensors[i].name for i in indices if i >= 0]

    return [
        (x.code, x.custom_code, x.custom_options, names(x.inputs), names(x.outputs))
        for x in graph.operators
    ]


@pytest.mark.parametrize("name", ["spectrogram_float", "spectrogram_int8"])
@pytest.mark.usefixtures("_registered")
def test_as_litert_and_back(name: str, tmp_path: Path) -> None:
    content, [(inputs, expected)] = record.load(f"custom/{name}")
    model = ko.load_model(content)
    for theirs, ours in zip(expected, keras_outputs(model, *inputs), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        if ours.dtype == np.int8:  # an FFT of another order of sums, rounded
            assert np.abs(ours.astype(int) - theirs).max() <= 1
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").to_tflite()
    assert operators(again) == operators(content)
    assert len(again) <= 1.01 * len(content) + 1024
    for theirs, ours in zip(expected, Interpreter(again)(*inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("_registered")
def test_a_quantized_model_runs_on_litert_where_that_has_the_operator() -> None:
    content, [(inputs, expected)] = record.load("custom/spectrogram_int8")
    model = ko.load_model(content)
    np.testing.assert_array_equal(model.predict(inputs[0], verbose=0), expected[0])
    assert model.engine == "litert"


@pytest.mark.usefixtures("_registered")
def test_constants_options_and_parameters(tmp_path: Path) -> None:
    content = scaled_file()
    model = ko.load_model(content)
    x = np.random.default_rng(0).normal(0, 20, (5, 4)).astype(np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        received = model.predict(x, verbose=0)
    assert any("does not run the custom operators ['Scaled']" in str(w.message) for w in caught)
    assert model.engine == "keras"
    integers = np.clip(np.rint(x / 0.5) + 3, -128, 127) + np.array([1, -2, 3, 100])
    np.testing.assert_array_equal(received, 0.25 * (np.clip(integers, -128, 127) + 7))

    assert model.to_tflite() == content
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").to_tflite() == content


def test_one_error_names_all_and_says_what_to_do() -> None:
    content, _ = record.load("custom/spectrogram_float")
    with pytest.raises(ko.ModelFileError) as caught:
        ko.load_model(content)
    text = str(caught.value)
    assert text.startswith("2 operator(s) of the file are not supported")
    assert "AudioSpectrogram (float): operator 0 of subgraph 0, 'PartitionedCall:0'" in text
    assert "operator 1 of subgraph 0, 'PartitionedCall:1'" in text
    assert text.count("keras_octet.register_custom_operator('AudioSpectrogram', read)") == 1


@pytest.mark.usefixtures("_registered")
def test_in_a_model_of_ones_own_that_is_quantized() -> None:
    inputs = keras.Input(batch_shape=(400, 1))
    outputs = keras.layers.Dense(3)(Spectrogram(128, 64, False, name="wave")(inputs))
    model = keras.Model(inputs, outputs)
    x = np.random.default_rng(0).normal(0, 1, (400, 1)).astype(np.float32)
    q = ko.quantize(model, [x] * 4)
    assert [row.name for row in q.report.layers if row.status == "float"] == ["wave"]
    assert SPECTROGRAM in [x[1] for x in operators(q.to_tflite())]
    assert q.predict(x, batch_size=400, verbose=0).shape == (1, 5, 3)
    assert q.engine == "litert"


def test_without_a_function_that_writes() -> None:
    ko.register_custom_operator("Scaled", read_scaled)
    try:
        model = ko.load_model(scaled_file())
    finally:
        ko.unregister_custom_operator("Scaled")
    with pytest.raises(ko.ExportError, match="Scaled"):
        model.to_tflite()


def fails(operator: ko.CustomOperator) -> Any:
    raise KeyError("no such option")


@pytest.mark.parametrize(
    ("read", "match"),
    [
        (fails, "'Mine' failed on 'made': 'no such option'"),
        (lambda operator: None, r"\[\(\(None, 4\), 'int8'\)\]. Received: \[None\]"),
        (lambda operator: [*operator.tensors] * 2, "must return tensors as the file says"),
        (lambda operator: ops.cast(operator.tensors[0], "int32"), "'int32'"),
        (lambda operator: ops.expand_dims(operator.tensors[0], 1), "1, 4"),
    ],
)
def test_what_a_function_that_reads_must_return(read: Any, match: str) -> None:
    ko.register_custom_operator("Mine", read)
    try:
        with pytest.raises(ko.ModelFileError, match=match):
            ko.load_model(scaled_file("Mine"))
    finally:
        ko.unregister_custom_operator("Mine")


@pytest.mark.usefixtures("_registered")
def test_what_a_function_that_writes_must_return() -> None:
    model = ko.load_model(scaled_file())
    ko.unregister_custom_operator("Scaled")
    ko.register_custom_operator("Scaled", read_scaled, layer=Scaled, write=lambda *_: b"")
    with pytest.raises(ko.ExportError, match=r"returned bytes; expected keras_octet\.CustomForm"):
        model.to_tflite()


def test_registering() -> None:
    def register(code: Any = "Mine", read: Any = read_scaled, **kwargs: Any) -> None:
        ko.register_custom_operator(code, read, **kwargs)

    with pytest.raises(ko.RegistrationError, match="name of a custom operator"):
        register("")
    with pytest.raises(ko.RegistrationError, match="Received: None"):
        register(read=None)
    with pytest.raises(ko.RegistrationError, match="both the class"):
        register(layer=Scaled)
    with pytest.raises(ko.RegistrationError, match="class of Keras layers"):
        register(layer=dict, write=write_scaled)
    with pytest.raises(ko.RegistrationError, match="class of Keras layers"):
        register(layer=keras.Operation, write=write_scaled)
    with pytest.raises(ko.RegistrationError, match="Dense are written as another operator"):
        register(layer=keras.layers.Dense, write=write_scaled)
    with pytest.raises(ko.RegistrationError, match="'Mine' is not registered"):
        ko.unregister_custom_operator("Mine")
    register()
    try:
        with pytest.raises(ko.RegistrationError, match="'Mine' is registered already"):
            register()
    finally:
        ko.unregister_custom_operator("Mine")
