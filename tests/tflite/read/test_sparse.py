"""Constants that are stored without their zeros."""

from __future__ import annotations

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
from tests.tflite.read.test_hostile import repacked

DENSE, SPARSE = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR


def level(
    size: int = 0, segments: list[int] | None = None, indices: list[int] | None = None
) -> SimpleNamespace:
    """As the schema's reader has it; a sparse one has segments."""

    def table(values: list[int] | None) -> Any:
        vector = schema.Int32VectorT(values)
        builder = flatbuffers.Builder()
        builder.Finish(vector.Pack(builder))
        return schema.Int32Vector.GetRootAs(builder.Output(), 0)._tab

    return SimpleNamespace(
        Format=lambda: DENSE if segments is None else SPARSE,
        DenseSize=lambda: size,
        ArraySegmentsType=lambda: schema.SparseIndexVector.Int32Vector,
        ArrayIndicesType=lambda: schema.SparseIndexVector.Int32Vector,
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


def test_rows_as_in_csr():
    rows = [level(3), level(0, [0, 2, 2, 3], [0, 3, 1])]
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


@pytest.mark.parametrize(
    ("code", "dtype", "weights", "expected"),
    [
        ("FULLY_CONNECTED", "float32", "float32", "float"),
        ("FULLY_CONNECTED", "int8", "int8", "int8"),
        ("FULLY_CONNECTED", "float32", "int8", "sparse hybrid"),
        ("CONV_2D", "float32", "float32", "sparse float"),
    ],
)
def test_kinds_that_litert_computes(code, dtype, weights, expected):
    """LiteRT's delegate reads sparse hybrid weights as if they were dense."""
    graph = Graph()
    quantization = Quantization.symmetric(np.float32(0.1), 0) if weights == "int8" else None
    x = graph.tensor("x", (None, 4), dtype, quantization if dtype == "int8" else None)
    kernel = graph.constant(np.zeros((3, 4), weights), quantization=quantization)
    graph.tensors[kernel].sparse = True
    y = graph.tensor("y", (None, 3), dtype)
    assert kind_of(Operator(code, [x, kernel], [y]), graph.tensors) == expected
