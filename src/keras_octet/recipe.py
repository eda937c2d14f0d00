"""What to quantize and how: schemes, rules and recipes.

Everything here is frozen, keyword-only and checks itself when it is made. A recipe goes to
versioned JSON and back without loss. Nothing here computes.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self

from keras_octet.configurable import Configurable, choice, flag, instance, integer, known_keys
from keras_octet.errors import RecipeError
from keras_octet.keras_quantizers import is_keras_quantizer, scheme_arguments
from keras_octet.observer_specs import DEFAULT_OBSERVER, OBSERVER_HINT, Observer

RECIPE_VERSION = 1
GRANULARITIES = ("per_channel", "per_tensor")
WEIGHT_ROUNDINGS = ("squant", "nearest")
BOUNDARY_DTYPES = ("float32", "int8")

Labels = Collection[tuple[str, str]]
"""What an operation may be called in a rule: pairs of a name and a class name."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Scheme(Configurable):
    """How one operation is quantized.

    Attributes:
        weight_bits: 2 to 8; weights are symmetric integers of at most `2^(bits-1) - 1`.
        weight_granularity: `"per_channel"` (one scale for each output channel) or `"per_tensor"`.
        weight_rounding: `"squant"` (so that the errors of each channel cancel) or `"nearest"`.
        bias_correction: take off the bias what rounding the weights adds to the output on average.
        activation_bits: 8.
        activation_symmetric: zero point 0 for activations.
        observer: how the ranges of the operation's outputs are found.
    """

    parts: ClassVar[Mapping[str, type[Configurable]]] = {"observer": Observer}

    weight_bits: int = 8
    weight_granularity: str = "per_channel"
    weight_rounding: str = "squant"
    bias_correction: bool = True
    activation_bits: int = 8
    activation_symmetric: bool = False
    observer: Observer = DEFAULT_OBSERVER

    def __post_init__(self) -> None:
        bits = integer("Scheme", "weight_bits", self.weight_bits, 2, 8)
        object.__setattr__(self, "weight_bits", bits)
        choice("Scheme", "weight_granularity", self.weight_granularity, GRANULARITIES)
        choice("Scheme", "weight_rounding", self.weight_rounding, WEIGHT_ROUNDINGS)
        flag("Scheme", "bias_correction", self.bias_correction)
        bits = integer("Scheme", "activation_bits", self.activation_bits, 8, 8)
        object.__setattr__(self, "activation_bits", bits)
        flag("Scheme", "activation_symmetric", self.activation_symmetric)
        instance("Scheme", "observer", self.observer, Observer, OBSERVER_HINT)

    @classmethod
    def from_keras(cls, quantizer: Any) -> Self:
        """The scheme that quantizes weights as a `keras.quantizers.AbsMaxQuantizer` does.

        `Recipe` and `Rule` do this with a quantizer that they are given as `scheme`. Activations
        are as by default: Keras has no quantizer with one calibrated scale for a tensor.

        Raises:
            RecipeError: no scheme means the same, as for Keras's quantization configs; the message
                says what is different.
        """
        return cls(**scheme_arguments(quantizer))


