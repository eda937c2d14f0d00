"""Values that do not depend on the inputs of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_octet.layers.base import QuantizedLayer, register


@register
class Constant(QuantizedLayer):
    """A stored tensor; what it is called with is not read.

    Every tensor of a functional model is computed from an input, so this layer is called on one.

    Args:
        shape: of the value.
        value_dtype: of the value, integer or float.
        output_qparams: its parameters, if it is quantized.
    """

    config_keys = ("shape", "value_dtype")

    def __init__(self, *, shape: Sequence[int], value_dtype: str = "int8", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.value_dtype = value_dtype

    def build(self, input_shape: Any) -> None:
        self.value = self._add_integer_weight("value", self.shape, self.value_dtype)

    def call(self, inputs: Any) -> Any:
        # The tensor, which `convert_to_tensor` does not give on TensorFlow.
        return self.value.value

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.shape, dtype=self.value_dtype)
