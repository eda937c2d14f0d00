"""What every quantized layer shares: its parameters, its configuration, its requantization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from keras_octet.arithmetic import EXACT_IN_FLOAT32, chunk_bounds
from keras_octet.qparams import QParams, as_qparams

# Sizes are ints, or None where unknown.
Shape = Sequence[Any]
LayerType = TypeVar("LayerType", bound=type)


def register(cls: LayerType) -> LayerType:
    """Make a class known to `keras.saving.load_model` under the name `keras_octet>Class`."""
    return keras.saving.register_keras_serializable(package="keras_octet")(cls)


class QuantizedLayer(keras.layers.Layer):
    """A Keras layer from int8 tensors to an int8 tensor.

    Subclasses list their own constructor arguments in `config_keys`, compute in `call` with
    `keras.ops`, and give their output shape in `compute_output_shape`.

    Args:
        input_qparams: parameters of each input tensor, in call order.
        output_qparams: parameters of the output tensor.
    """

    config_keys: tuple[str, ...] = ()
    output_dtype = "int8"

    def __init__(
        self,
        *,
        input_qparams: Sequence[QParams | dict[str, Any]] = (),
        output_qparams: QParams | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.trainable = False
        self.input_qparams = tuple(as_qparams(value) for value in input_qparams)
        self.output_qparams = as_qparams(output_qparams)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        shapes = [x.shape for x in inputs] if isinstance(inputs, (list, tuple)) else inputs.shape
        dtype = self.output_dtype
        if dtype == "int8" and self.output_qparams is not None:
            # What moves or compares values does so in any type.
            dtype = self.output_qparams.dtype
        return keras.KerasTensor(self.compute_output_shape(shapes), dtype=dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in self.config_keys:
            value = getattr(self, key)
            config[key] = value.get_config() if isinstance(value, QParams) else value
        config["input_qparams"] = [value.get_config() for value in self.input_qparams]
        if self.output_qparams is not None:
            config["output_qparams"] = self.output_qparams.get_config()
        return config

    def _add_integer_weight(self, name: str, shape: Sequence[int], dtype: str) -> Any:
        return self.add_weight(
            name=name,
            shape=tuple(shape),
            dtype=dtype,
            initializer="ones" if dtype == "float32" else "zeros",
            trainable=False,
            autocast=False,
        )


def apply_table(table: np.ndarray, inputs: Any) -> Any:
    """`table[q + 128]` for int8 `inputs` of any shape."""
    return ops.take(table, ops.cast(inputs, "int32") + 128, axis=0)


def apply_table_of_pairs(table: np.ndarray, first: Any, second: Any) -> Any:
    """`table[first + 128, second + 128]` for int8 tensors that broadcast."""
    row = 256 * (ops.cast(first, "int32") + 128)
    return ops.take(table.reshape(-1), row + ops.cast(second, "int32") + 128, axis=0)


def pad_integers(inputs: Any, widths: Sequence[Sequence[int]], value: int) -> Any:
    """`keras.ops.pad` of narrow integers, in int32: not every backend pads int8."""
    padded = ops.pad(ops.cast(inputs, "int32"), widths, constant_values=value)
    return ops.cast(padded, inputs.dtype)


def shifted(inputs: Any, qparams: QParams, dtype: str = "int32") -> Any:
    """`q - zero_point` in `dtype`."""
    values = ops.cast(inputs, dtype)
    return values - qparams.zero_point if qparams.zero_point else values


def saturate(values: Any, low: int = -128, high: int = 127) -> Any:
    return ops.cast(ops.clip(values, low, high), "int8")


def exact_matmul(first: Any, second: Any, largest: int = 255 * 255) -> Any:
    """int32 product of integers in float32, in pieces of at most 2**24.

    Args:
        first, second: float32 integers.
        largest: magnitude of a product of two of them.
    """
    size = second.shape[-2]
    total = None
    for low, high in chunk_bounds(size, max(1, -(-size * largest // EXACT_IN_FLOAT32))):
        part = ops.cast(ops.matmul(first[..., low:high], second[..., low:high, :]), "int32")
        total = part if total is None else total + part
    return total


def requantize(
    accumulator: Any, multiplier: Any, output: QParams, bounds: tuple[int, int] = (-128, 127)
) -> Any:
    """`clip(rne(float32(accumulator) * multiplier) + zero_point)` to int8.

    The accumulator is int32, or integers in float32; `multiplier` is float32 and broadcasts over
    the last axis. Clips in float, so that no conversion overflows.
    """
    factor = ops.convert_to_tensor(multiplier, "float32")
    rounded = ops.round(ops.cast(accumulator, "float32") * factor)
    if output.zero_point:
        rounded = rounded + float(output.zero_point)
    return saturate(rounded, *bounds)
