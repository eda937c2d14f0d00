"""What the emit functions share: schema constants, the activation of a layer, argument lookup."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.graph import TENSOR_TYPES, Graph, Shape

EmitFunction = Callable[[Any, Graph, list[int], int], None]
"""`emit(operation, graph, inputs, output)`: append operators that compute tensor `output`."""

NO_ACTIVATION = schema.ActivationFunctionType.NONE
FUSED_ACTIVATIONS: dict[str, int] = {
    "linear": NO_ACTIVATION,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "hard_tanh": schema.ActivationFunctionType.RELU_N1_TO_1,
}
PADDING: dict[str, int] = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}


def activation_name(layer: Any) -> str:
    """Name of the activation of a layer: `"linear"` for none; a callable's registered name."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    if isinstance(activation, str):
        return activation
    name = getattr(activation, "__name__", "")
    if getattr(keras.activations, name, None) is activation:
        return str(name)  # what `serialize` gives, which would import TensorFlow to find out
    name = keras.activations.serialize(activation)
    if not isinstance(name, str):
        raise ExportError(
            f"has activation {activation!r}, which has no .tflite form. Use a built-in activation."
        )
    return name


def fused_activation(layer: Any) -> int:
    """The activation of a layer as an option of its operator.

    Raises:
        ExportError: operators cannot fuse it.
    """
    name = activation_name(layer)
    if name not in FUSED_ACTIVATIONS:
        raise ExportError(
            f"has activation {name!r}; an operator fuses only {sorted(FUSED_ACTIVATIONS)}. "
            "Make the activation a layer of its own."
        )
    return FUSED_ACTIVATIONS[name]


def padding_of(layer: Any) -> int:
    """`layer.padding` as an option.

    Raises:
        ExportError: it is neither "same" nor "valid".
    """
    if layer.padding not in PADDING:
        raise ExportError(
            f"has padding={layer.padding!r}; expected one of {sorted(PADDING)}. "
            "Pad with a ZeroPadding layer instead."
        )
    return PADDING[layer.padding]


def quantized_bias_type(layer: Any) -> int:
    """The type of the bias as an option, which int16 operators read; the default for others."""
    bias_dtype = getattr(layer, "bias_dtype", None)
    return TENSOR_TYPES[bias_dtype] if bias_dtype else schema.TensorType.FLOAT32


def require_channels_last(layer: Any) -> None:
    """Raises ExportError when the layer's data format is "channels_first"."""
    data_format = getattr(layer, "data_format", None) or "channels_last"
    if data_format != "channels_last":
        raise ExportError(f"has data_format={data_format!r}; expected 'channels_last'.")


def pair(value: Any) -> tuple[int, int]:
    """An int or a sequence of two ints as two ints."""
    if isinstance(value, (int, np.integer)):
        return int(value), int(value)
    first, second = value
    return int(first), int(second)


def argument(graph: Graph, name: str, default: Any = None) -> Any:
    """What the operation being emitted was called with, or configured with, as `name`.

    An Operation keeps some arguments as attributes and takes others in `call`.
    """
    assert graph.call is not None
    call = graph.call
    bound = inspect.signature(call.operation.call).bind(*call.args, **call.kwargs).arguments
    if name in bound:
        return bound[name]
    return getattr(call.operation, name, default)


def positive_axes(axis: Any, rank: int) -> tuple[int, ...]:
    """Axes as sorted non-negative ints; None means all."""
    if axis is None:
        return tuple(range(rank))
    axes: Sequence[Any] = [axis] if isinstance(axis, (int, np.integer)) else axis
    return tuple(sorted(int(item) % rank for item in axes))


def axes_constant(graph: Graph, axes: Sequence[int]) -> int:
    """Axes as an int32 constant."""
    return graph.constant(np.array(axes, np.int32), name="axes")


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """Shape of a reduction over `axes`."""
    if keepdims:
        return tuple(1 if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def broadcast_shape(first: Shape, second: Shape) -> Shape:
    """Shape of an element-wise operation; an unknown size beats 1."""
    rank = max(len(first), len(second))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in (first, second)]
    return tuple(b if a == 1 else a for a, b in zip(*padded, strict=True))
