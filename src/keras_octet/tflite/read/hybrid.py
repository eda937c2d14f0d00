"""Operators on float tensors with integer weights that no other layer has."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_octet import layers
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.call import Operand, ReadCall


def _symmetric(call: ReadCall, weights: Operand) -> np.ndarray:
    """The scales of `weights`, which must have no zero points."""
    if weights.quantization.zero_point.any():
        raise ModelFileError(f"{call.code} {call.name!r} has weights with a zero point.")
    return weights.quantization.scale


def read_matmul(call: ReadCall) -> Any:
    """BATCH_MATMUL with an int8 constant on the right."""
    options, weights = call.options, call.operand(1)
    scale = _symmetric(call, weights)
    kernel = call.constant(1)
    if options.adjX or weights.tensor.dtype != "int8" or kernel.ndim < 2:
        raise ModelFileError(
            f"BATCH_MATMUL {call.name!r} has a constant of type {weights.tensor.dtype} and shape "
            f"{kernel.shape}, and adj_x={options.adjX}; expected int8 of rank 2 or more, False."
        )
    if options.adjY:
        kernel = np.swapaxes(kernel, -1, -2)
    layer = layers.HybridMatmul(
        kernel_shape=kernel.shape,
        transposed=bool(options.adjY),
        asymmetric_inputs=bool(options.asymmetricQuantizeInputs),
        per_tensor=scale.size == 1,
        name=call.name,
    )
    output = layer(call.tensor(0))
    layer.assign_weights(kernel, np.zeros(kernel.shape[-1], np.float32), scale)
    return output


def read_embedding_lookup(call: ReadCall) -> Any:
    """Ids `(n,)` and a constant table `(rows, ...)`."""
    table, weights = call.constant(1), call.operand(1)
    scale = _symmetric(call, weights)
    if weights.tensor.dtype not in ("int8", "int4"):
        raise ModelFileError(
            f"EMBEDDING_LOOKUP {call.name!r} has a table of type {weights.tensor.dtype}; expected "
            "int8 or int4."
        )
    layer = layers.HybridEmbedding(
        table_shape=table.shape,
        table_dtype=weights.tensor.dtype,
        per_row=scale.size > 1,
        name=call.name,
    )
    output = layer(call.tensor(0))
    layer.table.assign(table)
    layer.table_scale.assign(scale)
    return output
