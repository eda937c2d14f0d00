"""FULLY_CONNECTED on float inputs with int4 and int2 weights, and with a scale for each block."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet import layers
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import BlockScales, Graph, Quantization
from keras_octet.tflite.run import Interpreter
from tests.tflite.read.test_golden import run_layers
from tests.tflite.read.test_hostile import repacked

ROWS, UNITS = 7, 6
LARGEST = {"int4": 8, "int2": 2}


def file_of(
    inputs: int,
    *,
    dtype: str = "int4",
    block: int | None = None,
    per_tensor: bool = False,
    asymmetric: bool = False,
    source: str = "float32",
    one_sign: bool = False,
    seed: int = 0,
) -> tuple[bytes, np.ndarray]:
    """One operator with random weights; and the size of its sums for inputs of one step."""
    rng, graph = np.random.default_rng(seed), Graph()
    largest = LARGEST.get(dtype, 128)
    kernel = rng.integers(1 if one_sign else -largest, largest, (UNITS, inputs)).astype(np.int8)
    quantization = blocks = None
    if block is None:
        scale = rng.uniform(0.005, 0.02, 1 if per_tensor else UNITS).astype(np.float32)
        quantization = Quantization.symmetric(scale, 0)
        size = np.abs(kernel).sum(1) * scale
    else:
        scale = rng.uniform(0.005, 0.02, (UNITS, inputs // block)).astype(np.float16)
        blocks = BlockScales(scale, block)
        sums = np.abs(kernel.astype(int)).reshape(UNITS, -1, block).sum(-1)
        size = (sums * scale.astype(np.float32)).sum(-1)
    x = graph.tensor("x", (None, inputs), source, None)
    weights = graph.constant(
        kernel, name="kernel", quantization=quantization, blocks=blocks, dtype=dtype
    )
    bias = graph.constant(rng.normal(size=UNITS).astype(np.float32), name="bias")
    y = graph.tensor("y", (None, UNITS), "float32")
    options = schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=asymmetric)
    graph.operator("FULLY_CONNECTED", [x, weights, bias], [y], options)
    return pack(graph, [x], [y], ["x"], ["y"], "main"), size


def samples(inputs: int, seed: int) -> np.ndarray:
    """Rows around 0 and away from it."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(ROWS, inputs)) + seed % 3).astype(np.float32)


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("inputs", [4, 5, 6, 7, 12, 30, 101])
@pytest.mark.parametrize("dtype", ["int4", "int2"])
def test_rows_that_end_inside_a_byte(dtype, inputs, per_tensor, asymmetric):
    options = {"dtype": dtype, "per_tensor": per_tensor, "asymmetric": asymmetric}
    for seed in range(2):
        content, _ = file_of(inputs, seed=seed, **options)
        model, x = ko.load_model(content), samples(inputs, seed)
        (expected,) = Interpreter(content)(x)
        np.testing.assert_array_equal(run_layers(model, [x])[0], expected)
        again = model.to_tflite()
        np.testing.assert_array_equal(Interpreter(again)(x)[0], expected)
        assert len(again) <= len(content) + 1024


