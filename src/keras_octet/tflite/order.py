"""The order in which the nodes of a functional model become operators."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from keras_octet.errors import ExportError


def in_order(nodes: list[Any], names: Sequence[str]) -> list[Any]:
    """Nodes as near to the order of `names` as their inputs allow; what has no name comes last.

    What reads a variable comes before what assigns it next.

    Args:
        nodes: of a functional model, producers before consumers.
        names: of operations; may be empty.

    Raises:
        ExportError: a variable would have two values at once.
    """
    places = {name: place for place, name in enumerate(names)}
    priority = [(places.get(node.operation.name, len(places)), i) for i, node in enumerate(nodes)]
    needed = _needed(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for i, sources in enumerate(needed):
        for source in sources:
            readers[source].append(i)
    ready = [priority[i] for i, sources in enumerate(needed) if not sources]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, i = heapq.heappop(ready)
        ordered.append(nodes[i])
        for reader in readers[i]:
            needed[reader].discard(i)
            if not needed[reader]:
                heapq.heappush(ready, priority[reader])
    if len(ordered) < len(nodes):
        raise ExportError("The model reads a value of a variable after assigning the next one.")
    return ordered


def _needed(nodes: list[Any]) -> list[set[int]]:
    """The nodes that must come before each."""
    maker = {id(tensor): i for i, node in enumerate(nodes) for tensor in node.outputs}
    needed = [{maker[id(x)] for x in node.input_tensors if id(x) in maker} for node in nodes]
    read_by: dict[int, set[int]] = defaultdict(set)
    for i, node in enumerate(nodes):
        for tensor in node.input_tensors:
            read_by[id(tensor)].add(i)
    for i, node in enumerate(nodes):
        for position in getattr(node.operation, "variable_positions", ()):
            needed[i] |= read_by[id(node.input_tensors[position])] - {i}
    return needed
