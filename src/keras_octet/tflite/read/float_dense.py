"""Float matrix products."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_octet.capture.canonical import make_layer, make_weighted_layer
from keras_octet.capture.keras_private import numpy_operations
from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.float_common import fused_activation, values, with_activation


def read_fully_connected(call: ReadCall) -> Any:
    """Kernel `(out, in)` becomes `(in, out)`; weights that are computed make another layer."""
    source = call.tensor(0)
    if not call.operand(1).is_constant:
        return _dynamic(call, source)
    kernel = call.constant(1)
    if kernel.ndim != 2:
        raise ModelFileError(
            f"FULLY_CONNECTED {call.name!r} has weights of shape {kernel.shape}; expected 2 axes."
        )
    source = _flattened(call, source, kernel.shape[1])
    weights = {"kernel": kernel.transpose()}
    if call.optional(2) is not None:
        weights["bias"] = call.constant(2).reshape(-1)
    layer = make_weighted_layer(
        keras.layers.Dense,
        call.name,
        source.shape,
        weights,
        units=kernel.shape[0],
        activation=fused_activation(call),
        use_bias="bias" in weights,
    )
    return layer(source)


def _dynamic(call: ReadCall, source: Any) -> Any:
    tensors = [source, call.tensor(1)]
    if call.optional(2) is not None:
        tensors.append(call.tensor(2))
    tensors[0] = _flattened(call, source, tensors[1].shape[-1])
    return with_activation(call, lambda name: operators.FullyConnected(name=name)(tensors))


def _flattened(call: ReadCall, source: Any, depth: int) -> Any:
    """Rows of `depth` values: the operator flattens what is not, unless told to keep the axes."""
    rank = len(source.shape)
    if source.shape[-1:] == (depth,) and (rank == 2 or (rank > 2 and call.options.keepNumDims)):
        return source
    name = call.unique(f"{call.name}_rows")
    inner = source.shape[1:]
    if rank > 1 and None not in inner and math.prod(inner) == depth:
        return make_layer(keras.layers.Reshape, name, target_shape=(depth,))(source)
    return numpy_operations.Reshape((-1, depth), name=name)(source)


def read_batch_matmul(call: ReadCall) -> Any:
    """BATCH_MATMUL, with operands transposed or not."""
    options = call.options
    if options.adjX or options.adjY:
        layer = operators.BatchMatmul(
            transpose_first=bool(options.adjX),
            transpose_second=bool(options.adjY),
            name=call.name,
        )
        return layer([call.tensor(0), call.tensor(1)])
    return call.apply(numpy_operations.Matmul, *values(call, 0, 1))
