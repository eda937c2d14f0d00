"""Dilated convolutions as TensorFlow writes them when the batch is open.

SPACE_TO_BATCH_ND, a convolution of each phase, BATCH_TO_SPACE_ND are one dilated convolution: the
same products. LiteRT's delegate takes only that form, and only that form can be quantized.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.graph import NO_TENSOR, Operator, Tensor
from keras_octet.tflite.read.parse import Subgraph

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fuse_dilation(graph: Subgraph) -> None:
    """Replace each such group of float operators by a dilated convolution, in place.

    A one-dimensional convolution has a RESHAPE or EXPAND_DIMS and a RESHAPE or SQUEEZE around it.
    Groups that pad as neither VALID nor SAME convolutions do are left as they are.
    """
    makers = {output: operator for operator in graph.operators for output in operator.outputs}
    readers = Counter(i for operator in graph.operators for i in operator.inputs)
    readers.update(graph.outputs)
    for end in [x for x in graph.operators if x.code == "BATCH_TO_SPACE_ND"]:
        chain = _chain(graph, end, makers, readers)
        if chain is not None:
            _replace(graph, *chain)


def _chain(
    graph: Subgraph, end: Operator, makers: dict[int, Operator], readers: Counter[int]
) -> tuple[list[Operator], int, tuple[int, int]] | None:
    """The operators from SPACE_TO_BATCH_ND to `end`, the padding and the dilation of the whole."""
    block, crops = _constant(graph, end, 1), _constant(graph, end, 2)
    if block is None or crops is None or block.size > 2 or crops.shape != (block.size, 2):
        return None
    block = block.reshape(-1)
    wanted: list[tuple[str, ...]] = [_CONVOLUTIONS, ("SPACE_TO_BATCH_ND",)]
    if block.size == 1:
        wanted = [("SQUEEZE", "RESHAPE"), wanted[0], ("EXPAND_DIMS", "RESHAPE"), wanted[1]]
    chain = [end]
    for codes in wanted:
        source = chain[0].inputs[0] if chain[0].inputs else NO_TENSOR
        maker = makers.get(source)
        if maker is None or maker.code not in codes or readers[source] != 1:
            return None
        chain.insert(0, maker)
    convolution = chain[-1 - len(wanted) // 2]
    same_block, paddings = _constant(graph, chain[0], 1), _constant(graph, chain[0], 2)
    kernel = _constant(graph, convolution, 1)
    if (
        same_block is None
        or paddings is None
        or paddings.shape != crops.shape
        or kernel is None
        or kernel.ndim != 4
        or kernel.dtype != np.float32
        or not np.array_equal(same_block.reshape(-1), block)
        or not _is_plain(convolution.options)
    ):
        return None
    if block.size == 1:
        shape = graph.tensors[convolution.inputs[0]].shape
        if len(shape) != 4 or shape[1] != 1 or kernel.shape[1] != 1:
            return None
    dilation = (1, *block.tolist())[-2:]
    extents = [(size - 1) * rate for size, rate in zip(kernel.shape[1:3], dilation, strict=True)]
    # The end is padded for whole blocks, and cropped again.
    pads = [[0, 0], *(paddings - crops * [0, 1]).tolist()][-2:]
    paddings_of = {
        schema.Padding.VALID: [[0, 0], [0, 0]],
        schema.Padding.SAME: [[extent // 2, extent - extent // 2] for extent in extents],
    }
    for padding, expected in paddings_of.items():
        if pads == expected and not crops[:, 0].any():
            return chain, padding, dilation
    return None


def _constant(graph: Subgraph, operator: Operator, position: int) -> np.ndarray | None:
    """The value of an input; None if it is no constant, or not there."""
    index = operator.inputs[position] if position < len(operator.inputs) else NO_TENSOR
    return None if index == NO_TENSOR else graph.tensors[index].data


def _is_plain(options: Any) -> bool:
    return (
        isinstance(options, (schema.Conv2DOptionsT, schema.DepthwiseConv2DOptionsT))
        and options.padding == schema.Padding.VALID
        and (options.strideH, options.strideW) == (1, 1)
        and (options.dilationHFactor, options.dilationWFactor) == (1, 1)
    )


def _replace(
    graph: Subgraph, chain: list[Operator], padding: int, dilation: tuple[int, int]
) -> None:
    start, *inner, end = chain
    convolution = inner[len(inner) // 2]
    convolution.options = copy.copy(convolution.options)
    convolution.options.padding = padding
    convolution.options.dilationHFactor, convolution.options.dilationWFactor = dilation
    if len(inner) == 3:
        # What is around it gives shapes of one phase.
        before, _, after = inner
        axis = np.array(1, np.int32)
        graph.tensors.append(Tensor(f"{start.code}/axis", (), "int32", data=axis))
        before.code, before.options = "EXPAND_DIMS", schema.ExpandDimsOptionsT()
        before.inputs = [before.inputs[0], len(graph.tensors) - 1]
        after.code, after.inputs = "SQUEEZE", after.inputs[:1]
        after.options = schema.SqueezeOptionsT(squeezeDims=axis.reshape(1))
    inner[0].inputs = [start.inputs[0], *inner[0].inputs[1:]]
    inner[-1].outputs = end.outputs
    graph.operators = [x for x in graph.operators if x is not start and x is not end]
