"""Convolutions of few channels, several columns of the image at a time.

XNNPACK's kernels take 8 channels at once, or about as many: for each column of a window over 3 of
them they multiply 5 zeros, and for few filters some lanes are idle. Here columns next to each other
are one column of more channels, and results next to each other are one of more filters, each with
the weights in its place and zeros around them. The sums are those of the same products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.graph import Graph, Operator
from keras_octet.tflite.xnnpack.common import have_same_qparams, repeated, usual_qparams
from keras_octet.tflite.xnnpack.rows import pad_in_rows
from keras_octet.windows import same_padding

# Channels, and filters, that a kernel takes at once.
LANES = 8
# Results that become one, at most.
MOST_RESULTS = 8
# Multiplications after to before: with more left it is not worth to move the columns.
MOST_LEFT = 0.7

Around = tuple[int, int]
"""What is added before and after."""


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """A convolution along the rows of an image; each of its positions has `columns` of them.

    It adds the columns `around` and has `results` next to each other as one output.
    """

    inputs: int
    outputs: int
    window: int
    stride: int
    around: Around
    columns: int = 1
    results: int = 1

    def joined(self) -> Iterator[_Columns]:
        """The ways to have several results as one, with the columns that they are apart as one."""
        before, _ = self.around
        for results in range(1, MOST_RESULTS + 1):
            columns = results * self.stride
            outputs = self.outputs // results
            window = math.ceil(((results - 1) * self.stride + self.window) / columns)
            after = columns * (outputs + window - 1) - self.inputs - before
            # Otherwise columns that no window reaches would have to be taken off.
            if self.outputs % results == 0 and after >= 0:
                yield _Columns(
                    inputs=self.inputs // columns,
                    outputs=outputs,
                    window=window,
                    stride=1,
                    around=(before, after),
                    columns=columns,
                    results=results,
                )

    def multiplications(self, channels: int, filters: int) -> float:
        """For each result, with those of zeros."""
        lanes = _filled(self.columns * channels) * _filled(self.results * filters)
        return self.window * lanes / self.results

    def same(self) -> Around:
        """The columns that SAME padding adds."""
        before, after = same_padding(self.inputs, self.window, self.stride)
        return self.columns * before, self.columns * after


def _filled(count: int) -> int:
    return math.ceil(count / LANES) * LANES


def convolve_columns(graph: Graph, operator: Operator) -> bool:
    """Add an int8 convolution of joined columns if that has much fewer multiplications.

    A padding in front of it is done with its own.
    """
    if operator.code != "CONV_2D" or len(operator.inputs) != 3:
        return False
    (source, *constants), (target,), options = operator.inputs, operator.outputs, operator.options
    kernel, bias = (graph.tensors[index] for index in constants)
    if (
        usual_qparams(graph, source, target) is None
        or kernel.dtype != "int8"
        or kernel.data is None
        or bias.data is None
        or not options.dilationHFactor == options.dilationWFactor == 1
        or not all(graph.shape(source)[1:])  # unknown or 0
    ):
        return False
    filters, *window, channels = kernel.data.shape
    if graph.shape(source)[3] != channels:
        return False  # groups of channels, each with filters of its own
    outputs, strides = graph.static_shape(target, 1, 2), (options.strideH, options.strideW)
    same = options.padding == schema.Padding.SAME
    if same:
        sizes = graph.static_shape(source, 1, 2)
        vertical, horizontal = map(same_padding, sizes, window, strides)
    else:
        source, vertical, horizontal = _unpadded(graph, source)
    rows, columns = graph.static_shape(source, 1, 2)
    now = _Columns(
        inputs=columns,
        outputs=outputs[1],
        window=window[1],
        stride=strides[1],
        around=horizontal,
    )
    joined = min(now.joined(), key=lambda x: x.multiplications(channels, filters), default=now)
    most = MOST_LEFT * now.multiplications(channels, filters)
    if joined.multiplications(channels, filters) > most:
        return False
    shape = [graph.shape(source)[0], rows, joined.inputs, joined.columns * channels]
    if (same and joined.around == joined.same()) or not any((*vertical, *joined.around)):
        image = graph.reshape(source, shape)
    else:
        widths = np.array([(0, 0), vertical, joined.around, (0, 0)])
        shape[1:3] = rows + sum(vertical), joined.outputs + joined.window - 1
        image = pad_in_rows(graph, source, widths, shape)
        options.padding = schema.Padding.VALID
    options.strideW = 1
    weights = [
        repeated(graph, kernel, joined.results, _spread(kernel.data, now.stride, joined)),
        repeated(graph, bias, joined.results),
    ]
    found = target
    if joined.results > 1:
        shape = [graph.shape(target)[0], outputs[0], joined.outputs, joined.results * filters]
        found = graph.temporary(shape, like=target, name="columns")
    graph.operator(operator.code, [image, *weights], [found], options)
    if found != target:
        graph.reshape(found, graph.shape(target), output=target)
    return True


def _unpadded(graph: Graph, source: int) -> tuple[int, Around, Around]:
    """What a PAD adds rows and columns to, and how many; else `source` and none."""
    for maker in graph.operators:
        if maker.code == "PAD" and graph.resolve(source) in maker.outputs:
            image, widths = maker.inputs[0], graph.tensors[maker.inputs[1]].data
            if (
                widths is not None
                and not widths[[0, 3]].any()
                and have_same_qparams(graph, image, source)
            ):
                top, left = (tuple(x) for x in widths[1:3].tolist())
                return image, top, left
    return source, (0, 0), (0, 0)


def _spread(kernel: np.ndarray, stride: int, joined: _Columns) -> np.ndarray:
    """Filters for each of the results that are one, with the weights in its window."""
    filters, height, width, channels = kernel.shape
    columns = joined.window * joined.columns
    spread = np.zeros((joined.results, filters, height, columns, channels), np.int8)
    for i in range(joined.results):
        spread[i, :, :, i * stride : i * stride + width] = kernel
    return spread.reshape(-1, height, joined.window, joined.columns * channels)
