"""A model as OpenVINO's reader of `.tflite` makes it, in the form that its int8 kernels take.

Without these rewrites some convolutions, or the passages from int8 and back, run in float32, or
take longer:

- the reader scales depthwise weights and then changes their layout, and takes what comes out for
  float;
- it rounds again what was rounded so and only moved since, and then convolutions do not round their
  outputs themselves;
- it rounds inputs to one grid and then, scaled, to another;
- it rounds before HARD_SWISH and after;
- padding with the zero point is done in float32 if it is rounded again, or before a pool;
- standalone batch normalizations are depthwise convolutions;
- convolutions correct for zero points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_octet.engines.openvino_nodes import (
    ends_and_grid,
    factors_of_channels,
    integers_and_scales,
    pads_with_value_of,
)
from keras_octet.engines.openvino_roundings import round_less
from keras_octet.engines.openvino_zero_points import without_zero_points


def in_int8_form(openvino: Any, model: Any) -> None:
    """Rewrite a model in place.

    Its outputs stay, but for values halfway between two steps, and for what only HARD_SWISH reads,
    which is no longer rounded and clipped.

    Args:
        openvino: the package.
        model: an `openvino.Model`.
    """
    _scale_last(openvino, model)
    round_less(model)
    _pad_in_pools(openvino, model)
    without_zero_points(openvino, model)
    _scale_channels(openvino, model)


def _scale_last(openvino: Any, model: Any) -> None:
    """Let a model change the layout of depthwise weights first, and then scale them."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "GroupConvolution":
            weights = _with_scales_last(openvino, node.input_value(1).get_node())
            if weights is not None:
                node.input(1).replace_source_output(weights.output(0))


def _with_scales_last(openvino: Any, node: Any) -> Any:
    """What gives the same weights with their scales last; None if they are in another form."""
    moves = []
    while node.get_type_name() in ("Reshape", "Transpose", "Unsqueeze"):
        moves.append(node)
        node = node.input_value(0).get_node()
    factors = integers_and_scales(node)
    if factors is None:
        return None
    arrays = [factors[0], np.broadcast_to(factors[1], factors[0].shape)]
    for move in reversed(moves):
        if move.get_type_name() == "Transpose":
            order = move.input_value(1).get_node().data
            arrays = [array.transpose(order) for array in arrays]
        else:
            arrays = [array.reshape(move.get_output_shape(0)) for array in arrays]
    kernel, scales = (np.ascontiguousarray(array) for array in arrays)
    one_each = tuple([slice(1)] * (scales.ndim - 2))  # of (groups, outputs of each, ...)
    per_channel = np.ascontiguousarray(scales[:, :, *one_each])
    if (scales != per_channel).any():
        return None
    opset = openvino.opset1
    real = opset.convert(opset.constant(kernel), openvino.Type.f32)
    return opset.multiply(real, opset.constant(per_channel))


def _pad_in_pools(openvino: Any, model: Any) -> None:
    """Let pools pad where no value is less than what was padded with."""
    for pool in model.get_ordered_ops():
        if pool.get_type_name() != "MaxPool":
            continue
        pad = pool.input_value(0).get_node()
        if pad.get_type_name() != "Pad" or not _is_least(pad):
            continue
        begin, end = (x.get_node().data.tolist() for x in pad.input_values()[1:3])
        attributes = pool.get_attributes()
        sizes = attributes["kernel"]
        explicit = attributes["auto_pad"] in ("explicit", "valid")
        rounds_down = attributes["rounding_type"] == "floor"
        padded = [*attributes["pads_begin"], *attributes["pads_end"]]
        if (
            explicit
            and rounds_down
            and not any(padded)
            and not any([*begin[:2], *end[:2]])
            and set(attributes.get("dilations", [1])) == {1}
            and all(0 <= x < n for x, n in zip(begin[2:] + end[2:], sizes + sizes, strict=True))
        ):
            strides = attributes["strides"]
            new = openvino.opset1.max_pool(pad.input_value(0), strides, begin[2:], end[2:], sizes)
            pool.output(0).replace(new.output(0))


def _is_least(pad: Any) -> bool:
    """Whether a constant is padded that no value of a rounded activation is less than."""
    rounding = pad.input_value(0).get_node()
    if pad.get_attributes()["pad_mode"] != "constant":
        return False
    if [x.get_node().get_type_name() for x in pad.input_values()[1:]] != ["Constant"] * 3:
        return False
    if rounding.get_type_name() != "FakeQuantize":
        return False
    ends, grid = ends_and_grid(rounding)
    if ends != grid or not pads_with_value_of(grid, pad):
        return False
    activation = rounding.input_value(0).get_node()
    least = {"Relu": 0.0, "Clamp": activation.get_attributes().get("min")}
    return pad.input_value(3).get_node().data.item() == least.get(activation.get_type_name())


def _scale_channels(openvino: Any, model: Any) -> None:
    """Multiply, where a depthwise convolution has one weight a channel and does no more."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "GroupConvolution":
            factors = factors_of_channels(node)
            if factors is not None:
                new = openvino.opset1.multiply(node.input_value(0), factors)
                node.output(0).replace(new.output(0))
