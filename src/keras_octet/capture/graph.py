"""Reading the functional Keras graph: nodes in topological order, tensor names, consumers.

The graph of a functional `keras.Model` is the only graph of the library. These helpers are the one
place that knows how Keras stores it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

from keras_octet.errors import CaptureError


def functional_of(model: keras.Model) -> Any:
    """The functional graph behind a Functional or a built Sequential model, else None."""
    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    return model if hasattr(model, "_nodes_by_depth") else None


def iter_nodes(model: keras.Model, *, inputs: bool = False) -> Iterator[Any]:
    """Yield the nodes (calls of operations) of a functional model, producers before consumers.

    A node has `operation` (a layer or a `keras.ops` Operation), `input_tensors` and `outputs`
    (flat lists of KerasTensors), `arguments.args`, `arguments.kwargs` and `is_input`.

    Args:
        model: Functional or built Sequential model.
        inputs: also yield the nodes of the InputLayers.

    Raises:
        CaptureError: the model has no functional graph.
    """
    functional = functional_of(model)
    if functional is None:
        raise CaptureError(
            f"Expected a functional model. Received: {model.name!r} of class "
            f"{type(model).__name__}. Call keras_octet.capture.capture(model) first."
        )
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if inputs or not node.is_input:
                yield node


def producer(tensor: keras.KerasTensor) -> Any:
    """The node whose call made `tensor`."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def nodes_between(inputs: list[keras.KerasTensor], outputs: list[keras.KerasTensor]) -> list[Any]:
    """The nodes that lead from inputs to outputs, producers before consumers.

    Raises:
        CaptureError: an output depends on a symbolic tensor that is not among the inputs.
    """
    known = {id(tensor) for tensor in inputs}
    ordered: list[Any] = []
    seen: set[int] = set()
    for output in outputs:
        stack = [(output, False)]
        while stack:
            tensor, expanded = stack.pop()
            if id(tensor) in known:
                continue
            history = getattr(tensor, "_keras_history", None)
            node = None if history is None or history.operation is None else producer(tensor)
            if node is None or node.is_input:
                raise CaptureError("the result depends on a symbolic tensor made elsewhere")
            if id(node) in seen:
                continue
            if expanded:
                seen.add(id(node))
                ordered.append(node)
            else:
                stack.append((tensor, True))
                stack.extend((source, False) for source in reversed(node.input_tensors))
    return ordered


def tensor_name(tensor: keras.KerasTensor) -> str:
    """Name of a tensor of a flat model: the name of the operation that makes it.

    Output `i > 0` of an operation gets the suffix `":i"`; a model input has the name of its
    InputLayer.
    """
    history = tensor._keras_history
    name: str = history.operation.name
    return f"{name}:{history.tensor_index}" if history.tensor_index else name


def count_consumers(model: keras.Model) -> Counter[int]:
    """How often each tensor (by `id`) is read, an output of the model counting as one reader."""
    counts: Counter[int] = Counter()
    for node in iter_nodes(model):
        counts.update(id(tensor) for tensor in node.input_tensors)
    counts.update(id(tensor) for tensor in model.outputs)
    return counts
