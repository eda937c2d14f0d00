"""Which of the caller's layers an operation of a flat model comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Label = tuple[str, str]  # A name and a class name.

_ATTRIBUTE = "_octet_origin"


def set_origin(operation: Any, layers: Sequence[Any]) -> None:
    """Remember that `operation` comes from the last of `layers`, which is inside the others."""
    operation.__dict__[_ATTRIBUTE] = tuple((x.name, type(x).__name__) for x in layers)


def copy_origin(source: Any, target: Any) -> Any:
    """`target`, which is to come from where `source` does."""
    target.__dict__[_ATTRIBUTE] = source.__dict__.get(_ATTRIBUTE, ())
    return target


def type_name(operation: Any) -> str:
    """Class name to report: that of the caller's layer, for what bears its name."""
    origin: tuple[Label, ...] = operation.__dict__.get(_ATTRIBUTE, ())
    names = [name for name, _ in origin]
    if origin and operation.name in (names[-1], "_".join(names)):
        return origin[-1][1]
    return type(operation).__name__


def labels(operation: Any) -> tuple[Label, ...]:
    """What a recipe's rules may call an operation: pairs of a name and a class name.

    Its own; those of the caller's layer it comes from and of the models and composite layers around
    that; and each of these by its path, as in `"encoder/block_1/conv"`.
    """
    origin: tuple[Label, ...] = operation.__dict__.get(_ATTRIBUTE, ())
    found = [(operation.name, type(operation).__name__)]
    for depth, (name, kind) in enumerate(origin, start=1):
        path = "/".join(part for part, _ in origin[:depth])
        found += [(name, kind), (path, kind)]
    return tuple(dict.fromkeys(found))
