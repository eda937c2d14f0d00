"""One batch of one model input: from what the user has to a checked NumPy array."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.errors import CalibrationError


def is_array(value: Any) -> bool:
    """Whether `value` is an array or tensor of some library, rather than a container of them."""
    if isinstance(value, (np.ndarray, np.generic)):
        return True
    if isinstance(value, keras.KerasTensor):  # symbolic: no data
        return False
    is_typed = hasattr(value, "dtype") or hasattr(value, "__array__")
    return is_typed and hasattr(value, "shape") and hasattr(value, "__getitem__")


def to_numpy(value: Any, where: str) -> np.ndarray:
    """A NumPy array of an array or tensor of any library, on any device.

    Raises:
        CalibrationError: it is sparse or ragged, or it does not convert.
    """
    if isinstance(value, np.ndarray):
        return value
    if any(hasattr(value, name) for name in ("to_tensor", "nested_row_splits", "todense")):
        raise CalibrationError(
            f"{where}: expected a dense array. Received: {type(value).__name__}. "
            "Convert it to a dense array first."
        )
    try:
        if keras.ops.is_tensor(value):
            return np.asarray(keras.ops.convert_to_numpy(value))
        if hasattr(value, "detach"):  # a torch tensor while Keras runs on another backend
            value = value.detach().cpu()
            if "bfloat16" in str(value.dtype):
                value = value.float()
        return np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CalibrationError(
            f"{where}: a {type(value).__name__} does not convert to a NumPy array: {error}"
        ) from error


def to_input(value: Any, tensor: keras.KerasTensor, where: str) -> np.ndarray:
    """`value` as a contiguous array of the dtype and shape (batch axis first) of a model input.

    A last axis of size 1 may be missing or be one too many, as in `keras.Model.predict`.

    Args:
        value: array or tensor of any library.
        tensor: the model's input.
        where: start of the error messages: which batch, which input.

    Raises:
        CalibrationError: dtype or shape do not fit, or a value is NaN, infinite or out of range.
    """
    array = to_numpy(value, where)
    return _cast(_fit_shape(array, tuple(tensor.shape), where), str(tensor.dtype), where)


def _fit_shape(array: np.ndarray, expected: tuple[int | None, ...], where: str) -> np.ndarray:
    fitted = array
    if array.ndim == len(expected) - 1 and expected[-1] == 1 and array.ndim:
        fitted = array[..., np.newaxis]
    elif array.ndim == len(expected) + 1 and array.shape[-1] == 1:
        fitted = array[..., 0]
    # The batch axis is not compared: batches are put together and cut later.
    if fitted.ndim == len(expected) and all(
        size in (None, actual) for size, actual in zip(expected[1:], fitted.shape[1:], strict=True)
    ):
        return fitted
    sample = expected[1:]
    hint = ""
    if array.ndim == len(sample) and all(
        size in (None, actual) for size, actual in zip(sample, array.shape, strict=True)
    ):
        hint = " It looks like one sample: add a batch axis, with x[None] or by batching the data."
    elif sorted(array.shape[1:], key=str) == sorted(sample, key=str):
        hint = " Are the axes in another order?"
    shape = ", ".join("batch" if not i else str(size) for i, size in enumerate(expected))
    raise CalibrationError(
        f"{where}: expected shape ({shape}). Received: {tuple(array.shape)}.{hint}"
    )


def _cast(array: np.ndarray, dtype: str, where: str) -> np.ndarray:
    source = array.dtype
    # ml_dtypes such as bfloat16 are of kind "V"; they cast to float32 without loss.
    is_number = source.kind in "fiub" or (source.kind == "V" and source.fields is None)
    if not is_number or (source.kind == "V" and source.itemsize > 2):
        raise CalibrationError(
            f"{where}: expected numbers that cast to {dtype}. Received dtype: {source}."
        )
    if source.kind == "V":
        array = array.astype(np.float32)
    if dtype in ("bfloat16", "float16", "float64"):
        dtype = "float32"
    target = np.dtype(dtype)
    if array.size == 0:
        return np.ascontiguousarray(array, target)
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        rows = ~np.isfinite(array).reshape(array.shape[0], -1).all(axis=1)
        raise CalibrationError(
            f"{where}: NaN or infinite values, first in sample {int(np.argmax(rows))} of the batch."
        )
    if target.kind in "iu":
        limits = np.iinfo(target)
        if low < limits.min or high > limits.max:
            raise CalibrationError(
                f"{where}: values from {low} to {high} do not fit the input's dtype {dtype}."
            )
        if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
            raise CalibrationError(
                f"{where}: expected whole numbers for the input's dtype {dtype}. "
                f"Received {source} with fractions."
            )
    # Compared as Python floats: NumPy would first round the value to float32, and overflow.
    elif target.kind == "f" and max(-float(low), float(high)) > float(np.finfo(target).max):
        raise CalibrationError(f"{where}: values from {low} to {high} overflow {dtype}.")
    return np.ascontiguousarray(array, target)
