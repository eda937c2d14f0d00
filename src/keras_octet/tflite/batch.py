"""The shapes of a model's tensors once its batch size is fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.capture.graph import iter_nodes, tensor_name
from keras_octet.errors import ExportError
from keras_octet.tflite.graph import Shape


def shapes_with_batch_size(model: Any, batch_size: int) -> dict[int, Shape]:
    """The shape of every tensor (by `id`) of a functional model for inputs of `batch_size` samples.

    Args:
        model: functional model; not changed.
        batch_size: at least 1.

    Raises:
        ExportError: `batch_size` is no such number, or an input has another, fixed batch size.
    """
    _require_positive_integer(batch_size)
    return shapes_with_inputs(model, [_with_batch_size(x, batch_size) for x in model.inputs])


def shapes_with_inputs(model: Any, inputs: Sequence[keras.KerasTensor]) -> dict[int, Shape]:
    """The shape of every tensor (by `id`) of a functional model for inputs like these.

    Each operation infers its output's shape again, so a batch that was merged with another axis is
    known as well.
    """
    known = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    for node in iter_nodes(model):
        args, kwargs = node.arguments.fill_in(known)
        outputs = keras.tree.flatten(node.operation.compute_output_spec(*args, **kwargs))
        known.update((id(old), new) for old, new in zip(node.outputs, outputs, strict=True))
    return {key: tuple(tensor.shape) for key, tensor in known.items()}


def _with_batch_size(tensor: keras.KerasTensor, batch_size: int) -> keras.KerasTensor:
    shape = tuple(tensor.shape)
    if not shape or shape[0] not in (None, batch_size):
        raise ExportError(
            f"The model cannot be written with batch_size={batch_size}: its input "
            f"{tensor_name(tensor)!r} has the fixed shape {shape}. Leave batch_size out."
        )
    return keras.KerasTensor((batch_size, *shape[1:]), dtype=tensor.dtype)


def _require_positive_integer(value: Any) -> None:
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < 1:
        raise ExportError(f"batch_size must be a positive integer or None. Received: {value!r}.")
