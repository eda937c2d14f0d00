"""What to quantize and how: observers' specifications, schemes, rules and recipes.

Everything here is frozen, keyword-only and checks itself when it is made. A recipe goes to
versioned JSON and back without loss. Nothing here computes: an observer specification
(`Percentile(...)`) becomes a running observer in `keras_octet.calibrate.observers.make_observer`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from keras_octet.errors import RecipeError

RECIPE_VERSION = 1
GRANULARITIES = ("per_channel", "per_tensor")
BOUNDARY_DTYPES = ("float32", "int8")


def _number(owner: str, field: str, value: Any, low: float, high: float) -> float:
    """`value` as a finite float with `low < value <= high`."""
    try:
        number = float("nan") if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not (math.isfinite(number) and low < number <= high):
        raise RecipeError(
            f"{owner}.{field} must be a number above {low:g} and at most {high:g}. "
            f"Received: {value!r}"
        )
    return number


def _integer(owner: str, field: str, value: Any, low: int, high: int) -> int:
    """`value` as an int with `low <= value <= high`."""
    try:
        number = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = low - 1
    if not low <= number <= high:
        expected = f"{low}" if low == high else f"an integer from {low} to {high}"
        raise RecipeError(f"{owner}.{field} must be {expected}. Received: {value!r}")
    return number


def _choice(owner: str, field: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise RecipeError(
            f"{owner}.{field} must be one of {', '.join(map(repr, choices))}. Received: {value!r}"
        )


def _flag(owner: str, field: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise RecipeError(f"{owner}.{field} must be True or False. Received: {value!r}")


def _instance(owner: str, field: str, value: Any, kind: type, hint: str) -> None:
    if not isinstance(value, kind):
        raise RecipeError(f"{owner}.{field} must be {hint}. Received: {value!r}")


def _known_keys(owner: str, config: Any, known: Iterable[str]) -> dict[str, Any]:
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


class _Configurable:
    """`get_config` and `from_config` of a dataclass of plain values and other configurables."""

    @classmethod
    def _fields(cls) -> list[str]:
        return [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        """The fields as JSON-compatible values."""
        return {name: _plain(getattr(self, name)) for name in self._fields()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `get_config`. Raises RecipeError on unknown keys or bad values."""
        values = _known_keys(cls.__name__, config, cls._fields())
        for name, kind in (("scheme", Scheme), ("observer", Observer)):
            if values.get(name) is not None:
                values[name] = kind.from_config(values[name])
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.get_config() if isinstance(value, _Configurable) else value


@dataclass(frozen=True, kw_only=True)
class Observer(_Configurable):
    """Specification of how a tensor's range is found from the values seen in calibration."""

    def get_config(self) -> dict[str, Any]:
        """The fields, with the class name under `"type"`."""
        return {"type": type(self).__name__} | super().get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Observer:
        """The observer specification named by `config["type"]`."""
        fields = dict(config) if isinstance(config, Mapping) else {}
        name = fields.pop("type", None)
        kind = OBSERVERS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise RecipeError(
                f"An observer's type must be one of {', '.join(map(repr, OBSERVERS))}. "
                f"Received: {config!r}"
            )
        return kind(**_known_keys(kind.__name__, fields, kind._fields()))


@dataclass(frozen=True, kw_only=True)
class MinMax(Observer):
    """The smallest and the largest value seen."""


