"""Per-channel affine maps: normalization layers, and arithmetic with constants, to Rescaling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_octet.capture.canonical import to_numpy
from keras_octet.capture.keras_private import numpy_operations
from keras_octet.capture.lower.activations import emit_relu
from keras_octet.capture.lower.layout import axis_from_last, axis_to_last
from keras_octet.capture.lower.registry import Call, lowers


def as_setting(value: np.ndarray) -> float | np.ndarray:
    """A constructor argument of Rescaling: a float, or a float32 vector over the last axis."""
    value = np.asarray(value, np.float64).reshape(-1)
    if np.all(value == value[0]):
        return float(value[0])
    return value.astype(np.float32)


def emit_affine(call: Call, x: Any, scale: Any, offset: Any) -> Any:
    """Emit `scale * x + offset` for constants that vary along one axis at most.

    Returns None if the constants vary along several axes, or if they would add axes.
    """
    rank = len(x.shape)
    scale, offset = np.asarray(scale, np.float64), np.asarray(offset, np.float64)
    if max(scale.ndim, offset.ndim) > rank:
        return None
    shapes = [(1,) * (rank - array.ndim) + array.shape for array in (scale, offset)]
    axes = {axis for shape in shapes for axis, size in enumerate(shape) if size != 1}
    if len(axes) > 1 or 0 in axes:
        return None
    axis = axes.pop() if axes else rank - 1
    size = max(shape[axis] for shape in shapes)
    if size not in (1, x.shape[axis]):
        return None
    settings: dict[str, Any] = {
        "scale": as_setting(np.broadcast_to(scale.reshape(-1), (size,))),
        "offset": as_setting(np.broadcast_to(offset.reshape(-1), (size,))),
    }
    if axis == rank - 1:
        return call.emit(keras.layers.Rescaling, x, **settings)
    y = call.emit(keras.layers.Rescaling, axis_to_last(call, x, axis), **settings)
    return axis_from_last(call, y, axis)


def _along(axis: int, rank: int, vector: np.ndarray) -> np.ndarray:
    shape = [1] * rank
    shape[axis % rank] = -1
    return vector.reshape(shape)


@lowers(keras.layers.BatchNormalization)
def _batch_normalization(call: Call) -> Any:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, with the moving statistics."""
    layer, rank = call.operation, len(call.x.shape)
    variance = to_numpy(layer.moving_variance).astype(np.float64)
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * to_numpy(layer.gamma)
    offset = -to_numpy(layer.moving_mean) * scale
    if layer.center:
        offset = offset + to_numpy(layer.beta)
    axis = layer.axis
    return emit_affine(call, call.x, _along(axis, rank, scale), _along(axis, rank, offset))


@lowers(keras.layers.Normalization)
def _normalization(call: Call) -> Any:
    """(x - mean) / max(sqrt(variance), epsilon), or its inverse."""
    layer = call.operation
    mean = to_numpy(layer.mean).astype(np.float64)
    deviation = np.sqrt(to_numpy(layer.variance).astype(np.float64))
    deviation = np.maximum(deviation, keras.config.epsilon())
    if layer.invert:
        return emit_affine(call, call.x, deviation, mean)
    return emit_affine(call, call.x, 1.0 / deviation, -mean / deviation)


@lowers(keras.layers.Rescaling)
def _rescaling(call: Call) -> Any:
    layer = call.operation
    scale, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    if keras.config.image_data_format() == "channels_first" and scale.ndim:
        # Keras appends axes to the scale in this case, and not to the offset.
        scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
    return emit_affine(call, call.x, scale, offset)


def _arithmetic(
    merge: type | None,
    constant_right: Callable[[Any], tuple[Any, Any]] | None,
    constant_left: Callable[[Any], tuple[Any, Any]] | None,
) -> Callable[[Call], Any]:
    """Lowering of `left . right`: a merge of two tensors, or an affine map for a constant."""

    def lower(call: Call) -> Any:
        if not call.is_float:
            return None
        left, right = call.arguments().values()
        left_is_tensor = isinstance(left, keras.KerasTensor)
        right_is_tensor = isinstance(right, keras.KerasTensor)
        if left_is_tensor and right_is_tensor:
            same_rank = len(left.shape) == len(right.shape)
            return call.emit(merge, [left, right]) if merge and same_rank else None
        affine = constant_right if left_is_tensor else constant_left
        x, constant = (left, right) if left_is_tensor else (right, left)
        if affine is None or not _is_number(constant) or len(x.shape) < 2:
            return None
        return emit_affine(call, x, *affine(np.asarray(constant, np.float64)))

    return lower


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.ndarray, np.number)) and not isinstance(value, bool)


def _add(constant: Any) -> tuple[Any, Any]:
    return 1.0, constant


def _multiply(constant: Any) -> tuple[Any, Any]:
    return constant, 0.0


lowers(numpy_operations.Add)(_arithmetic(keras.layers.Add, _add, _add))
lowers(numpy_operations.Multiply)(_arithmetic(keras.layers.Multiply, _multiply, _multiply))
lowers(numpy_operations.Subtract)(
    _arithmetic(keras.layers.Subtract, lambda c: (1.0, -c), lambda c: (-1.0, c))
)
lowers(numpy_operations.Divide, numpy_operations.TrueDivide)(
    _arithmetic(None, lambda c: (1.0 / c, 0.0), None)
)


def _extremum(merge: type) -> Callable[[Call], Any]:
    def lower(call: Call) -> Any:
        left, right = call.arguments().values()
        tensors = [v for v in (left, right) if isinstance(v, keras.KerasTensor)]
        if not call.is_float:
            return None
        if len(tensors) == 2:
            same_rank = len(left.shape) == len(right.shape)
            return call.emit(merge, [left, right]) if same_rank else None
        constant = right if left is tensors[0] else left
        if merge is keras.layers.Maximum and _is_number(constant) and np.all(constant == 0):
            return emit_relu(call, tensors[0])
        return None

    return lower


lowers(numpy_operations.Maximum)(_extremum(keras.layers.Maximum))
lowers(numpy_operations.Minimum)(_extremum(keras.layers.Minimum))


@lowers(numpy_operations.Negative)
def _negative(call: Call) -> Any:
    return emit_affine(call, call.x, -1.0, 0.0) if call.is_float else None


@lowers(numpy_operations.Square)
def _square(call: Call) -> Any:
    return call.emit(keras.layers.Multiply, [call.x, call.x]) if call.is_float else None
