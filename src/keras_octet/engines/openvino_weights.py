"""Weights in the form in which OpenVINO recognizes an int8 convolution.

OpenVINO's reader of `.tflite` scales depthwise weights and then changes their layout, and takes
what comes out for float: convolutions, and the passages from int8 and back, would run in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def scale_last(openvino: Any, model: Any) -> None:
    """Let a model change the layout of depthwise weights first, and then scale them.

    Args:
        openvino: the package.
        model: an `openvino.Model`.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "GroupConvolution":
            weights = _scaled_last(openvino, node.input_value(1).get_node())
            if weights is not None:
                node.input(1).replace_source_output(weights.output(0))


def _scaled_last(openvino: Any, node: Any) -> Any:
    """What gives the same weights with their scales last; None if they are in another form."""
    moves = []
    while node.get_type_name() in ("Reshape", "Transpose", "Unsqueeze"):
        moves.append(node)
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Multiply":
        return None
    integers, scale = node.input_value(0).get_node(), node.input_value(1).get_node()
    values = integers.input_value(0).get_node() if integers.get_type_name() == "Convert" else None
    if values is None or {values.get_type_name(), scale.get_type_name()} != {"Constant"}:
        return None
    arrays = [values.data, np.broadcast_to(scale.data, values.data.shape)]
    for move in reversed(moves):
        if move.get_type_name() == "Transpose":
            order = move.input_value(1).get_node().data
            arrays = [array.transpose(order) for array in arrays]
        else:
            arrays = [array.reshape(move.get_output_shape(0)) for array in arrays]
    kernel, scales = (np.ascontiguousarray(array) for array in arrays)
    one_each = tuple([slice(1)] * (scales.ndim - 2))  # of (groups, outputs of each, ...)
    per_channel = np.ascontiguousarray(scales[:, :, *one_each])
    if kernel.dtype != np.int8 or (scales != per_channel).any():
        return None
    opset = openvino.opset1
    real = opset.convert(opset.constant(kernel), openvino.Type.f32)
    return opset.multiply(real, opset.constant(per_channel))
