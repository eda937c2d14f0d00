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
    only_reader,
    pads_with_value_of,
)

# So far from halfway between two values, in steps, it is certain to which one float32 rounds.
MARGIN = 1e-3
# With more the steps are too small for that.
MAX_LEVELS = 256


def round_less(model: Any) -> None:
    """Rewrite an `openvino.Model` in place.

    Finite values that are not halfway between two steps stay, but for what only HARD_SWISH reads.
    """
    _round_once(model)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "GroupConvolution":
            _rescale_while_rounding(node)
    _take_out_before_hard_swish(model)


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


def _take_out_before_hard_swish(model: Any) -> None:
    """Neither round nor clip what only HSwish reads: a float model does not either.

    Outputs come closer to the float model's and move away from LiteRT's.
    """
    for node in model.get_ordered_ops():
        reader = only_reader(node) if _is_rounding(node) else None
        if reader is None or reader.get_type_name() != "HSwish":
            continue
        ends, grid = ends_and_grid(node)
        if ends is not None and ends == grid:
            node.output(0).replace(node.input_value(0))


def _is_rounding(node: Any) -> bool:
    return node is not None and node.get_type_name() == "FakeQuantize"


def _steps(values: Any, ends: Grid) -> Any:
    """How many steps from the low end values are."""
    low, high, levels = ends
    return (values - low) / (high - low) * (levels - 1)
