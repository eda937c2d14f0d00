"""int8 operators that move values, where they are not those of any other dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_octet import layers
from keras_octet.capture.keras_private import numpy_operations
from keras_octet.layers import operators
from keras_octet.tflite.read import dynamic, float_movement, float_position
from keras_octet.tflite.read.call import ReadCall, qparams_of
from keras_octet.tflite.read.float_common import positive_axis
from keras_octet.tflite.read.options import activation_of
from keras_octet.tflite.read.shapes import as_ints, has_unknown


def kept(call: ReadCall, *inputs: int) -> dict[str, Any]:
    """Name and parameters of a layer that moves the values of `inputs`."""
    return {
        "input_qparams": [call.operand(index).qparams for index in inputs or (0,)],
        "output_qparams": call.output_qparams,
        "name": call.name,
    }


def zero_point_of(call: ReadCall) -> int:
    """What stands for 0.0 in the output; 0 if it is not quantized."""
    tensor = call.outputs[0]
    return qparams_of(tensor).zero_point if tensor.quantization else 0


def is_quantized(call: ReadCall) -> bool:
    """Whether input and output have parameters: int8 tensors need not."""
    return None not in (call.operand(0).tensor.quantization, call.outputs[0].quantization)


def read_reshape(call: ReadCall) -> Any:
    """RESHAPE of each sample."""
    source, shape = call.tensor(0), call.optional(1)
    target = list((call.options.newShape if shape is None else call.constant(1)).reshape(-1))
    if not is_quantized(call) or not float_movement.keeps_batch(source.shape, target):
        return float_movement.read_reshape(call)
    sizes = as_ints(np.array(target[1:], object))
    return layers.QuantizedReshape(target_shape=sizes, **kept(call))(source)


def read_transpose(call: ReadCall) -> Any:
    """TRANSPOSE of each sample."""
    source, axes = call.tensor(0), as_ints(call.constant(1))
    axes = [positive_axis(axis, len(source.shape), call) for axis in axes]
    if not is_quantized(call) or axes[:1] != [0]:
        return float_movement.read_transpose(call)
    return layers.QuantizedPermute(dims=axes[1:], **kept(call))(source)


def read_concatenation(call: ReadCall) -> Any:
    """CONCATENATION of tensors that share their parameters."""
    indices = range(len(call.inputs))
    tensors = [call.tensor(index) for index in indices]
    axis = positive_axis(call.options.axis, len(tensors[0].shape), call)
    if not is_quantized(call) or len(tensors) == 1 or activation_of(call):
        return float_movement.read_concatenation(call)
    return layers.QuantizedConcatenate(axis=axis, **kept(call, *indices))(tensors)


def read_strided_slice(call: ReadCall) -> Any:
    """STRIDED_SLICE, with constant bounds its masks as they are."""
    if dynamic.begins_anywhere(call):
        return dynamic.read_strided_slice(call)
    bounds = [call.constant(index).reshape(-1) for index in (1, 2, 3)]
    options = call.options
    if any(map(has_unknown, bounds)) or 0 in bounds[2] or options.offset:
        return float_movement.read_strided_slice(call)
    begin, end, strides = map(as_ints, bounds)
    layer = operators.StridedSlice(
        begin=begin,
        end=end,
        strides=strides,
        begin_mask=options.beginMask,
        end_mask=options.endMask,
        ellipsis_mask=options.ellipsisMask,
        new_axis_mask=options.newAxisMask,
        shrink_axis_mask=options.shrinkAxisMask,
        name=call.name,
    )
    return layer(call.tensor(0))


def read_pad(call: ReadCall) -> Any:
    """PAD with the zero point, PADV2 with a value."""
    value = zero_point_of(call)
    if call.code == "PADV2":
        value = int(call.constant(2).reshape(-1)[0])
    paddings = np.asarray(call.constant(1)).reshape(-1, 2).tolist()
    return layers.QuantizedPad(paddings=paddings, value=value, **kept(call))(call.tensor(0))


def read_space_to_batch(call: ReadCall) -> Any:
    """SPACE_TO_BATCH_ND, padded with the zero point."""
    layer = operators.SpaceToBatch(
        block_shape=as_ints(call.constant(1)),
        paddings=np.asarray(call.constant(2)).reshape(-1, 2).tolist(),
        value=zero_point_of(call),
        name=call.name,
    )
    return layer(call.tensor(0))


def read_select(call: ReadCall) -> Any:
    """SELECT, SELECT_V2; a constant keeps its parameters in a layer."""
    return call.apply(numpy_operations.Where, *(call.tensor(index) for index in range(3)))


def read_embedding_lookup(call: ReadCall) -> Any:
    """EMBEDDING_LOOKUP, indices first: copies rows of a table of the type of the output."""
    float_position.require_same_type(call, 1)
    return operators.Gather(axis=0, name=call.name)([call.tensor(1), call.tensor(0)])


def read_gather(call: ReadCall) -> Any:
    """GATHER; a constant table keeps its parameters in a layer."""
    table, indices = call.tensor(0), call.tensor(1)
    layer = operators.Gather(
        axis=positive_axis(call.options.axis, len(table.shape), call),
        batch_dims=positive_axis(call.options.batchDims, len(indices.shape) + 1, call),
        name=call.name,
    )
    return layer([table, indices])
