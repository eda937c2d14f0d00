"""A `.tflite` file from a stranger: an error of ours, soon, in little memory; never a crash."""

from __future__ import annotations

import contextlib
import random
import resource
import sys
import time
import tracemalloc
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.tflite.file import AlignedBuilder, pack
from keras_octet.tflite.graph import Graph, Quantization
from tests.models import images
from tests.tflite.read.mutants import mutate

L = keras.layers
GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.tflite"))
# What reads a file is the same on every backend; what builds the model hardly differs.
MUTANTS = 10_000 if keras.backend.backend() == "torch" else 1_000
# Loading takes some milliseconds; a mutant that hangs takes for ever.
SECONDS_FOR_ONE = 20.0
MEGABYTES_FOR_ALL = 2000


@pytest.fixture(scope="module")
def honest() -> bytes:
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(4, 3, activation="relu"), L.DepthwiseConv2D(3)]
    )
    return ko.quantize(model, images(0, 8, 8, 8, 3)).to_tflite()


def test_mutants(honest):
    files = [honest, *(path.read_bytes() for path in GOLDEN)]
    rng = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = 0
    for number in range(MUTANTS):
        mutant = mutate(files[number % len(files)], rng)
        started = time.monotonic()
        try:
            with np.errstate(all="ignore"):
                ko.load_model(mutant)
            loaded += 1
        except ko.OctetError:
            pass
        except Exception as error:
            raise AssertionError(f"mutant {number}: {type(error).__name__}") from error
        assert time.monotonic() - started < SECONDS_FOR_ONE, f"mutant {number}"
        if number % 500 == 0:
            keras.backend.clear_session()
    # Most bits of a file are weights, and some mutants change nothing that matters.
    assert 0 < loaded < MUTANTS
    if sys.platform == "linux":
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < MEGABYTES_FOR_ALL * 1024


def without_inputs(operator):
    operator.inputs = None


def without_outputs(operator):
    operator.outputs = None


def without_options(operator):
    operator.builtinOptions, operator.builtinOptionsType = None, 0


def with_options_of_another(operator):
    operator.builtinOptions = schema.GatherOptionsT()
    operator.builtinOptionsType = schema.BuiltinOptions.GatherOptions


@pytest.mark.parametrize(
    "change", [without_inputs, without_outputs, without_options, with_options_of_another]
)
def test_operators_that_lack_something(change):
    """Each operator of each file in turn, for it may be read together with others."""
    for path in GOLDEN:
        content = path.read_bytes()
        count = len(schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].operators)
        for position in range(min(count, 8)):
            with contextlib.suppress(ko.OctetError), np.errstate(all="ignore"):
                ko.load_model(
                    repacked(content, lambda x, i=position: change(x.subgraphs[0].operators[i]))
                )


@pytest.mark.parametrize("length", range(0, 64, 7))
def test_truncated(honest, length):
    with pytest.raises(ko.ModelFileError):
        ko.load_model(honest[:length])


def test_not_a_tflite_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"PK\x03\x04 and so on, and so on")
    with pytest.raises(ko.ModelFileError, match=r"not a \.tflite file"):
        ko.load_model(path)


