"""int8 activations: each is a table of 256 entries, or what gives the same, except softmax."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from keras import ops

from keras_octet import arithmetic, builtin_kernels, in_float
from keras_octet.layers import fixed_point
from keras_octet.layers.base import (
    QuantizedLayer,
    Shape,
    apply_table,
    apply_table_of_pairs,
    register,
    saturate,
    shifted,
)
from keras_octet.qparams import INTEGER_RANGES, QParams, as_qparams


class QuantizedTable(QuantizedLayer):
    """int8 to int8 by lookup, or in float32; subclasses build the table from the parameters."""

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        raise NotImplementedError

    def _in_float(self, inputs: Any, source: QParams, target: QParams) -> Any:
        """In float32 what rounds to entries of the table; None: look them up.

        Several times as fast where TensorFlow does not compile it.
        """
        return None

    def call(self, inputs: Any) -> Any:
        source, target = self.input_qparams[0], self.output_qparams
        values = self._in_float(inputs, source, target)
        if values is None:
            return apply_table(self._table(source, target), inputs)
        return saturate(ops.round(values))


def _corrected(
    values: Any, source: QParams, target: QParams, correction: in_float.Correction
) -> Any:
    """From steps of the input to those of the output, with a factor and an offset."""
    factor, offset = correction
    scaled = values * (source.scale / target.scale * factor)
    return scaled + (offset / target.scale + target.zero_point)


@register
class Requantize(QuantizedLayer):
    """The same real values under other parameters: `(M*(q-zi) + 256*zo + 128) >> 8`.

    In fixed point between int8 and uint8, and where the scales are too far apart for XNNPACK. The
    built-in kernel works on 16 values at once and rounds ties of those left over the other way.
    """

    @property
    def output_dtype(self) -> str:  # type: ignore[override]
        return str(self.output_qparams.dtype)

    def call(self, inputs: Any) -> Any:
        source, target = self.input_qparams[0], self.output_qparams
        places = ops.cast(inputs, "int32") - INTEGER_RANGES[source.dtype][0]
        if source.dtype == target.dtype and arithmetic.can_requantize(source, target):
            return ops.take(arithmetic.requantize_table(source, target), places, axis=0)
        table, left_over = builtin_kernels.requantize_tables(source, target)
        if (table == left_over).all():
            return ops.take(table, places, axis=0)
        flat = ops.reshape(places, (-1,))
        size = ops.shape(flat)[0]
        first = ops.arange(size, dtype="int32") < size - size % 16
        values = ops.where(first, ops.take(table, flat), ops.take(left_over, flat))
        return ops.reshape(values, ops.shape(inputs))


@register
class QuantizedReLU(QuantizedTable):
    """int8 `ReLU` that no producer could fuse: values clipped to `[min_value, max_value]`.

    Args:
        max_value: None, 6 or 1.
        min_value: 0, or -1 with a `max_value` of 1.
    """

    config_keys = ("max_value", "min_value")

    def __init__(
        self, *, max_value: float | None = None, min_value: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value
        self.min_value = min_value

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return builtin_kernels.clip_table(source, target, self.min_value, self.max_value)

    def _in_float(self, inputs: Any, source: QParams, target: QParams) -> Any:
        if self.min_value != 0:
            return None
        found = in_float.clip_correction(source, target, self.max_value)
        if found is None:
            return None
        clipped = ops.maximum(shifted(inputs, source, "float32"), 0)
        if self.max_value is not None:
            clipped = ops.minimum(clipped, self.max_value / source.scale)
        return _corrected(clipped, source, target, found)


@register
class QuantizedLeakyReLU(QuantizedTable):
    """int8 `LeakyReLU`, in fixed point where the scales are too far apart for XNNPACK."""

    config_keys = ("negative_slope",)

    def __init__(self, *, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = float(negative_slope)

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        if arithmetic.leaky_relu_is_delegated(source, target, self.negative_slope):
            return arithmetic.leaky_relu_table(source, target, self.negative_slope)
        return builtin_kernels.leaky_relu_table(source, target, self.negative_slope)


@register
class QuantizedELU(QuantizedTable):
    """int8 `ELU` with alpha 1: `x if x >= 0 else exp(x) - 1`."""

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        def elu(x: np.ndarray) -> np.ndarray:
            return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)

        return arithmetic.function_table(elu, source, target)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


Table = Callable[[QParams, QParams], np.ndarray]
ACTIVATIONS: dict[str, Table] = {
    "sigmoid": partial(arithmetic.function_table, _sigmoid),
    "tanh": partial(arithmetic.function_table, np.tanh),
    "gelu": partial(builtin_kernels.function_table, builtin_kernels.gelu),
    "gelu_tanh": partial(builtin_kernels.function_table, builtin_kernels.gelu_tanh),
    "hard_silu": builtin_kernels.hard_swish_table,
}
FUNCTIONS: dict[str, Table] = {
    "abs": builtin_kernels.abs_table,
    "exp": partial(builtin_kernels.function_table, np.exp),
    "log": builtin_kernels.log_table,
    "negative": builtin_kernels.negate_table,
    "rsqrt": builtin_kernels.rsqrt_table,
    "sqrt": builtin_kernels.sqrt_table,
}


@register
class QuantizedActivation(QuantizedTable):
    """int8 activation by name: `"sigmoid"`, `"tanh"`, `"gelu"`, `"gelu_tanh"` or `"hard_silu"`."""

    config_keys = ("activation",)

    def __init__(self, *, activation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = _known(activation, ACTIVATIONS, "QuantizedActivation")

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return ACTIVATIONS[self.activation](source, target)

    def _in_float(self, inputs: Any, source: QParams, target: QParams) -> Any:
        if self.activation != "hard_silu":
            return None
        found = in_float.hard_swish_correction(source, target)
        if found is None:
            return None
        values = shifted(inputs, source, "float32")
        gate = ops.clip(values * (source.scale / 6) + 0.5, 0, 1)
        return _corrected(values * gate, source, target, found)


@register
class QuantizedFunction(QuantizedTable):
    """int8 function by name: `"abs"`, `"exp"`, `"log"`, `"negative"`, `"rsqrt"` or `"sqrt"`.

    `"negative"` negates the stored integer, whatever the parameters: so does LiteRT.
    """

    config_keys = ("function",)

    def __init__(self, *, function: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = _known(function, FUNCTIONS, "QuantizedFunction")

    def _table(self, source: QParams, target: QParams) -> np.ndarray:
        return FUNCTIONS[self.function](source, target)


def _known(name: str, tables: Mapping[str, Table], layer: str) -> str:
    if name not in tables:
        raise ValueError(f"{layer} computes {sorted(tables)}. Received: {name!r}")
    return name


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
        table = builtin_kernels.prelu_table(
            self.input_qparams[0], self.alpha_qparams, self.output_qparams
        )
        return apply_table_of_pairs(table, ops.convert_to_tensor(self.alpha), inputs)


@register
class QuantizedSoftmax(QuantizedLayer):
    """int8 `Softmax` over the last axis.

    Exponentials come from a float32 table; their sum is taken in float32 from left to right, as
    LiteRT takes it: another order would differ in one output of ten million.

    Args:
        axis: the last.
        beta: factor of the inputs.
    """

    config_keys = ("axis", "beta")

    def __init__(self, *, axis: int = -1, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        self.beta = float(beta)

    def call(self, inputs: Any) -> Any:
        table = builtin_kernels.softmax_table(self.input_qparams[0].scale, self.beta)
        values = ops.cast(inputs, "int32")
        exponentials = ops.take(table, ops.max(values, axis=-1, keepdims=True) - values, axis=0)
        step = self.output_qparams.scale
        # LiteRT's 1 / (sum * step), written as 256 / sum: the step is a power of two, and of a
        # quotient of 1 TensorFlow makes an approximate reciprocal. Each maximum stops a compiler:
        # the first from dividing by the sum at the end, the second from contracting the product
        # into the subtraction.
        factor = ops.maximum(1.0 / step / sequential_sum(exponentials), 0.0)
        scaled = ops.maximum(exponentials * factor, 0.0)
        whole = ops.floor(scaled)
        rounded = whole + ops.cast(scaled - whole >= 0.5, "float32")
        return saturate(rounded + float(self.output_qparams.zero_point))


def sequential_sum(values: Any, block_size: int = 64) -> Any:
    """float32 sum over the last axis from left to right, keeping the axis.

    TensorFlow makes one sum, in another order, of a chain of additions, but not of subtractions.
    """
    length = values.shape[-1] if isinstance(values.shape[-1], int) else None
    columns = ops.moveaxis(values, -1, 0)

    def subtract(total: Any, columns: Any, count: int) -> Any:
        for i in range(count):
            total = total - columns[i]
        return total

    size, first = (1, 0) if length is None else (block_size, length % block_size)
    total = subtract(ops.zeros_like(columns[0]), columns, first)
    if length is None or length > first:
        count, *others = ops.shape(columns)
        blocks = ops.reshape(columns[first:], (count // size, size, *others))
        total = ops.fori_loop(
            0, count // size, lambda i, total: subtract(total, blocks[i], size), total
        )
    return ops.expand_dims(-total, -1)


@register
class QuantizedLogSoftmax(QuantizedLayer):
    """int8 logarithm of softmax over the last axis: `x - max - log(sum(exp(x - max)))`.

    `rne(si / so * q - (si * max + log(sum)) / so) + zo` in float32, the sum as in
    `QuantizedSoftmax`.
    """

    def call(self, inputs: Any) -> Any:
        source, target = self.input_qparams[0], self.output_qparams
        table = builtin_kernels.softmax_table(source.scale)
        values = ops.cast(inputs, "int32")
        highest = ops.max(values, axis=-1, keepdims=True)
        total = sequential_sum(ops.take(table, highest - values, axis=0))
        # Each maximum stops a compiler from contracting a product into a sum.
        top = ops.maximum(ops.cast(highest, "float32") * source.scale, -1e30)
        offset = (top + ops.log(total)) / target.scale
        ratio = float(np.float32(source.scale) / np.float32(target.scale))
        scaled = ops.maximum(ops.cast(values, "float32") * ratio, -1e30)
        return saturate(ops.round(scaled - offset) + float(target.zero_point))


@register
class QuantizedL2Normalization(QuantizedLayer):
    """int8 `x / |x|` over the last axis in fixed point; the output has scale 1 / 128."""

    def call(self, inputs: Any) -> Any:
        values = shifted(inputs, self.input_qparams[0])
        total = ops.sum(values * values, axis=-1, keepdims=True)
        multiplier, exponent = fixed_point.inverse_square_root(total)
        return saturate(fixed_point.scaled(values, multiplier, exponent + 7))