@dataclass(frozen=True, kw_only=True, repr=False)
class Rule(Configurable):
    """An exception to a recipe's scheme for the operations that match.

    Attributes:
        name: name of a layer, or a pattern with `*`, `?` and `[...]` (`fnmatch`, case matters). A
            layer inside a model or composite layer also goes by its path, as in `"encoder/conv"`;
            the name of a model or composite layer stands for all that is inside.
        layer_type: class name of a layer, such as `"Conv2D"`, or a pattern. With both `name` and
            `layer_type` given, both must match the same layer.
        keep_float: leave the operation in float32.
        scheme: replaces the recipe's scheme; or a quantizer that `Scheme.from_keras` takes.
        observer: replaces the observer of the scheme.
    """

    parts: ClassVar[Mapping[str, type[Configurable]]] = {"scheme": Scheme, "observer": Observer}

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
        flag("Rule", "keep_float", self.keep_float)
        if self.scheme is not None:
            _set_scheme(self, "a Scheme or None")
        if self.observer is not None:
            instance("Rule", "observer", self.observer, Observer, OBSERVER_HINT + ", or None")
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

    def matches(self, labels: Labels) -> bool:
        """Whether the rule is about an operation with these labels."""
        return any(
            (self.name is None or fnmatchcase(name, self.name))
            and (self.layer_type is None or fnmatchcase(type_name, self.layer_type))
            for name, type_name in labels
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe(Configurable):
    """How a whole model is quantized: one scheme, and rules for the exceptions.

    Attributes:
        scheme: for every operation no rule matches; or a quantizer that `Scheme.from_keras` takes.
        rules: the first rule that matches an operation decides.
        input_dtype: `"float32"` (the quantized model quantizes its inputs) or `"int8"`.
        output_dtype: `"float32"` (the quantized model dequantizes its outputs) or `"int8"`.
    """

    parts: ClassVar[Mapping[str, type[Configurable]]] = {"scheme": Scheme}

    scheme: Scheme = Scheme()
    rules: tuple[Rule, ...] = ()
    input_dtype: str = "float32"
    output_dtype: str = "float32"

    def __post_init__(self) -> None:
        _set_scheme(self, "a Scheme")
        if isinstance(self.rules, (str, Mapping)) or not isinstance(self.rules, Iterable):
            raise RecipeError(f"Recipe.rules must be a tuple of Rule. Received: {self.rules!r}")
        object.__setattr__(self, "rules", tuple(self.rules))
        for rule in self.rules:
            instance("Recipe", "rules", rule, Rule, "a tuple of Rule")
        choice("Recipe", "input_dtype", self.input_dtype, BOUNDARY_DTYPES)
        choice("Recipe", "output_dtype", self.output_dtype, BOUNDARY_DTYPES)

    def rule_for(self, labels: Labels) -> Rule | None:
        """The first rule that matches an operation with these labels, or None."""
        return next((rule for rule in self.rules if rule.matches(labels)), None)

    def scheme_for(self, labels: Labels) -> Scheme | None:
        """The scheme of an operation with these labels; None keeps it in float."""
        rule = self.rule_for(labels)
        if rule is None:
            return self.scheme
        if rule.keep_float:
            return None
        scheme = rule.scheme or self.scheme
        if rule.observer is not None:
            scheme = dataclasses.replace(scheme, observer=rule.observer)
        return scheme

    def observer_for(self, labels: Labels) -> Observer:
        """The observer of the outputs of an operation with these labels.

        An operation kept in float has the recipe's own: its output is still quantized where an
        integer operation reads it.
        """
        return (self.scheme_for(labels) or self.scheme).observer

    def unmatched(self, operations: Iterable[Labels]) -> tuple[Rule, ...]:
        """The rules that match none of the operations, given by their labels.

        A rule hidden behind earlier rules matches, and so is not reported.
        """
        operations = tuple(operations)
        return tuple(rule for rule in self.rules if not any(map(rule.matches, operations)))

    def get_config(self) -> dict[str, Any]:
        """The recipe as nested dicts of JSON-compatible values, with a `"version"`."""
        return {"version": RECIPE_VERSION} | super().get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `get_config`. Raises RecipeError on another version or bad values."""
        values = known_keys("Recipe", config, ["version", *cls.field_names()])
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


def as_recipe(value: Any) -> Recipe:
    """What a caller gave as recipe: None is `recipes.w8a8()`.

    Raises:
        RecipeError: neither a Recipe nor a quantizer that `Scheme.from_keras` takes.
    """
    if is_keras_quantizer(value):
        return Recipe(scheme=value)
    if value is None:
        return recipes.w8a8()
    if not isinstance(value, Recipe):
        raise RecipeError(
            f"recipe must be a Recipe, such as keras_octet.recipes.w8a8(). Received: {value!r}"
        )
    return value


def _set_scheme(owner: Rule | Recipe, hint: str) -> None:
    """Check the scheme, and put a Scheme in the place of a quantizer of Keras."""
    scheme: Any = owner.scheme
    if is_keras_quantizer(scheme):
        object.__setattr__(owner, "scheme", Scheme.from_keras(scheme))
    else:
        instance(type(owner).__name__, "scheme", scheme, Scheme, hint)


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
        observer: Observer = DEFAULT_OBSERVER,
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
        known_keys("recipes.w8a8", unknown, (name for name in known if name != "unknown"))
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