@pytest.mark.parametrize("one_sign", [False, True])
@pytest.mark.parametrize(
    ("inputs", "block"), [(64, 32), (64, 64), (1024, 32), (1440, 96), (4096, 2048), (4096, 32)]
)
def test_a_scale_for_each_block(inputs, block, one_sign, tmp_path):
    """Sums of one sign are as large as they can be."""
    for seed in range(3):
        content, size = file_of(inputs, block=block, seed=seed, one_sign=one_sign)
        litert, x = Interpreter(content), samples(inputs, seed)
        if one_sign:
            x = -np.abs(x)
        assert litert.delegated() == ["FULLY_CONNECTED"]
        (expected,) = litert(x)
        model = ko.load_model(content)
        again = model.to_tflite()
        np.testing.assert_array_equal(Interpreter(again)(x)[0], expected)
        assert abs(len(again) - len(content)) <= 1024
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.to_tflite() == again
        step = np.ptp(np.append(x, np.zeros((ROWS, 1)), axis=1), axis=1, keepdims=True) / 255
        distance = np.abs(run_layers(loaded, [x])[0] - expected)
        assert (distance <= (inputs // block + 4) * 2.0**-24 * 128 * step * size).all()


def test_scales_of_blocks_keep_their_place_and_are_reported():
    content, _ = file_of(64, block=32)
    again = ko.load_model(content).to_tflite()
    scales = []
    for data in (content, again):
        graph = schema.ModelT.InitFromPackedBuf(data, 0).subgraphs[0]
        kernel = graph.tensors[graph.operators[0].inputs[1]]
        details = kernel.quantization.details
        assert (details.blockSize, details.zeroPoints) == (32, -1)
        held = graph.tensors[details.scales]
        assert held.name == kernel.name + b"_scales"
        assert list(held.shape) == [UNITS, 2]
        scales.append(ko.inspect(data).operations[0].weights[0])
    assert scales[0].scales == scales[1].scales == 2 * UNITS
    assert scales[0].bytes == UNITS * 64 // 2 + 2 * UNITS * 2


def details_of(model: Any) -> Any:
    return next(x for x in model.subgraphs[0].tensors if x.name == b"kernel").quantization.details


def pointing(index: int) -> Any:
    def change(model: Any) -> None:
        details_of(model).scales = index

    return change


def sized(size: int) -> Any:
    def change(model: Any) -> None:
        details_of(model).blockSize = size

    return change


def held(**fields: Any) -> Any:
    def change(model: Any) -> None:
        tensor = next(x for x in model.subgraphs[0].tensors if x.name.endswith(b"_scales"))
        for name, value in fields.items():
            setattr(tensor, name, value)

    return change


def all_of(value: float) -> Any:
    def change(model: Any) -> None:
        tensor = next(x for x in model.subgraphs[0].tensors if x.name.endswith(b"_scales"))
        values = np.full(2 * UNITS, value, np.float16)
        model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)

    return change


def without_details(model: Any) -> None:
    kernel = next(x for x in model.subgraphs[0].tensors if x.name == b"kernel")
    kernel.quantization.details = None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(pointing(-1), id="no tensor"),
        pytest.param(pointing(99), id="out of range"),
        pytest.param(pointing(0), id="not a constant"),
        pytest.param(pointing(1), id="itself"),
        pytest.param(sized(0), id="empty blocks"),
        pytest.param(sized(-32), id="negative blocks"),
        pytest.param(sized(31), id="does not divide"),
        pytest.param(sized(16), id="more blocks than scales"),
        pytest.param(held(shape=np.array([2, UNITS], np.int32)), id="transposed"),
        pytest.param(held(type=schema.TensorType.INT16), id="not float16"),
        pytest.param(all_of(np.nan), id="not a number"),
        pytest.param(all_of(0.0), id="zero"),
        pytest.param(all_of(-0.01), id="negative"),
        pytest.param(without_details, id="no details"),
    ],
)
def test_damaged_scales(change):
    content, _ = file_of(64, block=32)
    with pytest.raises(ko.ModelFileError, match=r"kernel.*blocks"):
        ko.load_model(repacked(content, change))


def test_what_has_no_kernel_is_refused():
    with pytest.raises(ko.ModelFileError, match=r"kernel_dtype must be one of int4.*'int8'"):
        ko.load_model(file_of(64, block=32, dtype="int8")[0])
    with pytest.raises(ko.ModelFileError, match=r"int32 inputs.*expected float32"):
        ko.load_model(file_of(64, block=32, source="int32")[0])
    for block in (16, 48, 16384):
        with pytest.raises(ko.ModelFileError, match=f"multiple of 32 .*={block}"):
            ko.load_model(file_of(3 * 16384, block=block)[0])


def test_blocks_divide_the_inputs():
    layer = layers.HybridBlockDense(4, block_size=64)
    with pytest.raises(ValueError, match=r"divide the number of inputs, 96.*=64"):
        layer.build((None, 96))
