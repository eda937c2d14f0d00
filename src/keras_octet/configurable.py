"""Frozen dataclasses that go to JSON and back, and the checks of their fields.

Each check raises a RecipeError that names the owner, the field, what was expected and what came.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from keras_octet.errors import RecipeError


class Configurable:
    """Base of dataclasses whose fields are plain values and other configurables.

    Attributes:
        parts: the class of each field that is a configurable.
    """

    parts: ClassVar[Mapping[str, type[Configurable]]] = {}

    @classmethod
    def field_names(cls) -> list[str]:
        """Names of the constructor's arguments."""
        return [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        """The fields as JSON-compatible values."""
        return {name: _plain(getattr(self, name)) for name in self.field_names()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `get_config`. Raises RecipeError on unknown keys or bad values."""
        values = known_keys(cls.__name__, config, cls.field_names())
        for name, kind in cls.parts.items():
            if values.get(name) is not None:
                values[name] = kind.from_config(values[name])
        return cls(**values)

    def __repr__(self) -> str:
        """The fields that are not as by default."""
        changed = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        )
        return f"{type(self).__name__}({', '.join(changed)})"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.get_config() if isinstance(value, Configurable) else value


def number(owner: str, field: str, value: Any, low: float, high: float) -> float:
    """`value` as a finite float with `low < value <= high`."""
    try:
        found = float("nan") if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not (math.isfinite(found) and low < found <= high):
        raise RecipeError(
            f"{owner}.{field} must be a number above {low:g} and at most {high:g}. "
            f"Received: {value!r}"
        )
    return found


def integer(owner: str, field: str, value: Any, low: int, high: int) -> int:
    """`value` as an int with `low <= value <= high`."""
    try:
        found = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = low - 1
    if not low <= found <= high:
        expected = f"{low}" if low == high else f"an integer from {low} to {high}"
        raise RecipeError(f"{owner}.{field} must be {expected}. Received: {value!r}")
    return found


def choice(owner: str, field: str, value: Any, choices: tuple[str, ...]) -> None:
    """Check that `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise RecipeError(
            f"{owner}.{field} must be one of {', '.join(map(repr, choices))}. Received: {value!r}"
        )


def flag(owner: str, field: str, value: Any) -> None:
    """Check that `value` is True or False."""
    if not isinstance(value, bool):
        raise RecipeError(f"{owner}.{field} must be True or False. Received: {value!r}")


def instance(owner: str, field: str, value: Any, kind: type, hint: str) -> None:
    """Check the class of `value`; `hint` says in words what is expected."""
    if not isinstance(value, kind):
        raise RecipeError(f"{owner}.{field} must be {hint}. Received: {value!r}")


def known_keys(owner: str, config: Any, known: Iterable[str]) -> dict[str, Any]:
    """`config` as a dict, after checking that each key is one of `known`."""
    if not isinstance(config, Mapping):
        raise RecipeError(f"The configuration of {owner} must be a dict. Received: {config!r}")
    known = tuple(known)
    unknown = [key for key in config if key not in known]
    if unknown:
        raise RecipeError(
            f"{owner} has no argument {', '.join(map(repr, unknown))}. "
            f"Valid arguments: {', '.join(known) or 'none'}"
        )
    return dict(config)
