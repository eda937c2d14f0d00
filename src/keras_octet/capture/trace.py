"""Tracing the `call` of a caller's layer on symbolic tensors; the layer is left as found.

Calling a layer on KerasTensors records a node on it and on the layers before it. The nodes are what
we want; the traces on the caller's layers are not, so they are removed again, also on failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from keras_octet.capture import keras_private
from keras_octet.capture.graph import nodes_between
from keras_octet.capture.keras_private import tree
from keras_octet.errors import CaptureError

_STATE = ("built", "_called", "_path", "_parent_path", "_build_shapes_dict")


class TraceError(Exception):
    """A `call` could not be traced on symbolic tensors."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a traced `call` did: `nodes` from `inputs` to `outputs` (a structure)."""

    inputs: list[keras.KerasTensor]
    outputs: Any
    nodes: list[Any]


def trace(
    function: Callable[..., Any],
    layers: Iterable[keras.layers.Layer],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Trace:
    """Call `function` on fresh KerasTensors and collect the nodes between its inputs and outputs.

    Args:
        function: `call` of a layer, or an activation function.
        layers: the layers that may take part; they are left as they were.
        args, kwargs: KerasTensors in them give shapes and dtypes, other values are passed on.

    Raises:
        TraceError: the function failed, built a layer or gave something else than KerasTensors.
    """
    inputs: list[keras.KerasTensor] = []

    def placeholder(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        tensor = keras.KerasTensor(value.shape, dtype=value.dtype)
        if keras_private.get_mask(value) is not None:
            keras_private.set_mask(tensor, keras_private.get_mask(value))
        inputs.append(tensor)
        return tensor

    args, kwargs = tree.map_structure(placeholder, (args, kwargs))
    layers = list(layers)
    with (
        _as_found(layers),
        keras.StatelessScope() as scope,
        keras_private.inference_call_context(),
        keras_private.variables_defer_to_symbolic(),
    ):
        try:
            outputs = function(*args, **kwargs)
        except Exception as error:
            raise TraceError(f"{type(error).__name__}: {error}") from error
        leaves = tree.flatten(outputs)
        if not leaves or not all(isinstance(leaf, keras.KerasTensor) for leaf in leaves):
            raise TraceError(
                "the result must be made of tensors that depend on the inputs. "
                f"Received: {[type(leaf).__name__ for leaf in leaves]}"
            )
        for layer in layers:
            for generator in layer._seed_generators:
                if scope.get_current_value(generator.state) is not None:
                    raise TraceError(f"layer {layer.name!r} draws random numbers")
        try:
            nodes = nodes_between(inputs, leaves)
        except CaptureError as error:
            raise TraceError(str(error)) from error
        known = {id(layer) for layer in layers}
        for node in nodes:  # Layers that Keras does not track as sub-layers.
            if id(node.operation) not in known and node in node.operation._inbound_nodes:
                node.operation._inbound_nodes.remove(node)
    return Trace(inputs=inputs, outputs=outputs, nodes=nodes)


@contextmanager
def _as_found(layers: Iterable[keras.layers.Layer]) -> Iterator[None]:
    """Undo what symbolic calls change on layers: nodes, flags; refuse to build a layer."""
    snapshots = []
    for layer in layers:
        state = {key: layer.__dict__[key] for key in _STATE if key in layer.__dict__}
        lengths = len(layer._inbound_nodes), len(layer._outbound_nodes)
        snapshots.append((layer, state, lengths))
        if not layer.built:
            layer.__dict__["_maybe_build"] = _refuse_to_build(layer)
    try:
        yield
    finally:
        for layer, state, (num_inbound, num_outbound) in snapshots:
            del layer._inbound_nodes[num_inbound:]
            del layer._outbound_nodes[num_outbound:]
            layer.__dict__.pop("_maybe_build", None)
            layer.__dict__.update(state)


def _refuse_to_build(layer: keras.layers.Layer) -> Callable[..., None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        stateless = getattr(layer.build, "_is_default", False) and not layer._layers
        if not stateless:
            raise RuntimeError(
                f"layer {layer.name!r} is not built. Call the model once on data first."
            )

    return refuse
