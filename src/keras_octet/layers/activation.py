"""int8 activations: each is a table of 256 entries, except softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet import arithmetic
from keras_octet.layers.base import QuantizedLayer, Shape, apply_table, register, saturate
from keras_octet.qparams import QParams, as_qparams


class QuantizedTable(QuantizedLayer):
    """int8 to int8 by lookup; subclasses build the table from the parameters."""

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        return apply_table(self._table(self.input_qparams[0], self.output_qparams), inputs)


@register
class Requantize(QuantizedTable):
    """The same real values under other parameters: `(M*(q-zi) + 256*zo + 128) >> 8`."""

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return arithmetic.requantize_table(source, target)


@register
class QuantizedReLU(QuantizedTable):
    """int8 `ReLU` that no producer could fuse; `max_value` is None or 6."""

    config_keys = ("max_value",)

    def __init__(self, *, max_value: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return arithmetic.relu_table(source, target, self.max_value)


@register
class QuantizedLeakyReLU(QuantizedTable):
    """int8 `LeakyReLU`."""

    config_keys = ("negative_slope",)

    def __init__(self, *, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = float(negative_slope)

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return arithmetic.leaky_relu_table(source, target, self.negative_slope)


@register
class QuantizedELU(QuantizedTable):
    """int8 `ELU` with alpha 1: `x if x >= 0 else exp(x) - 1`."""

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        def elu(x: np.ndarray) -> np.ndarray:
            return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)

        return arithmetic.function_table(elu, source, target, delegated=True)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "sigmoid": (_sigmoid, True),
    "tanh": (np.tanh, True),
    "gelu": (_gelu, False),
}


@register
class QuantizedActivation(QuantizedTable):
    """int8 activation by name: `"sigmoid"`, `"tanh"`, `"gelu"` or `"hard_silu"`."""

    config_keys = ("activation",)

    def __init__(self, *, activation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if activation != "hard_silu" and activation not in FUNCTIONS:
            raise ValueError(
                f"QuantizedActivation computes {sorted([*FUNCTIONS, 'hard_silu'])}. "
                f"Received: {activation!r}"
            )
        self.activation = activation

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        if self.activation == "hard_silu":
            return arithmetic.hard_swish_table(source, target)
        function, delegated = FUNCTIONS[self.activation]
        return arithmetic.function_table(function, source, target, delegated=delegated)


@register
class QuantizedPReLU(QuantizedLayer):
    """int8 `PReLU`; the slopes `alpha` are an int8 variable with parameters `alpha_qparams`."""

    config_keys = ("alpha_qparams", "shared_axes")

    def __init__(
        self,
        *,
        alpha_qparams: QParams | dict[str, Any],
        shared_axes: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_qparams = as_qparams(alpha_qparams)
        self.shared_axes = None if shared_axes is None else tuple(shared_axes)

    def build(self, input_shape: Shape) -> None:
        shape = list(input_shape[1:])
        for axis in self.shared_axes or ():
            shape[axis - 1] = 1
        self.alpha = self._add_integer_weight("alpha", shape, "int8")

    def call(self, inputs: Any) -> Any:
        table = arithmetic.prelu_table(
            self.input_qparams[0], self.alpha_qparams, self.output_qparams
        )
        row = ops.cast(ops.convert_to_tensor(self.alpha), "int32") + 128
        column = ops.cast(inputs, "int32") + 128
        return ops.take(table.reshape(-1), 256 * row + column, axis=0)


@register
class QuantizedSoftmax(QuantizedLayer):
    """int8 `Softmax` over the last axis.

    Exponentials come from a float32 table; their sum is taken in float32 from left to right, as
    LiteRT takes it: another order would differ in one output of ten million.
    """

    config_keys = ("axis",)
    unrolled_length = 64

    def __init__(self, *, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        table = arithmetic.softmax_table(self.input_qparams[0].scale)
        values = ops.cast(inputs, "int32")
        exponentials = ops.take(table, ops.max(values, axis=-1, keepdims=True) - values, axis=0)
        step = self.output_qparams.scale
        # LiteRT's 1 / (sum * step), written as 256 / sum: the step is a power of two, and of a
        # quotient of 1 TensorFlow makes an approximate reciprocal. Each maximum stops a compiler:
        # the first from dividing by the sum at the end, the second from contracting the product
        # into the subtraction.
        factor = ops.maximum(1.0 / step / self._sequential_sum(exponentials), 0.0)
        scaled = ops.maximum(exponentials * factor, 0.0)
        whole = ops.floor(scaled)
        rounded = whole + ops.cast(scaled - whole >= 0.5, "float32")
        return saturate(rounded + float(self.output_qparams.zero_point))

    def _sequential_sum(self, values: Any) -> Any:
        length = values.shape[-1]
        if length is not None and length <= self.unrolled_length:
            total = values[..., 0:1]
            for i in range(1, length):
                total = total + values[..., i : i + 1]
            return total
        columns = ops.moveaxis(values, -1, 0)
        start = ops.zeros_like(columns[0])
        total, _ = ops.scan(lambda carry, column: (carry + column, None), start, columns)
        return ops.expand_dims(total, -1)
