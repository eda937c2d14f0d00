"""Every import of a Keras name that is not public, in one place.

Keras does not export the Operation classes behind `keras.ops`, the Functional class or its call
context. When a Keras release moves one of them, this is the file to change.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src import backend, tree
from keras.src.activations import activations as activation_operations
from keras.src.backend.common import KerasVariable, global_state
from keras.src.layers.layer import CallContext
from keras.src.layers.preprocessing.image_preprocessing.base_image_preprocessing_layer import (
    BaseImagePreprocessingLayer,
)
from keras.src.models.functional import Functional
from keras.src.ops import core as core_operations
from keras.src.ops import image as image_operations
from keras.src.ops import math as math_operations
from keras.src.ops import nn as nn_operations
from keras.src.ops import numpy as numpy_operations

__all__ = [
    "BaseImagePreprocessingLayer",
    "Functional",
    "activation_operations",
    "core_operations",
    "functional_model",
    "get_mask",
    "image_operations",
    "inference_call_context",
    "is_concrete_tensor",
    "is_keras_class",
    "math_operations",
    "nn_operations",
    "numpy_operations",
    "set_mask",
    "tree",
    "variables_defer_to_symbolic",
]


def functional_model(inputs: Any, outputs: Any, name: str) -> keras.Model:
    """A functional model; keys of a dict of inputs may differ from the names of the inputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="When providing `inputs` as a dict")
        return Functional(inputs, outputs, name=name)


def get_mask(tensor: Any) -> Any:
    """The Keras mask attached to a tensor, or None."""
    return backend.get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attach a Keras mask to a tensor."""
    backend.set_keras_mask(tensor, mask)


def is_concrete_tensor(value: Any) -> bool:
    """Whether `value` is a backend tensor or a Keras variable (not a KerasTensor)."""
    return isinstance(value, keras.Variable) or (
        backend.is_tensor(value) and not isinstance(value, keras.KerasTensor)
    )


def is_keras_class(cls: type) -> bool:
    """Whether a class is part of Keras itself; the layers of its example models are not."""
    module = cls.__module__
    return module.split(".")[0] == "keras" and not module.startswith("keras.src.applications")


@contextmanager
def inference_call_context() -> Iterator[None]:
    """Layers called inside see `training=False`, and keep the losses they have collected."""
    name = "current_call_ctx"
    previous = global_state.get_global_attribute(name)
    context = CallContext(entry_layer=None)
    context.set_value("training", False)
    global_state.set_global_attribute(name, context)
    try:
        yield
    finally:
        global_state.set_global_attribute(name, previous)


_OPERATORS = ("add", "sub", "mul", "truediv", "matmul", "pow")


@contextmanager
def variables_defer_to_symbolic() -> Iterator[None]:
    """Inside, `variable * symbolic_tensor` is recorded like `symbolic_tensor * variable`.

    Keras defines operators of variables on values only. What they do with values is not changed.
    """
    names = [f"__{prefix}{name}__" for name in _OPERATORS for prefix in ("", "r")]
    originals = {name: getattr(KerasVariable, name) for name in names}

    def deferring(original: Callable[..., Any]) -> Callable[..., Any]:
        def operator(self: Any, other: Any) -> Any:
            if isinstance(other, keras.KerasTensor):
                return NotImplemented
            return original(self, other)

        return operator

    for name, original in originals.items():
        setattr(KerasVariable, name, deferring(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(KerasVariable, name, original)
