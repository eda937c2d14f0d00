"""The table of lowerings: class of an operation -> function that emits canonical operations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from keras_octet.capture import keras_private
from keras_octet.capture.canonical import make_layer, make_weighted_layer
from keras_octet.capture.origin import set_origin

if TYPE_CHECKING:
    import numpy as np

    from keras_octet.capture.lower.walk import Lowering


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operation of the caller's model, its tensors replaced by the flat model's.

    Attributes:
        operation: the caller's layer or Operation; never to be called or put in the flat model.
        args, kwargs: of the call, KerasTensors replaced, variables and tensors as NumPy arrays.
        inputs: the caller's input KerasTensors: original dtypes and masks.
        outputs: the caller's output KerasTensors.
        path: the models and composite layers around the operation, outermost first.
        lowering: the walk that emits into the flat model.
        name: first choice for the name of what is emitted.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]
    path: tuple[keras.layers.Layer, ...]
    lowering: Lowering
    name: str

    @property
    def x(self) -> Any:
        """The first argument."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()))

    @property
    def masked(self) -> bool:
        """Whether a Keras mask travels with an input."""
        leaves = keras_private.tree.flatten((self.args, self.kwargs, self.inputs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]
        return any(keras_private.get_mask(tensor) is not None for tensor in tensors)

    @property
    def is_float(self) -> bool:
        """Whether the original call gives floating point numbers."""
        return all("float" in str(output.dtype) for output in self.outputs)

    def arguments(self) -> dict[str, Any]:
        """Arguments by parameter name of the operation's `call`."""
        bound = inspect.signature(self.operation.call).bind(*self.args, **self.kwargs)
        return dict(bound.arguments)

    def emit(
        self,
        layer_class: type,
        inputs: Any,
        *,
        suffix: str = "",
        weights: dict[str, np.ndarray] | None = None,
        **config: Any,
    ) -> keras.KerasTensor:
        """Call a fresh canonical layer on flat-model tensors; see `make_weighted_layer`."""
        name = self.lowering.unique_name(self.name + suffix, self.path)
        if weights is None:
            layer = make_layer(layer_class, name, **config)
        else:
            layer = make_weighted_layer(layer_class, name, inputs.shape, weights, **config)
        return self.add(layer)(inputs)

    def emit_operation(
        self, operation_class: type, *args: Any, suffix: str = "", **config: Any
    ) -> Any:
        """Call a fresh keras.ops Operation on flat-model tensors."""
        name = self.lowering.unique_name(self.name + suffix, self.path)
        return self.add(operation_class(name=name, **config))(*args)

    def add(self, operation: Any) -> Any:
        """Count `operation` among what this call emits, and remember where it comes from."""
        set_origin(operation, (*self.path, self.operation))
        self.lowering.emitted.append(operation)
        return operation


# A lowering returns what the call gives in the flat model, or None to keep a float island.
Lower = Callable[[Call], Any]

_RULES: dict[type, Lower] = {}

# What a subclass may define and still be lowered as its base class.
_HARMLESS = {"__init__", "get_config", "from_config", "build", "compute_output_shape"}


def lowers(*classes: type) -> Callable[[Lower], Lower]:
    """Register a function as the lowering of operation classes. A class has one lowering."""

    def register(rule: Lower) -> Lower:
        for cls in classes:
            if cls in _RULES:
                raise ValueError(f"{cls.__name__} already has a lowering: {_RULES[cls]}")
            _RULES[cls] = rule
        return rule

    return register


def keep_whole(cls: type) -> None:
    """Keep calls of a class as they are, rather than look inside; until `forget(cls)`."""
    lowers(cls)(lambda call: None)


def forget(cls: type) -> None:
    """Take back `keep_whole`."""
    del _RULES[cls]


def lowered_classes() -> frozenset[type]:
    """The classes that have a lowering."""
    return frozenset(_RULES)


def find_rule(cls: type) -> Lower | None:
    """The lowering of a class, or of the base class it only configures; None if there is none."""
    for base in cls.__mro__:
        if base in _RULES:
            return _RULES[base]
        own = {name for name, value in vars(base).items() if callable(value) or name == "call"}
        own |= {n for n, v in vars(base).items() if isinstance(v, (property, staticmethod))}
        if own - _HARMLESS:
            return None
    return None
