"""int16 operators of one tensor: each is a table of 65,536 entries."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_octet import int16_kernels
from keras_octet.layers.base import QuantizedLayer, register
from keras_octet.qparams import QParams


class Int16Table(QuantizedLayer):
    """int16 to int16 by lookup; subclasses build the table from the parameters."""

    output_dtype = "int16"

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        source = self.input_qparams[0]
        table = self._table(source, self.output_qparams)
        first = 128 if source.dtype == "int8" else 2**15
        return ops.take(table, ops.cast(inputs, "int32") + first, axis=0)


@register
class Int16Requantize(Int16Table):
    """The same real values under other parameters, of which one or both are int16."""

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.output_qparams.dtype)

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return int16_kernels.requantize_table(source, target)


@register
class Int16ReLU(Int16Table):
    """`ReLU` that no producer could fuse; `max_value` is None or 6."""

    config_keys = ("max_value",)

    def __init__(self, *, max_value: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return int16_kernels.relu_table(source, target, self.max_value)


@register
class Int16LeakyReLU(Int16Table):
    """`LeakyReLU`."""

    config_keys = ("negative_slope",)

    def __init__(self, *, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = float(negative_slope)

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return int16_kernels.leaky_relu_table(source, target, self.negative_slope)


@register
class Int16Activation(Int16Table):
    """`"sigmoid"` or `"tanh"`, whose output has scale 2**-15, `"gelu"` or `"gelu_tanh"`.

    Raises:
        ValueError: another activation.
    """

    config_keys = ("activation",)

    def __init__(self, *, activation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation
        if activation not in ("sigmoid", "tanh", "gelu", "gelu_tanh"):
            raise ValueError(
                "Int16Activation computes 'sigmoid', 'tanh', 'gelu' and 'gelu_tanh'. "
                f"Received: activation={activation!r}"
            )

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        if self.activation == "sigmoid":
            return int16_kernels.logistic_table(source)
        if self.activation == "tanh":
            return int16_kernels.tanh_table(source)
        return int16_kernels.function_table(self.activation, source, target)


@register
class Int16Function(Int16Table):
    """A function by name: `"abs"`, `"exp"`, `"log"`, `"negative"` or `"rsqrt"`.

    `"negative"` negates the stored integer, whatever the parameters: so does LiteRT.
    """

    config_keys = ("function",)

    def __init__(self, *, function: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function
        if function not in int16_kernels.FUNCTIONS:
            raise ValueError(
                f"Int16Function computes {int16_kernels.FUNCTIONS}. Received: {function!r}"
            )

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return int16_kernels.function_table(self.function, source, target)
