"""Rows of integer tables: the bits of LiteRT where it runs them, a refusal where it reads amiss."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import BlockScales, Graph, Quantization
from keras_octet.tflite.run import Interpreter
from tests.tflite.read.test_golden import run_layers

IDS = np.array([0, 3, 8, 1, 1, 5], np.int32)
LIMITS = {"int16": 2**15, "int8": 2**7, "int4": 2**3}


def table_file(
    dtype: str, output: str, row: tuple[int, ...], scales: int = 1, code: str = "EMBEDDING_LOOKUP"
) -> bytes:
    """9 random rows, looked up by 6 ids."""
    rng, graph = np.random.default_rng(0), Graph()
    ids = graph.tensor("ids", IDS.shape, "int32")
    quantization = Quantization.symmetric(rng.uniform(0.01, 0.1, scales).astype(np.float32), 0)
    values = rng.integers(-LIMITS[dtype], LIMITS[dtype], (9, *row))
    values = values.astype(np.int16 if dtype == "int16" else np.int8)
    table = graph.constant(values, name="table", quantization=quantization, dtype=dtype)
    result = graph.tensor(
        "rows", (*IDS.shape, *row), output, None if output == "float32" else quantization
    )
    if code == "GATHER":
        graph.operator(code, [table, ids], [result], schema.GatherOptionsT(axis=0))
    else:
        graph.operator(code, [ids, table], [result])
    return pack(graph, [ids], [result], ["ids"], ["rows"], "main")


@pytest.mark.parametrize("scales", [1, 9])
@pytest.mark.parametrize("row", [(8,), (7,), (2, 3), (3, 5)])
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_float_rows(dtype: str, row: tuple[int, ...], scales: int) -> None:
    """LiteRT reads rows of an odd number of int4 from the byte they begin in."""
    assert_same_bits(table_file(dtype, "float32", row, scales))


@pytest.mark.parametrize("code", ["GATHER", "EMBEDDING_LOOKUP"])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_rows_of_the_same_type(dtype: str, code: str) -> None:
    assert_same_bits(table_file(dtype, dtype, (7,), code=code))


def assert_same_bits(content: bytes) -> None:
    model = ko.load_model(content)
    (expected,) = Interpreter(content)(IDS)
    (received,) = run_layers(model, [IDS])
    assert received.dtype == expected.dtype
    np.testing.assert_array_equal(received, expected)
    np.testing.assert_array_equal(Interpreter(model.to_tflite())(IDS)[0], expected)


@pytest.mark.parametrize("code", ["GATHER", "EMBEDDING_LOOKUP"])
def test_rows_inside_bytes_are_refused(code: str) -> None:
    with pytest.raises(ko.ModelFileError, match="rows of 7 values"):
        ko.load_model(table_file("int4", "int4", (7,), code=code))


@pytest.mark.parametrize(("dtype", "output"), [("int16", "int8"), ("int8", "int16")])
def test_rows_of_another_type_are_refused(dtype: str, output: str) -> None:
    """LiteRT would copy more bytes than the output has."""
    with pytest.raises(ko.ModelFileError, match=f"a table of type {dtype}"):
        ko.load_model(table_file(dtype, output, (8,)))


def test_scales_of_blocks_are_refused() -> None:
    graph = Graph()
    ids = graph.tensor("ids", IDS.shape, "int32")
    blocks = BlockScales(np.ones((9, 2), np.float16), 32)
    table = graph.constant(np.zeros((9, 64), np.int8), name="table", blocks=blocks, dtype="int4")
    rows = graph.tensor("rows", (*IDS.shape, 64), "float32")
    graph.operator("EMBEDDING_LOOKUP", [ids, table], [rows])
    content = pack(graph, [ids], [rows], ["ids"], ["rows"], "main")
    with pytest.raises(ko.ModelFileError, match=r"EMBEDDING_LOOKUP.*blockwise"):
        ko.load_model(content)
