"""What layers of fused recurrent operators share: weights by name, states, activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from keras import ops

from keras_octet.layers import eigen
from keras_octet.layers.base import QuantizedLayer, Shape, exact_matmul
from keras_octet.layers.dynamic import quantize_affine, quantize_symmetric
from keras_octet.layers.rounding import rounded
from keras_octet.layers.state import StatefulLayer

# The largest product of a weight and of a quantized value less its zero point.
_LARGEST = 128 * 255
ACTIVATIONS: dict[str | None, Callable[[Any], Any]] = {
    None: lambda x: x,
    "relu": lambda x: ops.maximum(x, 0.0),
    "relu6": lambda x: ops.minimum(ops.maximum(x, 0.0), 6.0),
    "hard_tanh": lambda x: ops.minimum(ops.maximum(x, -1.0), 1.0),
    "tanh": eigen.tanh,
}


class RecurrentOperator(StatefulLayer):
    """Mixin: a `.tflite` operator with weights and states, whose states outlive a call.

    Subclasses list their constructor arguments in `recurrent_keys`, and say what weights and states
    there are. Weights are in the layout of the file, outputs first.

    Attributes:
        parts: the weights, by name.
        scales: of the weights that a file stores with a scale, by name.
    """

    recurrent_keys: tuple[str, ...] = ()
    state_dtypes: tuple[str, ...] = ("float32",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts: dict[str, keras.Variable] = {}
        self.scales: dict[str, float] = {}

    def get_config(self) -> dict[str, Any]:
        keys = self.recurrent_keys
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}

    def part_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of each weight."""
        raise NotImplementedError

    def part_dtype(self, name: str) -> str:
        """The dtype of a weight, as variable and in a file."""
        return "float32"

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        """Shape of each state, by name."""
        raise NotImplementedError

    def initial_states(self) -> dict[str, int]:
        """Of the states that are not 0 at first."""
        return {}

    def build(self, input_shape: Shape) -> None:
        for name, shape in self.part_shapes():
            self.parts[name] = self.add_weight(
                name=name,
                shape=shape,
                dtype=self.part_dtype(name),
                initializer="zeros",
                trainable=False,
                autocast=False,
            )
        first = self.initial_states()
        for (name, shape), dtype in zip(
            self.state_shapes().items(), self.state_dtypes, strict=True
        ):
            self.add_state(name, shape, dtype, first.get(name, 0))

    def multiply(self, name: str, values: Any) -> Any:
        """`values weights^T` in float32."""
        return ops.matmul(values, ops.transpose(ops.convert_to_tensor(self.parts[name])))


class QuantizedRecurrent(RecurrentOperator, QuantizedLayer):
    """What those with integer weights share.

    Args:
        scales: see `RecurrentOperator`.
    """

    def __init__(self, *, scales: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scales = {name: float(scale) for name, scale in scales.items()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scales": dict(self.scales)}


class HybridRecurrent(QuantizedRecurrent):
    """Mixin: float32 values, of which each row is quantized before int8 weights multiply it.

    Args:
        asymmetric_inputs: whether rows are quantized with a zero point.
    """

    output_dtype = "float32"

    def __init__(self, *, asymmetric_inputs: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asymmetric_inputs = asymmetric_inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "asymmetric_inputs": self.asymmetric_inputs}

    def part_dtype(self, name: str) -> str:
        return "float32" if "bias" in name or name.startswith("norm") else "int8"

    def multiply(self, name: str, values: Any) -> Any:
        quantize = quantize_affine if self.asymmetric_inputs else quantize_symmetric
        quantized, scale = quantize(values, (-1,))
        sums = integer_products(quantized, 0, self.parts[name])
        return rounded(ops.cast(sums, "float32") * rounded(scale * self.scales[name]))

    def dequantized(self, name: str) -> Any:
        """Weights of one value for each unit, which multiply values that are not quantized."""
        return rounded(ops.cast(self.parts[name], "float32") * self.scales[name])


def integer_products(values: Any, zero_point: int, weights: Any) -> Any:
    """int32 `(values - zero_point) weights^T` of integers of 8 bits."""
    centred = ops.cast(values, "float32") - float(zero_point)
    return exact_matmul(centred, ops.transpose(ops.cast(weights, "float32")), _LARGEST)
