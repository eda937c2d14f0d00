"""Constants that are stored without their zeros."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.tflite.graph import Graph, Operator, Quantization
from keras_octet.tflite.read.call import kind_of
from keras_octet.tflite.read.sparse import stored_places
from tests.golden.record import load
from tests.tflite.read.test_hostile import ints, repacked

DENSE, SPARSE = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR


def level(
    size: int = 0,
    segments: list[int] | None = None,
    indices: list[int] | None = None,
    width: str = "Int32",
    form: int = SPARSE,
) -> SimpleNamespace:
    """As the schema's reader has it; a sparse one has segments."""
    kind = getattr(schema.SparseIndexVector, f"{width}Vector", 99)

    def table(values: list[int] | None) -> Any:
        vector = getattr(schema, f"{width}VectorT", schema.Int32VectorT)(values)
        builder = flatbuffers.Builder()
        builder.Finish(vector.Pack(builder))
        return schema.Int32Vector.GetRootAs(builder.Output(), 0)._tab

    return SimpleNamespace(
        Format=lambda: DENSE if segments is None else form,
        DenseSize=lambda: size,
        ArraySegmentsType=lambda: kind,
        ArrayIndicesType=lambda: kind,
        ArraySegments=lambda: table(segments),
        ArrayIndices=lambda: table(indices),
    )


def places(
    shape: tuple[int, ...], order: list[int], levels: list[Any], blocked: list[int] | None = None
) -> list[int]:
    sparsity = SimpleNamespace(
        TraversalOrderAsNumpy=lambda: np.array(order),
        BlockMapAsNumpy=lambda: 0 if blocked is None else np.array(blocked),
    )
    return stored_places("w", shape, sparsity, levels, int(np.prod(shape))).tolist()


@pytest.mark.parametrize("width", ["Int32", "Uint16", "Uint8"])
def test_rows_as_in_csr(width):
    rows = [level(3), level(0, [0, 2, 2, 3], [0, 3, 1], width)]
    assert places((3, 4), [0, 1], rows) == [0, 3, 9]


def test_columns_first():
    columns = [level(4), level(0, [0, 1, 1, 2, 3], [2, 0, 1])]
    assert places((3, 4), [1, 0], columns) == [8, 2, 7]


def test_blocks_of_both_axes():
    """A 4x6 matrix in blocks of 2x3, of which the second and the third are stored by columns."""
    blocks = [level(2), level(0, [0, 1, 2], [1, 0]), level(3), level(2)]
    expected = np.arange(24).reshape(4, 6)
    assert places((4, 6), [0, 1, 3, 2], blocks, [0, 1]) == [
        *expected[:2, 3:].T.reshape(-1),
        *expected[2:, :3].T.reshape(-1),
    ]


@pytest.mark.parametrize(
    ("order", "levels", "blocked"),
    [
        ([0, 1], [level(3)], None),
        ([0, 0], [level(3), level(4)], None),
        ([0, 2], [level(3), level(4)], None),
        ([0, 1], [level(3), level(5)], None),
        ([0, 1], [level(2**30), level(4)], None),
        ([0, 1], [level(3), level(0, [0, 1, 2], [0, 1])], None),
        ([0, 1], [level(3), level(0, [0, 2, 1, 2], [0, 1])], None),
        ([0, 1], [level(3), level(0, [1, 1, 1, 2], [0, 1])], None),
        ([0, 1], [level(3), level(0, [0, 1, 1, 3], [0, 1])], None),
        ([0, 1], [level(3), level(0, [0, 1, 1, 2], [0, 4])], None),
        ([0, 1], [level(3), level(0, [0, 1, 1, 2], [0, -1])], None),
        ([0, 1], [level(3), level(0, [0, 11, 12, 13], [0] * 13)], None),
        ([0, 1], [level(3), level(0, [], [])], None),
        ([0, 1], [level(3), level(0, [0, 2, 2, 3], [0, 3, 1], "Int64")], None),
        ([0, 1], [level(3), level(0, [0, 2, 2, 3], [0, 3, 1], form=2)], None),
        ([0, 1], [level(0, [0, 12], [0] * 12), level(4)], None),
        ([0, 1], [level(0, [0, 0], []), level(0, [], [])], None),
        ([0, 1, 2], [level(3), level(1), level(4)], [2]),
        ([0, 1, 2], [level(3), level(1), level(3)], [1]),
        ([0, 1, 2], [level(3), level(1), level(0)], [1]),
        ([0, 1, 2], [level(3), level(1), level(0, [0, 1], [0])], [1]),
        ([0, 1, 2, 3], [level(3), level(1), level(2), level(2)], [1, 1]),
    ],
)
def test_parts_that_do_not_fit(order, levels, blocked):
    with pytest.raises(ko.ModelFileError, match="does not fit its shape"):
        places((3, 4), order, levels, blocked)


