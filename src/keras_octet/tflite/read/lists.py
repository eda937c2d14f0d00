"""Setting an item of a tensor list, as TensorFlow writes it in the loops of recurrent layers.

What comes before the item, the item, and what comes after it are concatenated. The two ends have
sizes that change from step to step, which compiled backends do not allow; the whole does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.layers import operators
from keras_octet.tflite.graph import Operator
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.parse import Subgraph

SET_ROW = "SET_ROW"
"""The operator that stands for such a group; no file has it."""


_LEAST_INPUTS = {"SLICE": 3, "CONCATENATION": 2, "ADD": 2}
# What computes the ends of the list, the item as a row, and their sizes.
_PARTS = ("SLICE", "CONCATENATION", "RESHAPE", "EXPAND_DIMS")


def fuse_lists(graph: Subgraph) -> None:
    """Replace each such group by one operator of the list, `index`, `index + 1` and the item."""
    makers = {output: operator for operator in graph.operators for output in operator.outputs}
    fused = False
    for position, operator in enumerate(graph.operators):
        found = _Group(graph, makers).match(operator)
        if found is not None:
            graph.operators[position] = Operator(SET_ROW, found, operator.outputs)
            fused = True
    if fused:
        _drop_unread(graph)


def _drop_unread(graph: Subgraph) -> None:
    """Take out what computed parts of the lists, and nobody reads now."""
    read, kept = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if operator.code not in _PARTS or read.intersection(operator.outputs):
            read.update(operator.inputs)
            kept.append(operator)
    graph.operators = kept[::-1]


def read_set_row(call: ReadCall) -> Any:
    """What `fuse_lists` makes."""
    return operators.SetRow(name=call.name)([call.tensor(i) for i in range(4)])


@dataclass
class _Group:
    graph: Subgraph
    makers: dict[int, Operator]

    def match(self, joined: Operator) -> list[int] | None:
        options = joined.options
        if joined.code != "CONCATENATION" or len(joined.inputs) != 3:
            return None
        if not isinstance(options, schema.ConcatenationOptionsT):
            return None
        if options.axis or options.fusedActivationFunction:
            return None
        before, item, after = (
            self._made(i, *codes)
            for i, codes in zip(
                joined.inputs, (("SLICE",), ("RESHAPE", "EXPAND_DIMS"), ("SLICE",)), strict=True
            )
        )
        if before is None or item is None or after is None:
            return None
        rows, rank = before.inputs[0], len(self.graph.tensors[before.inputs[0]].shape)
        index, following = self._row(before.inputs[2], -1), self._row(after.inputs[1], 0)
        if index is None or following is None or after.inputs[0] != rows or rank < 1:
            return None
        row = self.graph.tensors[item.inputs[0]].shape
        if (
            self._is(before.inputs[1], [0] * rank)
            and self._is(after.inputs[2], [-1] * rank)
            and row == self.graph.tensors[rows].shape[1:]
            and self._follows(following, index)
        ):
            return [rows, index, following, item.inputs[0]]
        return None

    def _made(self, index: int, *codes: str) -> Operator | None:
        """The operator of these codes that makes a tensor; None if it lacks inputs."""
        maker = self.makers.get(index)
        if maker is None or maker.code not in codes or min(maker.inputs, default=-1) < 0:
            return None
        return maker if len(maker.inputs) >= _LEAST_INPUTS.get(maker.code, 1) else None

    def _is(self, index: int, values: list[int]) -> bool:
        data = self.graph.tensors[index].data
        return data is not None and np.array_equal(data.reshape(-1), values)

    def _row(self, index: int, rest: int) -> int | None:
        """`i`, if a tensor is `[i]` or `[i, rest, rest, ...]`."""
        joined = self._made(index, "CONCATENATION")
        if joined is not None:
            others = self.graph.tensors[joined.inputs[-1]].data
            if len(joined.inputs) != 2 or others is None or not (others == rest).all():
                return None
            index = joined.inputs[0]
        vector = self._made(index, "RESHAPE", "EXPAND_DIMS")
        if vector is None:
            return None
        source = vector.inputs[0]
        return source if self.graph.tensors[source].shape == () else None

    def _follows(self, following: int, index: int) -> bool:
        added = self._made(following, "ADD")
        if added is None or index not in added.inputs or len(added.inputs) != 2:
            return False
        return self._is(added.inputs[1 - added.inputs.index(index)], [1])
