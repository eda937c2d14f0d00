"""Float islands: operations outside the canonical vocabulary, kept as one operation each."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.capture.alias import alias
from keras_octet.capture.keras_private import (
    BaseImagePreprocessingLayer,
    core_operations,
    is_concrete_tensor,
    tree,
)
from keras_octet.capture.lower.registry import Call

_REDUCED = {"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"}


def emit_island(call: Call) -> Any:
    """Emit a float32 copy of the caller's operation; results in reduced precision are cast."""
    operation = call.operation
    name = call.lowering.unique_name(call.name, call.path)
    if isinstance(operation, keras.layers.Layer):
        outputs = _call_copy(operation, name, call)
    else:
        copy = alias(operation, name)
        if str(getattr(copy, "dtype", None)) in _REDUCED:
            copy.__dict__["dtype"] = "float32"
        call.add(copy)
        args, kwargs = tree.map_structure(_own, (tuple(call.args), dict(call.kwargs)))
        outputs = copy(*args, **kwargs)

    # Image layers keep integers at run time, whatever dtype they announce.
    integers = any("float" not in tensor.dtype for tensor in call.inputs)
    unsure = integers and isinstance(operation, BaseImagePreprocessingLayer)

    def to_float32(tensor: Any) -> Any:
        if not isinstance(tensor, keras.KerasTensor):
            return tensor
        if tensor.dtype in _REDUCED or (unsure and "float" in tensor.dtype):
            return call.emit_operation(
                core_operations.Cast, tensor, suffix="_to_float32", dtype="float32"
            )
        return tensor

    return tree.map_structure(to_float32, outputs)


def _own(value: Any) -> Any:
    """A NumPy copy of a constant operand: the caller's variables change and their buffers go."""
    if not is_concrete_tensor(value):
        return value
    array = keras.ops.convert_to_numpy(value)
    return np.array(array, "float32" if str(value.dtype) in _REDUCED else array.dtype)


def _call_copy(layer: keras.layers.Layer, name: str, call: Call) -> Any:
    try:
        copy = _clone(layer, name)
        outputs = copy(*call.args, **call.kwargs)
        _copy_state(layer, copy)
    except Exception:  # Without a faithful config, share the caller's variables.
        copy = alias(layer, name)
        outputs = copy(*call.args, **call.kwargs)
    call.add(copy)
    return outputs


def _clone(layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
    config = _as_float32(layer.get_config())
    config["name"] = name
    classes = {type(part).__name__: type(part) for part in layer._flatten_layers()}
    with keras.saving.custom_object_scope(classes):
        return type(layer).from_config(config)


def _copy_state(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    sources, targets = source._flatten_layers(), target._flatten_layers()
    if [type(part) for part in sources] != [type(part) for part in targets]:
        raise ValueError("the copy has other sub-layers")
    for old, new in zip(sources, targets, strict=True):
        state: dict[str, Any] = {}
        old.save_own_variables(state)
        # Copies: on JAX an assignment would share the buffer, which training gives away.
        new.load_own_variables({key: _own(value) for key, value in state.items()})
    for old, new in zip(source.weights, target.weights, strict=True):
        if tuple(old.shape) != tuple(new.shape):
            raise ValueError("the copy has weights of other shapes")


def _as_float32(config: Any) -> Any:
    """A copy of a config with every reduced-precision dtype policy replaced."""
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and _is_float_policy(value) else _as_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_as_float32(value) for value in config)
    return config


def _is_float_policy(value: Any) -> bool:
    if isinstance(value, dict):
        value = value.get("config", {}).get("name", "")
    return isinstance(value, str) and value in _REDUCED | {"float32"}
