"""What the layers of this package share."""

from __future__ import annotations

import math
from typing import Any

import keras

# More than any real model needs; `.tflite` files may claim sizes that no memory holds.
MAX_VALUES = 2**24


def check_sizes(*sizes: int) -> None:
    """Raises ValueError if an array of these sizes, made from shapes alone, would be too large.

    For `compute_output_spec`, which makes no such array: a file may have thousands of them.
    """
    if math.prod(sizes) > MAX_VALUES:
        raise ValueError(
            f"An array of sizes {list(sizes)} is needed; expected at most {MAX_VALUES} values."
        )


def part(x: Any, axis: int, places: slice) -> Any:
    """What a tensor has at these places of an axis."""
    return x[(slice(None),) * axis + (places,)]


class OperatorLayer(keras.layers.Layer):
    """A `.tflite` operator without a Keras layer or operation of the same meaning.

    Subclasses list their constructor arguments in `config_keys` and compute in `call` with
    `keras.ops`, for tensors of any dtype. Several inputs come as a list.
    """

    config_keys: tuple[str, ...] = ()

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.autocast = False

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """What `call` gives on tensors of these shapes."""

        def fresh(tensor: Any) -> Any:
            return keras.KerasTensor(tensor.shape, dtype=tensor.dtype)

        # Fresh tensors, so that the operations of `call` are not recorded on those of the model.
        outputs = self.call(keras.tree.map_structure(fresh, args[0]))
        return keras.tree.map_structure(fresh, outputs)

    def _like(self, tensor: Any, shape: Any = None, dtype: str | None = None) -> Any:
        """The spec of an output: that of `tensor` but for what is given."""
        return keras.KerasTensor(tensor.shape if shape is None else shape, dtype or tensor.dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return config | {key: getattr(self, key) for key in self.config_keys}
