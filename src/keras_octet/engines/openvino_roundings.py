"""Roundings of an OpenVINO graph that are not needed, or not whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_octet.engines.openvino_nodes import (
    MOVES,
    Grid,
    bias_of,
    ends_and_grid,
    factors_of_channels,
    integers_and_scales,
    only_reader,
    pads_with_value_of,
)

# So far from halfway between two values, in steps, it is certain to which one float32 rounds.
MARGIN = 1e-3
# With more the steps are too small for that.
MAX_LEVELS = 256


def round_less(openvino: Any, model: Any) -> None:
    """Rewrite a model in place; finite values that are not halfway between two steps stay.

    Args:
        openvino: the package.
        model: an `openvino.Model`.
    """
    _round_once(model)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "GroupConvolution":
            _rescale_while_rounding(node)
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            _leave_ends_to_the_next(openvino, node)


def _round_once(model: Any) -> None:
    """Take out rounding of what was rounded so before and at most moved or padded since."""
    grids: dict[str, Grid | None] = {}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        moved = node.input_values() if kind == "Concat" else node.input_values()[:1]
        found = {grids[x.get_node().get_name()] for x in moved}
        before = found.pop() if len(found) == 1 else None
        kept = kind in MOVES or (kind == "Pad" and pads_with_value_of(before, node))
        grids[node.get_name()] = before if kept else None
        if kind == "FakeQuantize":
            ends, grid = ends_and_grid(node)
            grids[node.get_name()] = grid
            if grid is not None and grid == before == ends:
                node.output(0).replace(node.input_value(0))


def _rescale_while_rounding(convolution: Any) -> None:
    """Round at once to the grid that another is scaled to, step by step.

    That is what becomes of a Rescaling of rounded inputs.
    """
    total = bias_of(convolution)
    first = convolution.input_value(0).get_node()
    factors = factors_of_channels(convolution)
    if total is None or factors is None or not _is_rounding(first) or only_reader(first) is None:
        return
    second = only_reader(total)
    bias = total.input_value(1).get_node().data
    if not _is_rounding(second) or bias.shape != factors.shape:
        return
    (_, grid), (ends, _) = ends_and_grid(first), ends_and_grid(second)
    if grid is None or ends is None or not grid[2] == ends[2] <= MAX_LEVELS:
        return
    steps = _steps(np.linspace(*grid) * factors.reshape(-1, 1) + bias.reshape(-1, 1), ends)
    if (abs(steps - np.arange(grid[2])) < 0.5 - MARGIN).all():
        for end_of_grid in (3, 4):
            first.input(end_of_grid).replace_source_output(second.input_value(end_of_grid))
        second.output(0).replace(first.output(0))


def _leave_ends_to_the_next(openvino: Any, convolution: Any) -> None:
    """Round what is out of range too, where HSwish and the rounding after it take it to their ends.

    What gives the rounding its scale goes into the convolution.
    """
    total = bias_of(convolution)
    weights = convolution.input_value(1).get_node()
    factors = integers_and_scales(weights)
    if total is None or factors is None:
        return
    rounding = only_reader(total)
    activation = only_reader(rounding) if _is_rounding(rounding) else None
    if activation is None or activation.get_type_name() != "HSwish":
        return
    after = only_reader(activation)
    ends, grid = ends_and_grid(rounding)
    later_ends = ends_and_grid(after)[0] if _is_rounding(after) else None
    if ends is None or ends != grid or later_ends is None:
        return
    low, high, levels = ends
    step = (high - low) / (levels - 1)
    top = _steps(high * min(high + 3, 6) / 6, later_ends)
    if (
        levels > MAX_LEVELS
        or low > -3
        or high < 0  # not before then does it only increase
        or top < later_ends[2] - 1.5 + MARGIN
        or abs(low / step - round(low / step)) > MARGIN
    ):
        return
    opset = openvino.opset8

    def divided(values: np.ndarray) -> Any:
        return opset.constant((values.astype(np.float64) / step).astype(np.float32))

    scaled = opset.multiply(weights.input_value(0), divided(factors[1]))
    convolution.input(1).replace_source_output(scaled.output(0))
    total.input(1).replace_source_output(divided(total.input_value(1).get_node().data).output(0))
    rounded = opset.multiply(opset.round(total, "half_to_even"), opset.constant(np.float32(step)))
    rounding.output(0).replace(rounded.output(0))


def _is_rounding(node: Any) -> bool:
    return node is not None and node.get_type_name() == "FakeQuantize"


def _steps(values: Any, ends: Grid) -> Any:
    """How many steps from the low end values are."""
    low, high, levels = ends
    return (values - low) / (high - low) * (levels - 1)
