"""Merging several tensors: chains of two-input layers, concatenation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_octet.capture.keras_private import numpy_operations
from keras_octet.capture.lower.registry import Call, lowers


def _aligned(call: Call, tensors: list[Any]) -> list[Any] | None:
    """Tensors of one rank: Keras merge layers insert axes after the batch axis."""
    rank = max(len(tensor.shape) for tensor in tensors)
    aligned = []
    for i, tensor in enumerate(tensors):
        missing = rank - len(tensor.shape)
        if missing:
            sizes = [-1 if size is None else size for size in tensor.shape[1:]]
            target = (1,) * missing + tuple(sizes)
            if target.count(-1) > 1:
                return None
            tensor = call.emit(
                keras.layers.Reshape, tensor, suffix=f"_rank_{i}", target_shape=target
            )
        aligned.append(tensor)
    return aligned


def emit_chain(call: Call, layer_class: type, tensors: list[Any], last: str = "") -> Any:
    """((a . b) . c) . d; the last operation has the name of the call (plus the suffix `last`)."""
    result = tensors[0]
    for i, tensor in enumerate(tensors[1:], start=2):
        suffix = last if i == len(tensors) else f"{last}_{i - 1}"
        result = call.emit(layer_class, [result, tensor], suffix=suffix)
    return result


def _merge(layer_class: type) -> Callable[[Call], Any]:
    def lower(call: Call) -> Any:
        if not call.is_float or not isinstance(call.x, (list, tuple)):
            return None
        tensors = _aligned(call, list(call.x))
        return None if tensors is None else emit_chain(call, layer_class, tensors)

    return lower


for _class in (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Maximum,
    keras.layers.Minimum,
):
    lowers(_class)(_merge(_class))


@lowers(keras.layers.Average)
def _average(call: Call) -> Any:
    tensors = _aligned(call, list(call.x)) if call.is_float else None
    if tensors is None:
        return None
    total = emit_chain(call, keras.layers.Add, tensors, last="_sum")
    return call.emit(keras.layers.Rescaling, total, scale=1.0 / len(tensors), offset=0.0)


@lowers(keras.layers.Concatenate, numpy_operations.Concatenate)
def _concatenate(call: Call) -> Any:
    tensors = list(call.x)
    if not all(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
        return None
    axis = call.operation.axis % len(tensors[0].shape)
    if not call.is_float or axis == 0:
        return None
    if len(tensors) == 1:
        return tensors[0]
    axis = -1 if axis == len(tensors[0].shape) - 1 else axis
    return call.emit(keras.layers.Concatenate, tensors, axis=axis)


@lowers(numpy_operations.Stack)
def _stack(call: Call) -> Any:
    """Insert an axis of size 1 in each tensor, then concatenate."""
    tensors = list(call.x)
    shape = tensors[0].shape
    axis = call.operation.axis % (len(shape) + 1)
    sizes = [-1 if size is None else size for size in shape[1:]]
    if not call.is_float or axis == 0 or sizes.count(-1) > 1:
        return None
    target = (*sizes[: axis - 1], 1, *sizes[axis - 1 :])
    expanded = [
        call.emit(keras.layers.Reshape, tensor, suffix=f"_expand_{i}", target_shape=target)
        for i, tensor in enumerate(tensors)
    ]
    if len(expanded) == 1:
        return expanded[0]
    axis = -1 if axis == len(shape) else axis
    return call.emit(keras.layers.Concatenate, expanded, axis=axis)
