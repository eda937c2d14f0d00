"""The operators of the layers in `keras_octet.layers.operators`."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.layers import operators
from keras_octet.tflite.emit.arithmetic import binary, matmul, strided_slice
from keras_octet.tflite.emit.codes import COMPLEX_PARTS
from keras_octet.tflite.emit.common import NO_ACTIVATION, EmitFunction
from keras_octet.tflite.emit.pooling import emit_pooling_2d
from keras_octet.tflite.emit.position import arg_extremum, emit_top_k, one_hot
from keras_octet.tflite.emit.resize import RESIZES
from keras_octet.tflite.emit.shape import mirror_pad, shape_of
from keras_octet.tflite.graph import Graph


def _plain(code: str, options: Any = None) -> EmitFunction:
    """The emit function of an operator that takes the inputs of the layer and no settings."""

    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        graph.operator(code, inputs, [output], options and options())

    return emit


def _ints(graph: Graph, values: Any, name: str) -> int:
    return graph.constant(np.array(values, np.int32), name=name)


def _squared_difference(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    binary(graph, "SQUARED_DIFFERENCE", inputs[0], inputs[1], output)


def _batch_matmul(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    matmul(
        graph,
        inputs[0],
        inputs[1],
        graph.shape(output),
        output,
        transpose_first=layer.transpose_first,
        transpose_second=layer.transpose_second,
    )


def _fully_connected(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    options = schema.FullyConnectedOptionsT(
        fusedActivationFunction=NO_ACTIVATION, keepNumDims=graph.rank(inputs[0]) > 2
    )
    bias = inputs[2] if len(inputs) > 2 else -1
    graph.operator("FULLY_CONNECTED", [*inputs[:2], bias], [output], options)


def _l2_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    options = schema.L2NormOptionsT(fusedActivationFunction=NO_ACTIVATION)
    graph.operator("L2_NORMALIZATION", inputs, [output], options)


def _local_response_normalization(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    options = schema.LocalResponseNormalizationOptionsT(
        radius=layer.radius, bias=layer.bias, alpha=layer.alpha, beta=layer.beta
    )
    graph.operator("LOCAL_RESPONSE_NORMALIZATION", inputs, [output], options)


def _cumulative_sum(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    options = schema.CumsumOptionsT(exclusive=layer.exclusive, reverse=layer.reverse)
    axis = _ints(graph, layer.axis, "axis")
    graph.operator("CUMSUM", [inputs[0], axis], [output], options)


def _split(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """SPLIT for parts of one size, else SPLIT_V."""
    assert graph.call is not None
    outputs, axis = graph.call.outputs, _ints(graph, layer.axis, "axis")
    if len(set(layer.sizes)) == 1:
        options = schema.SplitOptionsT(numSplits=len(outputs))
        graph.operator("SPLIT", [axis, inputs[0]], outputs, options)
        return
    operands = [inputs[0], _ints(graph, layer.sizes, "sizes"), axis]
    graph.operator("SPLIT_V", operands, outputs, schema.SplitVOptionsT(numSplits=len(outputs)))


def _gather(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    options = schema.GatherOptionsT(axis=layer.axis, batchDims=layer.batch_dims)
    graph.operator("GATHER", inputs, [output], options)


def _reverse_sequence(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    options = schema.ReverseSequenceOptionsT(seqDim=layer.axis, batchDim=layer.batch_axis)
    graph.operator("REVERSE_SEQUENCE", inputs, [output], options)


def _blocks(code: str, options: Any) -> EmitFunction:
    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        graph.operator(code, inputs, [output], options(blockSize=layer.block_size))

    return emit


def _space_to_batch(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    settings = [
        _ints(graph, layer.block_shape, "block_shape"),
        _ints(graph, layer.paddings, "paddings"),
    ]
    options = schema.SpaceToBatchNDOptionsT()
    graph.operator("SPACE_TO_BATCH_ND", [inputs[0], *settings], [output], options)


def _batch_to_space(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    settings = [
        _ints(graph, layer.block_shape, "block_shape"),
        _ints(graph, layer.crops, "crops"),
    ]
    options = schema.BatchToSpaceNDOptionsT()
    graph.operator("BATCH_TO_SPACE_ND", [inputs[0], *settings], [output], options)


def _resize(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    code, options = RESIZES[layer.interpolation]
    size = _ints(graph, (layer.height, layer.width), "size")
    settings = options(alignCorners=layer.align_corners, halfPixelCenters=layer.half_pixel_centers)
    graph.operator(code, [inputs[0], size], [output], settings)


def _arg_extremum(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    code = "ARG_MIN" if layer.smallest else "ARG_MAX"
    arg_extremum(graph, code, inputs[0], layer.axis, output)


def _one_hot(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    one_hot(graph, inputs[0], layer.depth, layer.axis, output, layer.on, layer.off)


def _mirror_pad(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    mirror_pad(graph, inputs[0], layer.paddings, layer.mode, output)


def _fill(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    sizes = shape_of(graph, inputs[0], layer.shape, layer.axis)
    value = graph.constant(
        np.array(layer.value, layer.output_type),
        name="value",
        quantization=graph.tensors[output].quantization,
    )
    graph.operator("FILL", [sizes, value], [output], schema.FillOptionsT())


def _broadcast_to(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    sizes = shape_of(graph, inputs[0], layer.shape, layer.axis)
    graph.operator("BROADCAST_TO", [inputs[1], sizes], [output], schema.BroadcastToOptionsT())


def _dynamic_slice(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    size = _ints(graph, layer.size, "size")
    graph.operator("SLICE", [*inputs, size], [output], schema.SliceOptionsT())


def _dynamic_index(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    strides = _ints(graph, [1] * graph.static_shape(inputs[1], 0)[0], "strides")
    options = schema.StridedSliceOptionsT(
        beginMask=layer.begin_mask,
        endMask=layer.end_mask,
        shrinkAxisMask=layer.shrink_axis_mask,
    )
    graph.operator("STRIDED_SLICE", [*inputs, strides], [output], options)


def _set_row(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """The rows before `index`, the row and those after it, as TensorFlow writes it."""
    rows, index, following, row = inputs
    rank = graph.rank(rows)

    def vector(position: int, rest: int) -> int:
        first = graph.reshape(position, (1,))
        if rank == 1:
            return first
        parts = [first, _ints(graph, [rest] * (rank - 1), "rest")]
        options = schema.ConcatenationOptionsT(axis=0)
        return graph.then("CONCATENATION", parts, options, shape=(rank,))

    options, unknown = schema.SliceOptionsT(), (None, *graph.shape(rows)[1:])
    ends = [_ints(graph, [0] * rank, "begin"), vector(index, -1)]
    before = graph.then("SLICE", [rows, *ends], options, shape=(None,) * rank)
    ends = [vector(following, 0), _ints(graph, [-1] * rank, "size")]
    after = graph.then("SLICE", [rows, *ends], options, shape=unknown)
    middle = graph.reshape(row, (1, *graph.shape(row)))
    parts = [before, middle, after]
    graph.operator("CONCATENATION", parts, [output], schema.ConcatenationOptionsT(axis=0))


def _size_of(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """SHAPE, and one number of it."""
    options = schema.ShapeOptionsT(outType=schema.TensorType.INT32)
    shape = graph.then("SHAPE", inputs, options, shape=(graph.rank(inputs[0]),), dtype="int32")
    strided_slice(graph, shape, output, [layer.axis], [layer.axis + 1], [1], shrink_axis_mask=1)


def _rfft2d(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    lengths = _ints(graph, [layer.rows, layer.columns], "fft_length")
    graph.operator("RFFT2D", [*inputs, lengths], [output], schema.Rfft2dOptionsT())


def _complex_part(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    codes = {part: code for code, part in COMPLEX_PARTS.items()}
    graph.operator(codes[layer.part], inputs, [output])


OPERATOR_LAYERS: dict[type, EmitFunction] = {
    operators.ArgExtremum: _arg_extremum,
    operators.AveragePooling2D: emit_pooling_2d("AVERAGE_POOL_2D"),
    operators.BatchMatmul: _batch_matmul,
    operators.BatchToSpace: _batch_to_space,
    operators.BroadcastTo: _broadcast_to,
    operators.ComplexPart: _complex_part,
    operators.CumulativeSum: _cumulative_sum,
    operators.DepthToSpace: _blocks("DEPTH_TO_SPACE", schema.DepthToSpaceOptionsT),
    operators.DynamicIndex: _dynamic_index,
    operators.DynamicSlice: _dynamic_slice,
    operators.Fill: _fill,
    operators.FullyConnected: _fully_connected,
    operators.Gather: _gather,
    operators.GatherND: _plain("GATHER_ND", schema.GatherNdOptionsT),
    operators.L2Normalization: _l2_normalization,
    operators.L2Pooling2D: emit_pooling_2d("L2_POOL_2D"),
    operators.LocalResponseNormalization: _local_response_normalization,
    operators.MatrixDiag: _plain("MATRIX_DIAG", schema.MatrixDiagOptionsT),
    operators.MatrixSetDiag: _plain("MATRIX_SET_DIAG", schema.MatrixSetDiagOptionsT),
    operators.MirrorPad: _mirror_pad,
    operators.OneHot: _one_hot,
    operators.RFFT2D: _rfft2d,
    operators.ResizeImage: _resize,
    operators.ReverseSequence: _reverse_sequence,
    operators.SetRow: _set_row,
    operators.SizeOf: _size_of,
    operators.SpaceToBatch: _space_to_batch,
    operators.SpaceToDepth: _blocks("SPACE_TO_DEPTH", schema.SpaceToDepthOptionsT),
    operators.Split: _split,
    operators.SquaredDifference: _squared_difference,
    operators.TopK: emit_top_k,
}
