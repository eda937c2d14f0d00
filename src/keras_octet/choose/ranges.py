"""From calibrated ranges to the parameters of every tensor, under the operations' constraints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_octet.calibrate.calibration import Calibration
from keras_octet.capture.graph import tensor_name
from keras_octet.capture.origin import labels
from keras_octet.choose.fusion import FusedReLUs
from keras_octet.ops import Output, fixed_output, operation_of
from keras_octet.qparams import QParams
from keras_octet.recipe import Recipe


class Groups:
    """Disjoint sets of tensor names; the tensors of a set share their parameters."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        parent = self._parent.setdefault(name, name)
        if parent == name:
            return name
        self._parent[name] = root = self.find(parent)
        return root

    def join(self, first: str, second: str) -> None:
        self._parent[self.find(second)] = self.find(first)


def assign_qparams(
    nodes: list[Any],
    reasons: dict[str, str | None],
    fused: FusedReLUs,
    calibration: Calibration,
    recipe: Recipe,
) -> tuple[dict[str, QParams], dict[str, tuple[QParams, ...]]]:
    """Parameters of each tensor that is int8 somewhere, and those each operation needs as inputs.

    Where an operation needs other parameters than its input tensor has, a Requantize goes between.

    Returns:
        `(tensors, required)`: tensor name to parameters; operation name to one per input.
    """
    integer_nodes = [
        node
        for node in nodes
        if reasons[node.operation.name] is None and node.operation.name not in fused.host_of
    ]
    limits = {
        node.operation.name: node.operation.max_value
        for node in nodes
        if type(node.operation) is keras.layers.ReLU and node.operation.max_value is not None
    }
    groups, fixed = _group(integer_nodes, fused, limits)
    names_of = {
        node.operation.name: [
            *map(tensor_name, node.input_tensors),
            fused.output_of(node.operation.name),
        ]
        for node in integer_nodes
    }
    names = dict.fromkeys(name for row in names_of.values() for name in row)
    symmetric = {groups.find(name) for name in _symmetric(integer_nodes, names_of, recipe)}
    ranges: dict[str, tuple[float, float]] = {}
    for name in names:
        root = groups.find(name)
        low, high = calibration.range(name, symmetric=root in symmetric)
        known = ranges.get(root, (0.0, 0.0))
        ranges[root] = (min(low, known[0]), max(min(high, limits.get(name, high)), known[1]))
    for root in {groups.find(name) for name in _model_inputs(integer_nodes)} - symmetric:
        ranges[root] = with_both_ends(*ranges[root])

    tensors = {
        name: fixed.get(root) or QParams.from_range(*ranges[root], symmetric=root in symmetric)
        for name in names
        for root in [groups.find(name)]
    }
    required = {}
    for node in integer_nodes:
        layer = node.operation
        operation = operation_of(layer)
        *inputs, output = names_of[layer.name]
        if operation.output is Output.SHARED:
            required[layer.name] = (tensors[output],) * len(inputs)
            continue
        wanted = [tensors[name] for name in inputs]
        for i in operation.symmetric_inputs:
            if wanted[i].zero_point != 0:
                wanted[i] = QParams.from_range(*wanted[i].range, symmetric=True)
        required[layer.name] = tuple(wanted)
    return tensors, required


def with_both_ends(low: float, high: float) -> tuple[float, float]:
    """`[low, high]`, 0 inside, widened at one end until int8 can represent both ends.

    The zero point is rounded to an integer, which leaves one end up to half a step outside. That
    matters where many values lie on it: pixels from -1 to 1, 255 steps with 0 between two of them,
    would all round by half a step, and black and white with them.
    """
    if not low < 0 < high:
        return low, high
    exact = -low / (high - low) * 255  # Steps from low to 0.
    below = min(max(math.floor(exact), 1), 254)
    candidates = [
        (max(-low / steps, high / (255 - steps)), steps) for steps in (below, min(below + 1, 254))
    ]
    scale, steps = min(candidates)
    return -scale * steps, scale * (255 - steps)


def _symmetric(
    integer_nodes: list[Any], names_of: dict[str, list[str]], recipe: Recipe
) -> Iterator[str]:
    """The tensors that the recipe or an operation wants with zero point 0."""
    for node in integer_nodes:
        layer = node.operation
        scheme = recipe.scheme_for(labels(layer))
        if scheme is not None and scheme.activation_symmetric:
            yield names_of[layer.name][-1]
        yield from (names_of[layer.name][i] for i in operation_of(layer).symmetric_inputs)


def _model_inputs(integer_nodes: list[Any]) -> Iterator[str]:
    """The inputs of the model that are int8."""
    for node in integer_nodes:
        for tensor in node.input_tensors:
            if isinstance(tensor._keras_history.operation, keras.layers.InputLayer):
                yield tensor_name(tensor)


def _group(
    integer_nodes: list[Any], fused: FusedReLUs, limits: dict[str, float]
) -> tuple[Groups, dict[str, QParams]]:
    """Join the tensors that operations force to share their parameters.

    A pinned tensor (parameters fixed by the specification, or a range that stands for a ReLU's
    limit) is not joined with others by an operation of several inputs: their union would change it.

    Returns:
        the groups, and fixed parameters by the name of a group.
    """
    groups = Groups()
    fixed: dict[str, QParams] = {}
    pinned = {name for name, limit in limits.items() if limit != 6.0}
    for node in integer_nodes:
        layer = node.operation
        output = fused.output_of(layer.name)
        prescribed = fixed_output(layer)
        if prescribed is not None:
            fixed[groups.find(output)] = prescribed
            pinned.add(groups.find(output))
        if operation_of(layer).output is not Output.SHARED:
            continue
        inputs = [groups.find(tensor_name(tensor)) for tensor in node.input_tensors]
        if len(set(inputs)) == 1:
            groups.join(inputs[0], output)
            continue
        prescribed_inputs = {fixed.get(name) for name in inputs}
        if len(prescribed_inputs) == 1 and None not in prescribed_inputs:
            for name in inputs:
                groups.join(inputs[0], name)
            groups.join(inputs[0], output)
            continue
        for name in inputs:
            if name not in pinned:
                groups.join(output, name)
    return groups, fixed
