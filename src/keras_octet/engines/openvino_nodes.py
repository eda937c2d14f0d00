"""What the rewrites of OpenVINO's graphs read of a node."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Operations whose output has values of their first input, or of all for Concat, and no other.
# (MaxPool's second output is of integers, which nothing rounds.)
MOVES = {"Concat", "MaxPool", "Reshape", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze"}

Grid = tuple[float, float, int]
"""Lowest and highest value, and how many there are at equal distances."""


def ends_of(rounding: Any) -> list[np.ndarray]:
    """From where to where it takes values, and to which; none if that is not constant."""
    nodes = [x.get_node() for x in rounding.input_values()[1:]]
    constant = all(x.get_type_name() == "Constant" for x in nodes)
    return [x.data for x in nodes] if constant else []


def ends_and_grid(node: Any) -> tuple[Grid | None, Grid | None]:
    """What a rounding takes to which grid; None where channels differ, or that is no range."""
    ends = ends_of(node)
    if not ends or any(x.size != 1 or not np.isfinite(x).all() for x in ends):
        return None, None
    low, high, grid_low, grid_high = (x.item() for x in ends)
    levels = node.get_attributes()["levels"]
    if low >= high or grid_low >= grid_high or levels < 2:
        return None, None
    return (low, high, levels), (grid_low, grid_high, levels)


def pads_with_value_of(grid: Grid | None, pad: Any) -> bool:
    """Whether a Pad of values of a grid gives values of it, but for what float32 makes of them."""
    if pad.get_attributes()["pad_mode"] != "constant":
        return True
    values = [x.get_node() for x in pad.input_values()[3:]]
    if grid is None or [x.get_type_name() for x in values] != ["Constant"]:
        return False
    low, high, levels = grid
    step = (values[0].data.item() - low) / (high - low) * (levels - 1)
    return math.isfinite(step) and 0 <= round(step) < levels and abs(step - round(step)) < 1e-4


def only_reader(node: Any) -> Any:
    """What alone reads a node's first output; None if that is more than one, or none."""
    readers = [x.get_node() for x in node.output(0).get_target_inputs()]
    return readers[0] if len(readers) == 1 else None


def bias_of(convolution: Any) -> Any:
    """The sum with a constant, of any shape, that alone reads a convolution; None without."""
    node = only_reader(convolution)
    if node is None or node.get_type_name() != "Add":
        return None
    bias = node.input_value(1).get_node()
    return node if bias.get_type_name() == "Constant" and bias.data.dtype == np.float32 else None


def factors_of_channels(convolution: Any) -> np.ndarray | None:
    """What a GroupConvolution multiplies each channel by, of shape `(1, channels, 1, ...)`.

    None if it does more than that, or its weights are in no form that is known here.
    """
    factors = integers_and_scales(convolution.input_value(1).get_node())
    attributes = convolution.get_attributes()
    strides = attributes["strides"]
    if (
        factors is None
        or any(x.size != len(factors[0]) for x in factors)  # it adds something up
        or any((*attributes["pads_begin"], *attributes["pads_end"]))
        or set(strides) != {1}
    ):
        return None
    return (factors[0] * factors[1]).reshape(1, -1, *[1] * len(strides))


def integers_and_scales(node: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The factors of weights that are int8 constants times constant scales; None of others."""
    if node.get_type_name() != "Multiply":
        return None
    convert, scale = (x.get_node() for x in node.input_values())
    if convert.get_type_name() != "Convert" or scale.get_type_name() != "Constant":
        return None
    integers = convert.input_value(0).get_node()
    # Of int4 the array is of bytes with two values each.
    is_int8 = integers.get_output_element_type(0).get_type_name() == "i8"
    return (
        (integers.data, scale.data) if integers.get_type_name() == "Constant" and is_int8 else None
    )
