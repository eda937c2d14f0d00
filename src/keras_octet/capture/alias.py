"""Shallow copies of operations: the same variables, another place in a graph."""

from __future__ import annotations

from typing import Any


def alias(operation: Any, name: str | None = None, **settings: Any) -> Any:
    """A shallow copy of a layer or Operation with its own nodes; variables are shared.

    `__init__` and `__setattr__` are bypassed: the copy is built and tracks what the original does,
    and making it costs microseconds.

    Args:
        operation: layer or Operation; not changed.
        name: another name for the copy.
        **settings: attributes that differ in the copy.
    """
    copy = object.__new__(type(operation))
    attributes = dict(operation.__dict__)
    attributes.pop("build", None)  # Wrappers bound to the original.
    attributes.pop("quantize", None)
    attributes["_inbound_nodes"] = []
    attributes["_outbound_nodes"] = []
    if name is not None:
        attributes["name"] = name
    copy.__dict__.update(attributes, **settings)
    return copy
