"""Activations: arguments of layers, activation layers and keras.ops calls to one canonical form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_octet.capture.canonical import to_numpy
from keras_octet.capture.keras_private import (
    activation_operations,
    nn_operations,
    numpy_operations,
)
from keras_octet.capture.lower.layout import axis_from_last, axis_to_last
from keras_octet.capture.lower.registry import Call, lowers

# What Selu multiplies by, from "Self-Normalizing Neural Networks" (Klambauer et al., 2017).
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def emit_activation(call: Call, function: Any, x: Any) -> Any:
    """Emit the activation given to a layer, after the layer itself."""
    if function is None or function is keras.activations.linear:
        return x
    name = getattr(function, "__name__", type(function).__name__)
    suffix = f"_{name}" if name.isidentifier() else "_activation"
    follower = Call(
        operation=call.operation,
        args=(x,),
        kwargs={},
        inputs=call.inputs,
        outputs=call.outputs,
        path=call.path,
        lowering=call.lowering,
        name=call.name + suffix,
    )
    return emit_function(follower, function, x)


def emit_function(call: Call, function: Any, x: Any) -> Any:
    """Emit a Python activation function: by name, by tracing it, or as an Activation island."""
    if function is None or function is keras.activations.linear:
        return x
    emit = _FUNCTIONS.get(function) if getattr(function, "__hash__", None) else None
    if emit is not None:
        return emit(call, x)
    result = call.lowering.lower_function(call, function, x, call.outputs[0].dtype)
    return call.emit(keras.layers.Activation, x, activation=function) if result is None else result


def emit_relu(
    call: Call,
    x: Any,
    *,
    max_value: float | None = None,
    negative_slope: float = 0.0,
    threshold: float = 0.0,
) -> Any:
    """ReLU in all its forms; a threshold keeps the layer as an island."""
    max_value = None if max_value is None else float(max_value)
    slope, threshold = float(negative_slope), float(threshold)
    if threshold or max_value == 0 or max_value == float("inf"):
        if threshold == 0 and slope == 0 and max_value == float("inf"):
            return call.emit(keras.layers.ReLU, x)
        return call.emit(
            keras.layers.ReLU,
            x,
            max_value=max_value,
            negative_slope=slope,
            threshold=threshold,
        )
    if not slope:
        return call.emit(keras.layers.ReLU, x, max_value=max_value)
    x = call.emit(keras.layers.LeakyReLU, x, negative_slope=slope)
    if max_value is None:
        return x
    # min(x, m) = m - relu(m - x)
    x = call.emit(keras.layers.Rescaling, x, suffix="_negate", scale=-1.0, offset=max_value)
    x = call.emit(keras.layers.ReLU, x, suffix="_clip")
    return call.emit(keras.layers.Rescaling, x, suffix="_max", scale=-1.0, offset=max_value)


def _relu6(call: Call, x: Any) -> Any:
    return emit_relu(call, x, max_value=6.0)


def _silu(call: Call, x: Any) -> Any:
    gate = call.emit(keras.layers.Activation, x, suffix="_sigmoid", activation="sigmoid")
    return call.emit(keras.layers.Multiply, [x, gate])


def _hard_sigmoid(call: Call, x: Any) -> Any:
    """The function relu6(x + 3) / 6."""
    x = call.emit(keras.layers.Rescaling, x, suffix="_shift", scale=1.0, offset=3.0)
    x = call.emit(keras.layers.ReLU, x, suffix="_relu6", max_value=6.0)
    return call.emit(keras.layers.Rescaling, x, scale=1.0 / 6.0, offset=0.0)


def _elu(call: Call, x: Any, alpha: float = 1.0) -> Any:
    return call.emit(keras.layers.ELU, x, alpha=float(alpha))


def _selu(call: Call, x: Any) -> Any:
    x = call.emit(keras.layers.ELU, x, suffix="_elu", alpha=_SELU_ALPHA)
    return call.emit(keras.layers.Rescaling, x, scale=_SELU_SCALE, offset=0.0)


def emit_softmax(call: Call, x: Any, axis: Any = -1) -> Any:
    """Softmax over one axis, moved to the end."""
    if isinstance(axis, (list, tuple)):
        if len(axis) > 1:
            return None
        axis = axis[0]
    rank = len(x.shape)
    if axis % rank == 0:
        return None
    if axis % rank == rank - 1:
        return call.emit(keras.layers.Softmax, x, axis=-1)
    x = axis_to_last(call, x, axis)
    return axis_from_last(call, call.emit(keras.layers.Softmax, x, axis=-1), axis)


def _named(activation: str) -> Callable[[Call, Any], Any]:
    def emit(call: Call, x: Any) -> Any:
        return call.emit(keras.layers.Activation, x, activation=activation)

    return emit


def _emit_leaky_relu(call: Call, x: Any, negative_slope: float = 0.2) -> Any:
    return emit_relu(call, x, negative_slope=negative_slope)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    keras.activations.relu: emit_relu,
    keras.activations.relu6: _relu6,
    keras.activations.sigmoid: _named("sigmoid"),
    keras.activations.tanh: _named("tanh"),
    keras.activations.silu: _silu,
    keras.activations.hard_silu: _named("hard_silu"),
    keras.activations.hard_sigmoid: _hard_sigmoid,
    keras.activations.leaky_relu: _emit_leaky_relu,
    keras.activations.elu: _elu,
    keras.activations.selu: _selu,
    keras.activations.softmax: emit_softmax,
    keras.activations.gelu: _named("gelu"),
}


@lowers(keras.layers.Activation)
def _activation_layer(call: Call) -> Any:
    return emit_function(call, call.operation.activation, call.x)


@lowers(keras.layers.ReLU, activation_operations.ReLU)
def _relu_layer(call: Call) -> Any:
    return emit_relu(
        call,
        call.x,
        max_value=call.operation.max_value,
        negative_slope=call.operation.negative_slope,
        threshold=call.operation.threshold,
    )


@lowers(keras.layers.LeakyReLU, nn_operations.LeakyRelu)
def _leaky_relu(call: Call) -> Any:
    return emit_relu(call, call.x, negative_slope=call.operation.negative_slope)


@lowers(keras.layers.ELU, nn_operations.Elu)
def _elu_layer(call: Call) -> Any:
    return _elu(call, call.x, call.operation.alpha)


@lowers(keras.layers.PReLU)
def _prelu(call: Call) -> Any:
    return call.emit(
        keras.layers.PReLU,
        call.x,
        weights={"alpha": to_numpy(call.operation.alpha)},
        shared_axes=call.operation.shared_axes,
    )


@lowers(keras.layers.Softmax, nn_operations.Softmax)
def _softmax_layer(call: Call) -> Any:
    if call.masked or len(call.args) > 1:
        return None
    return emit_softmax(call, call.x, call.operation.axis)


@lowers(nn_operations.Gelu)
def _gelu(call: Call) -> Any:
    return None if call.operation.approximate else _named("gelu")(call, call.x)


def _lower_as(emit: Callable[[Call, Any], Any]) -> Callable[[Call], Any]:
    return lambda call: emit(call, call.x) if call.is_float else None


for _operation, _emit in {
    nn_operations.Relu: emit_relu,
    nn_operations.Relu6: _relu6,
    nn_operations.Sigmoid: _named("sigmoid"),
    nn_operations.Silu: _silu,
    nn_operations.HardSilu: _named("hard_silu"),
    nn_operations.HardSigmoid: _hard_sigmoid,
    nn_operations.Selu: _selu,
    numpy_operations.Tanh: _named("tanh"),
}.items():
    lowers(_operation)(_lower_as(_emit))


@lowers(numpy_operations.Clip)
def _clip(call: Call) -> Any:
    low, high = call.operation.x_min, call.operation.x_max
    bounded = isinstance(low, (int, float)) and isinstance(high, (int, float))
    if not (call.is_float and bounded and low == 0 and high > 0):
        return None
    return emit_relu(call, call.x, max_value=high)
