"""A model as OpenVINO's reader of `.tflite` makes it, in the form that its int8 kernels take.

Each rewrite leaves the values as they are. Without them some convolutions, or the passages from
int8 and back, would run in float32:

- the reader scales depthwise weights and then changes their layout, and takes what comes out for
  float;
- it rounds again what only moved values that were rounded so, and a convolution whose outputs are
  rounded, joined and rounded again does not take in the rounding;
- it makes a convolution of what scales each channel, such as `Rescaling`, for which the kernels are
  slow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Operations whose outputs are values of their inputs.
MOVES = {"Concat", "MaxPool", "Reshape", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze"}


def in_int8_form(openvino: Any, model: Any) -> None:
    """Rewrite a model in place.

    Args:
        openvino: the package.
        model: an `openvino.Model`.
    """
    _scale_last(openvino, model)
    _scale_channels(openvino, model)
    _round_once(model)
    model.validate_nodes_and_infer_types()


def _scale_last(openvino: Any, model: Any) -> None:
    """Let a model change the layout of depthwise weights first, and then scale them."""
    for node in _nodes(model, "GroupConvolution"):
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


def _scale_channels(openvino: Any, model: Any) -> None:
    """Let depthwise convolutions of single pixels be products."""
    opset = openvino.opset1
    for node in _nodes(model, "GroupConvolution"):
        weights = node.input_value(1)  # of (groups, outputs of each, inputs of each, ...)
        attributes = node.get_attributes()
        still = not any(attributes["pads_begin"]) and not any(attributes["pads_end"])
        if still and set(attributes["strides"]) == {1} and set(weights.shape[1:]) == {1}:
            factors = opset.reshape(weights, [1, *weights.shape[:1], *weights.shape[3:]], False)
            product = opset.multiply(node.input_value(0), factors)
            node.output(0).replace(product.output(0))


def _round_once(model: Any) -> None:
    """Take out rounding of what has been rounded so already, and at most moved since."""
    grids: dict[str, tuple[float, ...] | None] = {}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        arrays = [x.get_node() for x in node.input_values()]
        before = {grids[x.get_name()] for x in arrays if x.get_type_name() != "Constant"}
        grid = _grid(node) if kind == "FakeQuantize" else None
        if kind in MOVES and len(before) == 1:
            (grid,) = before
        elif grid is not None and before == {grid}:
            node.output(0).replace(node.input_value(0))
        grids[node.get_name()] = grid


def _grid(node: Any) -> tuple[float, ...] | None:
    """The values that a rounding has, as ends of its input and output and their number; None if it
    has more than one grid.
    """
    ends = [x.get_node() for x in node.input_values()[1:]]
    if any(x.get_type_name() != "Constant" or x.data.size != 1 for x in ends):
        return None
    return *[x.data.item() for x in ends], node.get_attributes()["levels"]


def _nodes(model: Any, kind: str) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == kind]