@dataclass(frozen=True, kw_only=True)
class MovingAverage(Observer):
    """Exponential moving average of each sample's minimum and maximum.

    `average = momentum * average + (1 - momentum) * sample`, starting at the first sample.
    Depends on the order of the samples; not on how they are split into batches.

    Attributes:
        momentum: above 0, below 1.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        momentum = _number("MovingAverage", "momentum", self.momentum, 0.0, 1.0)
        if momentum == 1.0:
            raise RecipeError("MovingAverage.momentum must be below 1, or nothing is learned.")
        object.__setattr__(self, "momentum", momentum)


@dataclass(frozen=True, kw_only=True)
class _HistogramObserver(Observer):
    """An observer that reads the range off a histogram of at most `num_bins` bins."""

    def _set_num_bins(self, num_bins: int) -> None:
        num_bins = _integer(type(self).__name__, "num_bins", num_bins, 16, 2**20)
        object.__setattr__(self, "num_bins", num_bins)


@dataclass(frozen=True, kw_only=True)
class Percentile(_HistogramObserver):
    """The range between the `100 - percentile` and the `percentile` percentiles of the values.

    Attributes:
        percentile: above 50, at most 100; 100 is the same as MinMax.
        num_bins: most bins of the histogram; the range is resolved to about one bin.
    """

    percentile: float = 99.99
    num_bins: int = 2048

    def __post_init__(self) -> None:
        percentile = _number("Percentile", "percentile", self.percentile, 50.0, 100.0)
        object.__setattr__(self, "percentile", percentile)
        self._set_num_bins(self.num_bins)


@dataclass(frozen=True, kw_only=True)
class MSE(_HistogramObserver):
    """The range with the least mean squared error between the values and their int8 form."""

    num_bins: int = 2048

    def __post_init__(self) -> None:
        self._set_num_bins(self.num_bins)


@dataclass(frozen=True, kw_only=True)
class Entropy(_HistogramObserver):
    """The range that keeps the distribution closest, in Kullback-Leibler divergence, in int8."""

    num_bins: int = 2048

    def __post_init__(self) -> None:
        self._set_num_bins(self.num_bins)


OBSERVERS: dict[str, type[Observer]] = {
    kind.__name__: kind for kind in (MinMax, MovingAverage, Percentile, MSE, Entropy)
}
_OBSERVER_HINT = "an observer such as " + ", ".join(f"{name}()" for name in OBSERVERS)


@dataclass(frozen=True, kw_only=True)
class Scheme(_Configurable):
    """How one operation is quantized.

    Attributes:
        weight_bits: 2 to 8; weights are symmetric integers of at most `2^(bits-1) - 1`.
        weight_granularity: `"per_channel"` (one scale for each output channel) or `"per_tensor"`.
        activation_bits: 8.
        activation_symmetric: zero point 0 for activations.
        observer: how the ranges of the operation's outputs are found.
    """

    weight_bits: int = 8
    weight_granularity: str = "per_channel"
    activation_bits: int = 8
    activation_symmetric: bool = False
    observer: Observer = MinMax()

    def __post_init__(self) -> None:
        bits = _integer("Scheme", "weight_bits", self.weight_bits, 2, 8)
        object.__setattr__(self, "weight_bits", bits)
        _choice("Scheme", "weight_granularity", self.weight_granularity, GRANULARITIES)
        bits = _integer("Scheme", "activation_bits", self.activation_bits, 8, 8)
        object.__setattr__(self, "activation_bits", bits)
        _flag("Scheme", "activation_symmetric", self.activation_symmetric)
        _instance("Scheme", "observer", self.observer, Observer, _OBSERVER_HINT)


@dataclass(frozen=True, kw_only=True)
class Rule(_Configurable):
    """An exception to a recipe's scheme for the operations that match.

    Attributes:
        name: name of a layer, or a pattern with `*`, `?` and `[...]` (`fnmatch`, case matters).
        layer_type: class name of a layer, such as `"Conv2D"`, or a pattern. With both `name` and
            `layer_type` given, both must match.
        keep_float: leave the operation in float32.
        scheme: replaces the recipe's scheme.
        observer: replaces the observer of the scheme.
    """

    name: str | None = None
    layer_type: str | None = None
    keep_float: bool = False
    scheme: Scheme | None = None
    observer: Observer | None = None

    def __post_init__(self) -> None:
        for field in ("name", "layer_type"):
            value = getattr(self, field)
            if value is not None and not (isinstance(value, str) and value):
                raise RecipeError(
                    f"Rule.{field} must be a name or a pattern such as 'conv*'. Received: {value!r}"
                )
        if self.name is None and self.layer_type is None:
            raise RecipeError("A Rule needs `name`, `layer_type` or both, to say what it matches.")
        _flag("Rule", "keep_float", self.keep_float)
        if self.scheme is not None:
            _instance("Rule", "scheme", self.scheme, Scheme, "a Scheme or None")
        if self.observer is not None:
            _instance("Rule", "observer", self.observer, Observer, _OBSERVER_HINT + ", or None")
        changes = self.scheme is not None or self.observer is not None
        if self.keep_float and changes:
            raise RecipeError(
                f"A Rule with keep_float=True cannot also have a scheme or an observer. "
                f"Received: {self!r}"
            )
        if not (self.keep_float or changes):
            raise RecipeError(
                f"A Rule needs `keep_float=True`, `scheme` or `observer`, to say what it changes. "
                f"Received: {self!r}"
            )

    def matches(self, name: str, type_name: str) -> bool:
        """Whether the rule is about the operation `name` of class `type_name`."""
        return (self.name is None or fnmatchcase(name, self.name)) and (
            self.layer_type is None or fnmatchcase(type_name, self.layer_type)
        )


@dataclass(frozen=True, kw_only=True)
class Recipe(_Configurable):
    """How a whole model is quantized: one scheme, and rules for the exceptions.

    Attributes:
        scheme: for every operation no rule matches.
        rules: the first rule that matches an operation decides.
        input_dtype: `"float32"` (the quantized model quantizes its inputs) or `"int8"`.
        output_dtype: `"float32"` (the quantized model dequantizes its outputs) or `"int8"`.
    """

    scheme: Scheme = Scheme()
    rules: tuple[Rule, ...] = ()
    input_dtype: str = "float32"
    output_dtype: str = "float32"

    def __post_init__(self) -> None:
        _instance("Recipe", "scheme", self.scheme, Scheme, "a Scheme")
        if isinstance(self.rules, (str, Mapping)) or not isinstance(self.rules, Iterable):
            raise RecipeError(f"Recipe.rules must be a tuple of Rule. Received: {self.rules!r}")
        object.__setattr__(self, "rules", tuple(self.rules))
        for rule in self.rules:
            _instance("Recipe", "rules", rule, Rule, "a tuple of Rule")
        _choice("Recipe", "input_dtype", self.input_dtype, BOUNDARY_DTYPES)
        _choice("Recipe", "output_dtype", self.output_dtype, BOUNDARY_DTYPES)

    def rule_for(self, name: str, type_name: str) -> Rule | None:
        """The first rule that matches the operation, or None."""
        return next((rule for rule in self.rules if rule.matches(name, type_name)), None)

    def scheme_for(self, name: str, type_name: str) -> Scheme | None:
        """The scheme of the operation `name` of class `type_name`; None keeps it in float."""
        rule = self.rule_for(name, type_name)
        if rule is None:
            return self.scheme
        if rule.keep_float:
            return None
        scheme = rule.scheme or self.scheme
        if rule.observer is not None:
            scheme = dataclasses.replace(scheme, observer=rule.observer)
        return scheme

    def observer_for(self, name: str, type_name: str) -> Observer:
        """The observer of the operation's outputs.

        An operation kept in float has the recipe's own: its output is still quantized where an
        integer operation reads it.
        """
        return (self.scheme_for(name, type_name) or self.scheme).observer

    def unmatched(self, operations: Iterable[tuple[str, str]]) -> tuple[Rule, ...]:
        """The rules that match none of `operations`, pairs of name and class name.

        A rule hidden behind earlier rules matches, and so is not reported.
        """
        pairs = tuple(operations)
        return tuple(
            rule for rule in self.rules if not any(rule.matches(*operation) for operation in pairs)
        )

    def get_config(self) -> dict[str, Any]:
        """The recipe as nested dicts of JSON-compatible values, with a `"version"`."""
        return {"version": RECIPE_VERSION} | super().get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `get_config`. Raises RecipeError on another version or bad values."""
        values = _known_keys("Recipe", config, ["version", *cls._fields()])
        version = values.pop("version", None)
        if version != RECIPE_VERSION:
            raise RecipeError(
                f"This release reads recipes of version {RECIPE_VERSION}. Received: {version!r}"
            )
        rules = values.get("rules", [])
        if not isinstance(rules, (list, tuple)):
            raise RecipeError(f"Recipe.rules must be a list of rules. Received: {rules!r}")
        values["rules"] = tuple(Rule.from_config(rule) for rule in rules)
        return super().from_config(values)

    def to_json(self) -> str:
        """The recipe as JSON text."""
        return json.dumps(self.get_config(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`. Raises RecipeError if `text` is not a valid recipe."""
        try:
            config = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise RecipeError(f"The recipe is not valid JSON: {error}") from None
        return cls.from_config(config)


class recipes:  # noqa: N801 - a namespace, read as `recipes.w8a8()`
    """Ready-made recipes."""

    @staticmethod
    def w8a8(
        *,
        keep_float: str | Iterable[str] = (),
        keep_float_types: str | Iterable[str] = (),
        rules: Iterable[Rule] = (),
        weight_granularity: str = "per_channel",
        activation_symmetric: bool = False,
        observer: Observer = MinMax(),
        input_dtype: str = "float32",
        output_dtype: str = "float32",
        **unknown: Any,
    ) -> Recipe:
        """8-bit weights and 8-bit activations.

        Args:
            keep_float: names, or patterns such as `"conv_*"`, of layers to keep in float32.
            keep_float_types: the same for class names of layers, such as `"Softmax"`.
            rules: further rules; those of `keep_float` and `keep_float_types` come first.
            weight_granularity: `"per_channel"` or `"per_tensor"`.
            activation_symmetric: zero point 0 for activations.
            observer: how ranges of activations are found.
            input_dtype: `"float32"` or `"int8"`.
            output_dtype: `"float32"` or `"int8"`.
            **unknown: raises; present so that a misspelt argument is a RecipeError.

        Raises:
            RecipeError: an argument or a value is not valid; the message has the valid ones.
        """
        known = inspect.signature(recipes.w8a8).parameters
        _known_keys("recipes.w8a8", unknown, (name for name in known if name != "unknown"))
        kept = [
            *(Rule(name=name, keep_float=True) for name in _names("keep_float", keep_float)),
            *(
                Rule(layer_type=name, keep_float=True)
                for name in _names("keep_float_types", keep_float_types)
            ),
        ]
        if isinstance(rules, Rule) or not isinstance(rules, Iterable):
            raise RecipeError(f"recipes.w8a8: rules must be a list of Rule. Received: {rules!r}")
        return Recipe(
            scheme=Scheme(
                weight_granularity=weight_granularity,
                activation_symmetric=activation_symmetric,
                observer=observer,
            ),
            rules=(*kept, *rules),
            input_dtype=input_dtype,
            output_dtype=output_dtype,
        )


def _names(argument: str, value: Any) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise RecipeError(
            f"recipes.w8a8: {argument} must be a list of names or patterns. Received: {value!r}"
        )
    return tuple(names)
