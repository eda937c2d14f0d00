"""Scaling and padding images a row at a time.

`Rescaling` and `Normalization` become depthwise convolutions of one weight a channel. XNNPACK's
kernels take 16 channels or more at once, and for 3 as long. A row of an image has many values, so
each is a channel here, and the weights are repeated for each column.

XNNPACK's PAD copies one column of an image after the other, 10 nanoseconds each. Where a row is one
column, it copies rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.emit.shape import pad
from keras_octet.tflite.graph import Graph, Operator
from keras_octet.tflite.xnnpack.common import (
    have_same_qparams,
    repeated,
    replace_operators,
    usual_qparams,
)

# So many channels fill a kernel.
MANY = 16
# Of a row: more weights would leave the first cache no space for values.
MOST = 4096
# Of a column: more are copied as fast one column after the other.
MOST_BYTES = 32


def scale_rows(graph: Graph, operator: Operator) -> bool:
    """Let an int8 operator that scales few channels see a row of the image as one position."""
    if operator.code != "DEPTHWISE_CONV_2D" or len(operator.inputs) != 3:
        return False
    (source, *constants), (target,), options = operator.inputs, operator.outputs, operator.options
    kernel, bias = (graph.tensors[index] for index in constants)
    batch, height, width, channels = graph.shape(source)
    if (
        usual_qparams(graph, source, target) is None
        or kernel.dtype != "int8"
        or kernel.shape[:3] != (1, 1, 1)
        or kernel.data is None
        or bias.data is None
        or not options.strideH == options.strideW == options.depthMultiplier == 1
        or (batch is None and height is None)
        or width is None
        or channels is None
        or not channels < MANY <= width * channels <= MOST
    ):
        return False
    rows = (batch, height, 1, width * channels)
    weights = [repeated(graph, tensor, width) for tensor in (kernel, bias)]
    scaled = graph.temporary(rows, like=target, name="rows")
    graph.operator(operator.code, [graph.reshape(source, rows), *weights], [scaled], options)
    graph.reshape(scaled, graph.shape(target), output=target)
    return True


def pad_rows(graph: Graph, outputs: Sequence[int]) -> None:
    """Let the padding of images with few channels see a row as one position, in place.

    XNNPACK pads for a convolution that alone reads the padded image when it gathers the inputs.
    """
    readers: dict[int, list[Operator | None]] = {graph.resolve(i): [None] for i in outputs}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(graph.resolve(index), []).append(operator)

    def replace(graph: Graph, operator: Operator) -> bool:
        if operator.code != "PAD":
            return False
        reading = readers.get(operator.outputs[0], [])
        if not reading:
            return True  # a reader has its own padding by now
        if len(reading) == 1 and _takes_padding(reading[0]):
            return False
        return _pad_rows(graph, operator)

    replace_operators(graph, replace)


def _takes_padding(operator: Operator | None) -> bool:
    return (
        operator is not None
        and operator.code in ("CONV_2D", "DEPTHWISE_CONV_2D")
        and operator.options.padding == schema.Padding.VALID
    )


def _pad_rows(graph: Graph, operator: Operator) -> bool:
    (source, constant), (target,) = operator.inputs, operator.outputs
    if graph.rank(source) < 3:
        return False
    *leading, width, channels = graph.shape(source)
    widths, dtype = graph.tensors[constant].data, graph.dtype(source)
    if (
        widths is None
        or dtype not in ("int8", "float32")
        or not have_same_qparams(graph, source, target)
        or not width
        or not channels
        or channels * np.dtype(dtype).itemsize > MOST_BYTES
        or not widths[-2].any()
        or widths[-1].any()
        or leading.count(None) > 1
        or 0 in leading
    ):
        return False
    pad_in_rows(graph, source, widths, graph.shape(target), output=target)
    return True


def pad_in_rows(
    graph: Graph,
    source: int,
    widths: np.ndarray,
    shape: Sequence[int | None],
    output: int | None = None,
) -> int:
    """PAD with the values of a row as one axis.

    Args:
        graph: what to add to.
        source: an image, whose columns and channels are known.
        widths: zeros before and after each axis, of which the last has none.
        shape: of the output, which is reshaped to it.
        output: see `Graph.then`.
    """
    leading = graph.shape(source)[:-2]
    width, channels = graph.static_shape(source, -2, -1)
    rows = graph.reshape(source, (*leading, width * channels))
    widths = np.array([*widths[:-2], widths[-2] * channels], np.int32)
    sizes = [
        size if size is None else size + added
        for size, added in zip(graph.shape(rows), widths.sum(1).tolist(), strict=True)
    ]
    padded = graph.temporary(sizes, like=source, name="padded")
    pad(graph, rows, widths, padded)
    return graph.reshape(padded, shape, output=output)
