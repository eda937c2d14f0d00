"""Operators that move values: RESHAPE, TRANSPOSE, slices, padding, CONCATENATION."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keras_octet import layers
from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.call import ReadCall, qparams_of


def kept(call: ReadCall, *inputs: int) -> dict[str, Any]:
    """Name and parameters of a layer that moves the values of `inputs`, quantized or not."""
    sources = [call.operand(index).tensor for index in inputs or (0,)]
    return {
        "input_qparams": [qparams_of(tensor) for tensor in sources if tensor.quantization],
        "output_qparams": qparams_of(call.outputs[0]) if call.outputs[0].quantization else None,
        "name": call.name,
    }


def integers(call: ReadCall, index: int) -> list[int]:
    """A constant input as a list of ints."""
    return [int(value) for value in np.asarray(call.constant(index)).reshape(-1)]


def read_reshape(call: ReadCall) -> Any:
    """RESHAPE; one that keeps the batch says so, and then takes any batch."""
    source = call.tensor(0)
    if call.optional(1) is not None:
        target = integers(call, 1)
    else:
        target = [int(size) for size in call.options.newShape]
    return reshape(call, source, target)


def reshape(call: ReadCall, source: Any, target: list[int]) -> Any:
    """`source` in shape `target`, which may hold one -1."""
    sizes = source.shape[1:]
    known = math.prod(sizes) if len(source.shape) and None not in sizes else None
    keeps_batch = (
        len(target) > 0
        and known is not None
        and -1 not in target[1:]
        and math.prod(target[1:]) == known
        and target[0] in (-1, source.shape[0])
    )
    layer = layers.QuantizedReshape(
        target_shape=target[1:] if keeps_batch else target, keep_batch=keeps_batch, **kept(call)
    )
    return layer(source)


def read_transpose(call: ReadCall) -> Any:
    """TRANSPOSE by a constant permutation."""
    return layers.QuantizedTranspose(axes=integers(call, 1), **kept(call))(call.tensor(0))


def read_strided_slice(call: ReadCall) -> Any:
    """STRIDED_SLICE with constant bounds."""
    options = call.options
    if options.ellipsisMask or options.newAxisMask or options.offset:
        raise ModelFileError(
            f"STRIDED_SLICE {call.name!r} has an ellipsis, a new axis or offsets, which is not "
            "supported."
        )
    begin, end, strides = (integers(call, index) for index in (1, 2, 3))
    if 0 in strides:
        raise ModelFileError(f"STRIDED_SLICE {call.name!r} has strides {strides}.")
    axes = range(len(begin))
    layer = layers.QuantizedStridedSlice(
        begin=[None if options.beginMask >> i & 1 else begin[i] for i in axes],
        end=[None if options.endMask >> i & 1 else end[i] for i in axes],
        strides=strides,
        shrink=[i for i in axes if options.shrinkAxisMask >> i & 1],
        **kept(call),
    )
    return layer(call.tensor(0))


def read_pad(call: ReadCall) -> Any:
    """PAD with the zero point, PADV2 with a value."""
    quantization = call.outputs[0].quantization
    value = 0 if quantization is None else int(quantization.zero_point[0])
    if call.code == "PADV2":
        value = int(call.constant(2).reshape(-1)[0])
    paddings = np.asarray(call.constant(1)).reshape(-1, 2).tolist()
    return layers.QuantizedPad(paddings=paddings, value=value, **kept(call))(call.tensor(0))


def read_concatenation(call: ReadCall) -> Any:
    """CONCATENATION of tensors that share their parameters."""
    indices = range(len(call.inputs))
    tensors = [call.tensor(i) for i in indices]
    axis = call.options.axis % max(1, len(tensors[0].shape))
    return layers.QuantizedConcatenate(axis=axis, **kept(call, *indices))(tensors)