def repacked(data: bytes, change) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    change(model)
    builder = AlignedBuilder(len(data) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def cyclic(model):
    first, second = model.subgraphs[0].operators[:2]
    first.inputs = np.array([second.outputs[0], *first.inputs[1:]], np.int32)


def written_twice(model):
    first, second = model.subgraphs[0].operators[:2]
    second.outputs = first.outputs


def unknown_tensor(model):
    model.subgraphs[0].operators[0].inputs = np.array([10**6], np.int32)


def negative_output(model):
    model.subgraphs[0].outputs = np.array([-1], np.int32)


def unknown_buffer(model):
    model.subgraphs[0].tensors[0].buffer = 10**6


def absurd_shape(model):
    model.subgraphs[0].tensors[0].shape = np.array([2**30, 2**30, 2**30, 3], np.int32)
    model.subgraphs[0].tensors[0].shapeSignature = None


def too_little_data(model):
    kernel = next(x for x in model.subgraphs[0].tensors if x.name.endswith(b"kernel"))
    kernel.shape = kernel.shape * 2


def unknown_operator(model):
    model.operatorCodes[0].builtinCode = 30_000


def no_subgraph(model):
    model.subgraphs = []


def signature_out_of_range(model):
    model.signatureDefs[0].subgraphIndex = 7


def infinite_scale(model):
    model.subgraphs[0].tensors[1].quantization.scale = np.array([np.inf], np.float32)


@pytest.mark.parametrize(
    "change",
    [
        cyclic,
        written_twice,
        unknown_tensor,
        negative_output,
        unknown_buffer,
        absurd_shape,
        too_little_data,
        unknown_operator,
        no_subgraph,
        signature_out_of_range,
        infinite_scale,
    ],
)
def test_well_formed_nonsense(honest, change):
    assert isinstance(ko.load_model(repacked(honest, lambda model: None)), keras.Model)
    with pytest.raises(ko.ModelFileError):
        ko.load_model(repacked(honest, change))


def claims_many_outputs(model):
    graph = model.subgraphs[0]
    operator = next(x for x in graph.operators if hasattr(x.builtinOptions, "num"))
    operator.builtinOptions.num = 2**30
    source = graph.tensors[operator.inputs[0]]
    source.shape = np.where(np.arange(len(source.shape)) == operator.builtinOptions.axis, 2**30, 1)


def test_outputs_are_counted():
    content = (GOLDEN[0].parent / "unpack_float.tflite").read_bytes()
    started = time.monotonic()
    with pytest.raises(ko.ModelFileError, match=r"UNPACK .* outputs"):
        ko.load_model(repacked(content, claims_many_outputs))
    assert time.monotonic() - started < SECONDS_FOR_ONE


def file_of_rows_of_nothing(code, rows, options, axes):
    """A constant without elements is the first input; what is made of it, an output."""
    graph = Graph()
    x, y = graph.tensor("x", (1,), "float32"), graph.tensor("y", (1,), "float32")
    inputs = [graph.tensor("rows", (rows, 0), "float32"), graph.constant(axes)]
    made = graph.tensor("made", (1,), "float32")
    graph.operator(code, inputs[::-1] if code == "SPLIT" else inputs, [made], options)
    graph.operator("ADD", [x, made], [y], schema.AddOptionsT())
    return pack(graph, [x], [y], ["x"], ["y"], "main")


@pytest.mark.parametrize(
    ("code", "rows", "options", "axes"),
    [
        ("SUM", 2**31 - 1, schema.ReducerOptionsT(), np.array([1], np.int32)),
        ("SPLIT", 2, schema.SplitOptionsT(numSplits=2**30), np.array(1, np.int32)),
    ],
)
def test_rows_of_nothing(code, rows, options, axes):
    """Sums of empty rows are zeros, as many as there are rows; parts may be empty too."""
    content = file_of_rows_of_nothing(code, rows, options, axes)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ko.ModelFileError):
        ko.load_model(content)
    assert time.monotonic() - started < SECONDS_FOR_ONE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * MEGABYTES_FOR_ALL


HUGE, LARGE = 2**29, 2**23


def ints(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("code", "inputs", "options"),
    [
        (
            "REVERSE_SEQUENCE",
            [(None, HUGE), ints(1)],
            schema.ReverseSequenceOptionsT(seqDim=1, batchDim=0),
        ),
        (
            "ONE_HOT",
            [ints(1), ints(HUGE)[0], np.float32(1), np.float32(0)],
            schema.OneHotOptionsT(axis=-1),
        ),
        (
            "LOCAL_RESPONSE_NORMALIZATION",
            [(None, 2, 2, 2**15)],
            schema.LocalResponseNormalizationOptionsT(radius=1, bias=1.0, alpha=1.0, beta=0.5),
        ),
        ("MATRIX_DIAG", [(None, 2**15)], schema.MatrixDiagOptionsT()),
        ("MATRIX_SET_DIAG", [(None, 2**15, 2**15), (None, 2**15)], schema.MatrixSetDiagOptionsT()),
        (
            "L2_POOL_2D",
            [(None, HUGE, 1, 1)],
            schema.Pool2DOptionsT(strideH=1, strideW=1, filterHeight=2, filterWidth=2),
        ),
        (
            "L2_POOL_2D",
            [(None, 2**13, 2**13, 1)],
            schema.Pool2DOptionsT(strideH=1, strideW=1, filterHeight=2, filterWidth=2),
        ),
    ],
)
def test_sizes_of_arrays_made_from_shapes_are_bounded(code, inputs, options):
    """Where values come from is worked out from sizes when the model runs."""
    content = file_of_many(code, inputs, options)
    started = time.monotonic()
    with pytest.raises(ko.ModelFileError, match="expected at most 16777216 values"):
        ko.load_model(content)
    assert time.monotonic() - started < SECONDS_FOR_ONE


def file_of_many(code, inputs, options, count=1, dtype="float32"):
    """Operators of one kind on the same inputs: shapes, or constants."""
    graph = Graph()
    quantization = Quantization.symmetric(np.float32(0.1), 0) if dtype == "int8" else None
    given = [
        graph.tensor(f"x{i}", x, dtype, quantization) if isinstance(x, tuple) else graph.constant(x)
        for i, x in enumerate(inputs)
    ]
    shown = [x for x, item in zip(given, inputs, strict=True) if isinstance(item, tuple)]
    shown = shown or [graph.tensor("unused", (None, 1), dtype)]
    made = [graph.tensor(f"y{i}", (None, 1), dtype, quantization) for i in range(count)]
    for y in made:
        graph.operator(code, given, [y], options)
    names = [f"x{i}" for i in range(len(shown))]
    return pack(graph, shown, made, names, [f"y{i}" for i in range(count)], "main")


