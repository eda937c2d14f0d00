"""Scaling the channels of an image, a row at a time.

`Rescaling` and `Normalization` become depthwise convolutions of one weight a channel. XNNPACK's
kernels take 16 channels or more at once, and for 3 as long. A row of an image has many values, so
each is a channel here, and the weights are repeated for each column.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_octet.tflite.graph import Graph, Operator, Tensor
from keras_octet.tflite.xnnpack.common import usual_qparams

# So many channels fill a kernel.
MANY = 16
# Of a row: more weights would leave the first cache no space for values.
MOST = 4096


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
    weights = [_repeated(graph, tensor, width) for tensor in (kernel, bias)]
    scaled = graph.temporary(rows, like=target, name="rows")
    graph.operator(operator.code, [graph.reshape(source, rows), *weights], [scaled], options)
    graph.reshape(scaled, graph.shape(target), output=target)
    return True


def _repeated(graph: Graph, tensor: Tensor, times: int) -> int:
    """A constant so often along its last axis, with its scales if there is one a channel."""
    assert tensor.data is not None
    quantization = tensor.quantization
    if quantization is not None and quantization.scale.size > 1:
        quantization = replace(
            quantization,
            scale=np.tile(quantization.scale, times),
            zero_point=np.tile(quantization.zero_point, times),
        )
    data = np.concatenate([tensor.data] * times, axis=-1)
    return graph.constant(data, name=tensor.name, quantization=quantization)
