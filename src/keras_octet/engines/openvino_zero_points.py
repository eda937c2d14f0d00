"""Zero points taken out of an OpenVINO graph, so that its convolutions need not correct for them.

What is rounded to a grid that begins at `low` is held as its distance from `low`, the zero point of
which is 0. Whatever reads it makes up for that by a constant that it has anyway: a convolution
without padding by its bias, a rounding by its ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_octet.engines.openvino_nodes import MOVES, bias_of, ends_of, integers_and_scales


def without_zero_points(openvino: Any, model: Any) -> None:
    """Rewrite a model in place, but for what an operation reads that cannot make up for it.

    Args:
        openvino: the package.
        model: an `openvino.Model`.
    """
    seen: set[str] = set()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and node.get_name() not in seen:
            group = _Group(node)
            seen |= group.names
            if group.low:
                group.shift(openvino)


class _Group:
    """Roundings, and the operations on what they give, that can only be shifted together.

    Attributes:
        names: of them.
        low: where all grids begin; 0 if the group cannot be shifted.
    """

    def __init__(self, rounding: Any) -> None:
        self.names: set[str] = set()
        self.low = _low(rounding)
        self._roundings: list[Any] = []
        self._biases: list[tuple[Any, np.ndarray]] = []  # and what their convolutions make of ones
        self._later_roundings: list[Any] = []
        members = [rounding]
        while members:
            node = members.pop()
            if node.get_name() in self.names:
                continue
            self.names.add(node.get_name())
            if node.get_type_name() == "FakeQuantize":
                self._roundings.append(node)
                if _low(node) != self.low:
                    self.low = 0.0
            elif _keeps_offset(node):
                joined = node.get_type_name() == "Concat"
                members += [x.get_node() for x in node.input_values()[: None if joined else 1]]
            else:
                self.low = 0.0
                continue
            for reader in node.output(0).get_target_inputs():
                if _keeps_offset(reader.get_node()):
                    members.append(reader.get_node())
                else:
                    self._add_reader(reader.get_node())

    def _add_reader(self, node: Any) -> None:
        if not self.low:
            return  # nothing will be shifted, and sums of weights take their time
        kind = node.get_type_name()
        if kind == "Add":
            roundings = [x.get_node() for x in node.output(0).get_target_inputs()]
        else:
            roundings = [node]
        ones = _of_ones(node) if kind.endswith("Convolution") else None
        if ones is not None:
            self._biases.append((bias_of(node), ones))
        elif all(x.get_type_name() == "FakeQuantize" and ends_of(x) for x in roundings):
            self._later_roundings += roundings
        else:
            self.low = 0.0

    def shift(self, openvino: Any) -> None:
        def change(node: Any, number: int, by: np.ndarray | float) -> None:
            values = node.input_value(number).get_node().data.astype(np.float64) + by
            constant = openvino.opset1.constant(values.astype(np.float32))
            node.input(number).replace_source_output(constant.output(0))

        for node in self._roundings:
            for end_of_grid in (3, 4):
                change(node, end_of_grid, -self.low)
        for node in self._later_roundings:
            for end in (1, 2):
                change(node, end, -self.low)
        for node, ones in self._biases:
            change(node, 1, self.low * ones)


def _low(rounding: Any) -> float:
    """Where the grid begins; 0 if it is not of 256 values or differs between channels."""
    ends = ends_of(rounding)
    if rounding.get_attributes()["levels"] != 256 or not ends or ends[2].size != 1:
        return 0.0
    return float(ends[2].item())


def _keeps_offset(node: Any) -> bool:
    """Whether a constant that is added to the input is added to the output."""
    kind = node.get_type_name()
    if kind == "AvgPool":
        return node.get_attributes()["exclude-pad"]
    return kind in MOVES or kind == "ReduceMean"


def _of_ones(convolution: Any) -> np.ndarray | None:
    """What a convolution gives for ones, of shape (1, channels, 1, ...).

    None if its padding makes that differ between positions, its weights are in no form that is
    known here, or it has no bias.
    """
    factors = integers_and_scales(convolution.input_value(1).get_node())
    if factors is None or bias_of(convolution) is None:
        return None
    integers, scale = factors
    attributes = convolution.get_attributes()
    num_axes = len(attributes["strides"])
    if attributes["auto_pad"] in ("same_upper", "same_lower"):
        if set(integers.shape[-num_axes:]) != {1}:
            return None
    elif any((*attributes["pads_begin"], *attributes["pads_end"])):
        return None
    sums = (integers.astype(np.float64) * scale).sum(axis=tuple(range(-num_axes - 1, 0)))
    return sums.reshape(1, -1, *[1] * num_axes)