@pytest.mark.parametrize(
    ("code", "inputs", "options", "dtype"),
    [
        (
            "STRIDED_SLICE",  # of int8: of float32 it is another layer
            [(None, HUGE), ints(0, HUGE - 1), ints(9, 0), ints(1, -1)],
            schema.StridedSliceOptionsT(),
            "int8",
        ),
        (
            "MIRROR_PAD",
            [(None, HUGE), ints(0, 0, HUGE - 1, 0).reshape(2, 2)],
            schema.MirrorPadOptionsT(),
            "float32",
        ),
        (
            "REVERSE_SEQUENCE",
            [(None, LARGE), ints(1)],
            schema.ReverseSequenceOptionsT(seqDim=1, batchDim=0),
            "float32",
        ),
        (
            "ONE_HOT",
            [ints(1), ints(LARGE)[0], np.float32(1), np.float32(0)],
            schema.OneHotOptionsT(axis=-1),
            "float32",
        ),
        (
            "LOCAL_RESPONSE_NORMALIZATION",
            [(None, 2, 2, 2**12)],
            schema.LocalResponseNormalizationOptionsT(radius=1, bias=1.0, alpha=1.0, beta=0.5),
            "float32",
        ),
        ("MATRIX_DIAG", [(None, 2**12)], schema.MatrixDiagOptionsT(), "float32"),
        (
            "MATRIX_SET_DIAG",
            [(None, 2**12, 2**12), (None, 2**12)],
            schema.MatrixSetDiagOptionsT(),
            "float32",
        ),
        (
            "L2_POOL_2D",
            [(None, 2**12, 2**12, 1)],
            schema.Pool2DOptionsT(strideH=1, strideW=1, filterHeight=2, filterWidth=2),
            "float32",
        ),
        (
            "RESIZE_NEAREST_NEIGHBOR",
            [(None, 2, 2, 1), ints(2**20, 2**20)],
            schema.ResizeNearestNeighborOptionsT(alignCorners=True, halfPixelCenters=True),
            "float32",
        ),
    ],
)
def test_reading_makes_no_arrays_from_shapes(code, inputs, options, dtype):
    """A small file may have many operators that need such an array."""
    content = file_of_many(code, inputs, options, 20, dtype)
    tracemalloc.start()
    try:
        ko.load_model(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize("dtype", ["UINT4", "INT4", "STRING", "VARIANT"])
def test_types_of_inputs(dtype):
    content = GOLDEN[0].read_bytes()

    def changed(model):
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].type = getattr(schema.TensorType, dtype)

    with pytest.raises(ko.ModelFileError, match=f"has type {dtype.lower()}; expected one of"):
        ko.load_model(repacked(content, changed))


@pytest.mark.parametrize(("mode", "most"), [("SYMMETRIC", 4), ("REFLECT", 3)])
def test_mirrors_have_an_end(mode, most):
    """LiteRT mirrors each value once at most."""
    options = schema.MirrorPadOptionsT(mode=getattr(schema.MirrorPadMode, mode))
    widths = ints(0, 0, most + 1, 0).reshape(2, 2)
    with pytest.raises(ko.ModelFileError, match=f"allows at most {most}"):
        ko.load_model(file_of_many("MIRROR_PAD", [(None, 4), widths], options))
    ko.load_model(file_of_many("MIRROR_PAD", [(None, 4), widths - [[0, 0], [1, 0]]], options))


def test_sizes_of_images_are_bounded():
    """Where pixels come from is worked out along each axis when the model runs."""
    content = (Path(GOLDEN[0].parent) / "resize_bilinear_float.tflite").read_bytes()

    def enlarge(model):
        graph = model.subgraphs[0]
        size = graph.tensors[graph.operators[0].inputs[1]]
        model.buffers[size.buffer].data = np.frombuffer(
            np.array([5, 2**27], "<i4").tobytes(), np.uint8
        )

    with pytest.raises(ko.ModelFileError, match="at most 1048576"):
        ko.load_model(repacked(content, enlarge))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("split_v_float", [1, 3, 3]),
        ("split_v_float", [9, -1, 1]),
        ("split_v_float", [8, -2, 0]),
        ("reshape_float_split_shape", [1, 1]),
        ("reshape_float_split_shape", [-1, -1]),
    ],
)
def test_parts_that_do_not_add_up(name, sizes):
    def resized(model):
        codes = [x.builtinCode for x in model.operatorCodes]
        position = codes.index(schema.BuiltinOperator.SPLIT_V)
        graph = model.subgraphs[0]
        operator = next(x for x in graph.operators if x.opcodeIndex == position)
        buffer = model.buffers[graph.tensors[operator.inputs[1]].buffer]
        buffer.data = np.frombuffer(np.array(sizes, np.int32).tobytes(), np.uint8)

    content = (GOLDEN[0].parent / f"{name}.tflite").read_bytes()
    with pytest.raises(ko.ModelFileError, match=r"SPLIT_V.* splits [36] values into \["):
        ko.load_model(repacked(content, resized))