def test_a_small_file_cannot_claim_many_zeros():
    content, _ = load("densify_float")

    def enlarge(model):
        for tensor in model.subgraphs[0].tensors:
            if tensor.sparsity is not None:
                tensor.shape = np.array([2**15, 2**15], np.int32)

    with pytest.raises(ko.ModelFileError, match="more values than 64 for each"):
        ko.load_model(repacked(content, enlarge))


def test_many_values_below_few_bytes_take_no_memory():
    """Two dense levels have as many places as the tensor has values; 4 bytes are stored."""
    content, _ = load("fully_connected_float_sparse")
    size = 60_000_000

    def enlarge(model):
        graph = model.subgraphs[0]
        (tensor,) = (x for x in graph.tensors if x.sparsity is not None)
        tensor.shape = np.array([1, size], np.int32)
        sparsity = tensor.sparsity
        sparsity.traversalOrder, sparsity.blockMap = ints(0, 1), ints()
        levels = sparsity.dimMetadata[:2]
        for item, count in zip(levels, (1, size), strict=True):
            item.format, item.denseSize = DENSE, count
        sparsity.dimMetadata = levels
        model.buffers[tensor.buffer].data = np.zeros(4, np.uint8)
        model.description = "x" * 1_000_000

    content = repacked(content, enlarge)
    tracemalloc.start()
    try:
        with pytest.raises(ko.ModelFileError, match="does not fit its shape"):
            ko.load_model(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64e6


def test_a_constant_without_values_is_refused():
    content, _ = load("densify_float")

    def empty(model):
        (tensor,) = (x for x in model.subgraphs[0].tensors if x.sparsity is not None)
        model.buffers[tensor.buffer].data = None

    with pytest.raises(ko.ModelFileError, match="stored sparsely, and has no values"):
        ko.load_model(repacked(content, empty))


def test_only_densify_takes_a_sparse_constant():
    content, _ = load("densify_float")

    def renamed(model):
        (code,) = (
            x for x in model.operatorCodes if x.builtinCode == schema.BuiltinOperator.DENSIFY
        )
        code.builtinCode = schema.BuiltinOperator.ZEROS_LIKE
        code.deprecatedBuiltinCode = code.builtinCode

    with pytest.raises(ko.ModelFileError, match=r"ZEROS_LIKE \(sparse float\)"):
        ko.load_model(repacked(content, renamed))

    def stored(model):
        (tensor,) = (x for x in model.subgraphs[0].tensors if x.sparsity is not None)
        tensor.sparsity = None
        count = int(np.prod(tensor.shape))
        model.buffers[tensor.buffer].data = np.zeros(4 * count, np.uint8)

    with pytest.raises(ko.ModelFileError, match=r"DENSIFY \(float\)"):
        ko.load_model(repacked(content, stored))


@pytest.mark.parametrize(
    ("code", "dtype", "weights", "sparse", "expected"),
    [
        ("FULLY_CONNECTED", "float32", "float32", "weights", "float"),
        ("FULLY_CONNECTED", "int8", "int8", "weights", "int8"),
        ("FULLY_CONNECTED", "float32", "int8", "weights", "sparse hybrid"),
        ("FULLY_CONNECTED", "float32", "float16", "weights", "sparse float"),
        ("FULLY_CONNECTED", "int8", "int4", "weights", "sparse int8"),
        ("FULLY_CONNECTED", "float32", "float32", "bias", "sparse float"),
        ("FULLY_CONNECTED", "int8", "int8", "bias", "sparse int8"),
        ("FULLY_CONNECTED", "float32", "float32", "weights bias", "sparse float"),
        ("CONV_2D", "float32", "float32", "weights", "sparse float"),
    ],
)
def test_kinds_that_litert_computes(code, dtype, weights, sparse, expected):
    """LiteRT's delegate reads sparse hybrid weights as if they were dense."""
    graph = Graph()
    quantization = Quantization.symmetric(np.float32(0.1), 0) if "int" in weights else None
    x = graph.tensor("x", (None, 4), dtype, quantization if dtype == "int8" else None)
    stored = np.zeros((3, 4), np.int8 if "int" in weights else weights)
    kernel = graph.constant(stored, quantization=quantization, dtype=weights)
    bias = graph.constant(np.zeros(3, "int32" if dtype == "int8" else "float32"))
    graph.tensors[kernel].sparse = "weights" in sparse
    graph.tensors[bias].sparse = "bias" in sparse
    y = graph.tensor("y", (None, 3), dtype)
    assert kind_of(Operator(code, [x, kernel, bias], [y]), graph.tensors) == expected
