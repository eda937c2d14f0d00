"""Which calls an engine can take: those on concrete arrays that nobody traces or differentiates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import stateless_scope  # not exported: whether a scope is open


def to_arrays(structure: Any) -> Any:
    """The same structure of NumPy arrays, or None if a leaf is symbolic, traced or not an array.

    Tensors in the processor's memory are not copied.
    """
    if type(structure) is np.ndarray:
        return structure
    arrays = [_to_array(leaf) for leaf in keras.tree.flatten(structure)]
    if not arrays or any(array is None for array in arrays):
        return None
    return keras.tree.pack_sequence_as(structure, arrays)


def _to_array(leaf: Any) -> np.ndarray | None:
    if isinstance(leaf, np.ndarray):
        return leaf
    if isinstance(leaf, keras.KerasTensor) or not hasattr(leaf, "shape"):
        return None
    try:
        return np.asarray(leaf)
    except Exception:  # Each backend has its own error for a traced or differentiated tensor.
        return None


class InputMatcher:
    """From the structure a model is called with to one array per input.

    Args:
        model: a functional model.
    """

    def __init__(self, model: Any) -> None:
        self._takes_dict = isinstance(model._inputs_struct, dict)
        self._names = [tensor.name for tensor in model.inputs]
        self._expected = [
            (tuple(tensor.shape), keras.backend.is_float_dtype(tensor.dtype))
            for tensor in model.inputs
        ]

    def __call__(self, arrays: Any) -> list[np.ndarray] | None:
        """The arrays, or None where Keras must adjust the inputs or raise its error."""
        if type(arrays) is np.ndarray:
            flat = [arrays]
        else:
            if isinstance(arrays, dict) and not self._takes_dict:
                arrays = [arrays.get(name) for name in self._names]
            flat = keras.tree.flatten(arrays)
        if len(flat) != len(self._expected):
            return None
        for array, (shape, is_float) in zip(flat, self._expected, strict=True):
            if not _fits(array, shape, is_float):
                return None
        return flat


def _fits(array: np.ndarray | None, shape: tuple[int | None, ...], is_float: bool) -> bool:
    """Whether an engine can cast `array` as Keras does, and it has the expected sizes."""
    if array is None or array.ndim != len(shape) or not array.size:
        return False
    if array.dtype.kind not in "iub" and not (
        is_float and (array.dtype.kind == "f" or array.dtype.name == "bfloat16")
    ):
        return False
    return all(
        expected is None or expected == size
        for size, expected in zip(array.shape, shape, strict=True)
    )


def is_observed(variables: Sequence[Any]) -> bool:
    """Whether a call must run the Keras layers although its inputs are concrete.

    So it must where the backend traces or differentiates, and where other values may stand for
    those of variables.

    Args:
        variables: those of the model's float layers, which training may change.
    """
    if stateless_scope.in_stateless_scope():
        return True
    observer = _OBSERVERS.get(keras.backend.backend())
    return observer is not None and observer(variables)


def _tensorflow_observes(variables: Sequence[Any]) -> bool:
    if sys.modules["tensorflow"].inside_function():
        return True
    # Nothing public says whether a GradientTape is open.
    record = sys.modules["tensorflow.python.eager.record"]
    return bool(record.could_possibly_record())


def _torch_observes(variables: Sequence[Any]) -> bool:
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return True
    return torch.is_grad_enabled() and any(v.value.requires_grad for v in variables)


_OBSERVERS: dict[str, Callable[[Sequence[Any]], bool]] = {
    "tensorflow": _tensorflow_observes,
    "torch": _torch_observes,
}
