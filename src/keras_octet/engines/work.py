"""What a functional model computes for one sample, and whether samples are independent."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_octet.capture.graph import iter_nodes
from keras_octet.layers import Constant, QuantizedLayer, stateful_layers

# What one value of an output costs beside its sum of products, in multiply-adds.
_PER_VALUE = 8
# So many multiply-adds of `Dense` on vectors, in a batch, take as long as one of a convolution.
_OF_VECTORS = 16


def multiply_adds(model: keras.Model) -> int:
    """Work for one sample in multiply-adds of a convolution, roughly.

    0 if a size other than the batch is unknown.
    """
    total = 0
    for node in iter_nodes(model):
        shapes = [tensor.shape[1:] for tensor in (*node.input_tensors, *node.outputs)]
        if any(size is None for shape in shapes for size in shape):
            return 0
        values = math.prod(node.outputs[0].shape[1:])
        kernel = getattr(node.operation, "kernel", None)
        if kernel is not None and len(kernel.shape) > 1:
            # Each weight once for each position; a transposed convolution reads as many as it has.
            transposed = "Transpose" in type(node.operation).__name__
            positions = node.input_tensors[0] if transposed else node.outputs[0]
            cost = math.prod(kernel.shape) * math.prod(positions.shape[1:-1])
            total += cost // _OF_VECTORS if len(positions.shape) == 2 else cost
        elif len(node.input_tensors) == 2 and "atmul" in type(node.operation).__name__:
            total += values * node.input_tensors[0].shape[-1]
        total += _PER_VALUE * values
    return total


def is_separable(model: keras.Model) -> bool:
    """Whether each sample's outputs depend on that sample only, as far as can be seen.

    Layers and operations of Keras and of this package compute each sample for itself unless their
    `axis` is the batch or they keep state; a layer of the user's may do anything.
    """
    if any(not tensor.shape or tensor.shape[0] is not None for tensor in model.inputs):
        return False
    if any(True for _ in stateful_layers(model)):
        return False
    return all(
        all(_is_per_sample(node.operation, tensor) for tensor in node.outputs)
        and _is_known(node.operation)
        and not _works_along_batch(node)
        for node in iter_nodes(model)
    )


def _is_per_sample(operation: Any, output: keras.KerasTensor) -> bool:
    """The output has a row a sample, or is a constant that each sample sees alike."""
    if isinstance(operation, Constant):
        return len(output.shape) < 2 or output.shape[0] == 1
    return len(output.shape) > 0 and output.shape[0] is None


def _is_known(operation: Any) -> bool:
    if isinstance(operation, QuantizedLayer):
        return True
    if isinstance(operation, (keras.layers.Lambda, keras.layers.Dot)):
        return False
    if not type(operation).__module__.startswith(("keras.src.layers", "keras.src.ops")):
        return False
    activation = getattr(operation, "activation", None)
    return activation is None or str(getattr(activation, "__module__", "")).startswith("keras.")


def _works_along_batch(node: Any) -> bool:
    axis = getattr(node.operation, "axis", -1)
    if not node.input_tensors:
        return False
    rank = len(node.input_tensors[0].shape)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return any(not isinstance(i, int) or i % rank == 0 for i in axes)
