"""Frozen dataclasses to JSON-compatible values and back, checked against their annotations."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from keras_octet.errors import ValidationError

ResultType = TypeVar("ResultType")
NOT_FINITE = ("inf", "-inf", "nan")


def encode(value: Any) -> Any:
    """Nested dicts and lists; JSON has no infinity, so floats that are not finite become text."""
    if dataclasses.is_dataclass(value):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def decode(kind: type[ResultType], value: Any, where: str = "report") -> ResultType:
    """The inverse of `encode`.

    Args:
        kind: dataclass, or another annotation that its fields have.
        value: what `encode` gave.
        where: path of the value, for messages.

    Raises:
        ValidationError: a field is missing, unknown or of another type.
    """
    return typing.cast(ResultType, _decode(kind, value, where))


def _decode(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _decode(kind, value, where)
    if origin is tuple and isinstance(value, list):
        if arguments[1:] == (Ellipsis,):
            arguments = arguments[:1] * len(value)
        if len(arguments) == len(value):
            pairs = enumerate(zip(arguments, value, strict=True))
            return tuple(_decode(each, item, f"{where}[{i}]") for i, (each, item) in pairs)
    elif origin is dict and isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: _decode(arguments[1], item, f"{where}.{k}") for k, item in value.items()}
    elif kind is float and (_is_number(value) or value in NOT_FINITE):
        return float(value)
    elif kind in (str, int, bool) and type(value) is kind:
        return value
    raise ValidationError(f"{where}: expected {kind}. Received: {str(value)[:80]!r}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _decode_fields(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValidationError(f"{where}: expected an object. Received: {str(value)[:80]!r}")
    hints = _hints(kind)
    if hints.keys() != value.keys():
        differing = sorted(map(str, hints.keys() ^ value.keys()))
        raise ValidationError(f"{where}: missing or unknown entries {', '.join(differing)[:200]}.")
    return kind(**{name: _decode(hints[name], value[name], f"{where}.{name}") for name in hints})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
