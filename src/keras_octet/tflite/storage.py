"""Constants stored narrower than they are computed with: float16, or integers with scales.

A DEQUANTIZE at the start of the file makes them float32. LiteRT's delegate takes float16 weights as
they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.graph import Graph, Operator, Quantization, Tensor

WEIGHTS = ("float32", "float16")
_FLOAT16: dict[str, Any] = {"dtype": "float16"}


def narrow_constants(graph: Graph, weights: str | None) -> None:
    """Replace float32 constants by narrower ones and a DEQUANTIZE, in place.

    Args:
        graph: all operators are in it.
        weights: `"float16"`: every constant of two values or more is rounded, unless float16 cannot
            hold them. `"float32"`: none. None: those that the loaded file stored so, as long as
            that gives back their values exactly.

    Raises:
        ExportError: `weights` is something else.
    """
    if weights not in (None, *WEIGHTS):
        raise ExportError(f"Expected weights={WEIGHTS} or None. Received: weights={weights!r}")
    if weights is None:
        wanted: Mapping[int, Mapping[str, Any]] = graph.storage
    elif weights == "float16":
        read = {i for operator in graph.operators for i in operator.inputs if i >= 0}
        wanted = dict.fromkeys(sorted(read), _FLOAT16)
    else:
        wanted = {}
    first = []
    for index, storage in wanted.items():
        tensor = graph.tensors[index]
        narrow = _narrow(tensor, storage, exact=weights is None)
        if narrow is None:
            continue
        dtype, quantization = storage["dtype"], _quantization(storage)
        name = storage.get("name", f"{tensor.name}/{dtype}")
        source = graph.tensor(name, tensor.shape, dtype, quantization)
        graph.tensors[source].data, tensor.data = narrow, None
        graph.forget(index)
        options = schema.DequantizeOptionsT()
        first.append(Operator("DEQUANTIZE", [source], [index], options))
    graph.operators[:0] = first


def storage_of(tensor: Tensor) -> dict[str, Any]:
    """How a constant of a file is stored, as JSON can hold it."""
    storage: dict[str, Any] = {"name": tensor.name, "dtype": tensor.dtype}
    if tensor.quantization is not None:
        storage["scale"] = tensor.quantization.scale.tolist()
        storage["zero_point"] = tensor.quantization.zero_point.tolist()
        storage["axis"] = tensor.quantization.axis
    return storage


def dequantized(values: np.ndarray, quantization: Quantization) -> np.ndarray:
    """`scale * (q - zero_point)` in float32, as LiteRT rounds it."""
    scale, zero_point = _along(quantization, values.ndim)
    offset = values.astype(np.int64) - zero_point
    return np.asarray(offset.astype(np.float32) * scale)


def _along(quantization: Quantization, rank: int) -> tuple[np.ndarray, np.ndarray]:
    shape = [1] * rank
    if quantization.scale.size > 1:
        shape[quantization.axis] = -1
    return quantization.scale.reshape(shape), quantization.zero_point.reshape(shape)


def _quantization(storage: Mapping[str, Any]) -> Quantization | None:
    if "scale" not in storage:
        return None
    return Quantization(
        scale=np.array(storage["scale"], np.float32),
        zero_point=np.array(storage["zero_point"], np.int64),
        axis=storage["axis"],
    )


def _narrow(tensor: Tensor, storage: Mapping[str, Any], *, exact: bool) -> np.ndarray | None:
    """The values as stored; None if they cannot be, or if `exact` and they come back changed."""
    data = tensor.data
    if data is None or data.dtype != np.float32 or data.size < 2:
        return None
    quantization = _quantization(storage)
    with np.errstate(over="ignore", invalid="ignore"):
        if quantization is None:
            narrow = data.astype(np.float16)
            back = narrow.astype(np.float32)
            return narrow if np.array_equal(back, data) or _fits(narrow, exact) else None
        if quantization.scale.size > 1 and (
            data.shape[quantization.axis] != quantization.scale.size
        ):
            return None
        scale, zero_point = _along(quantization, data.ndim)
        integers = np.rint(data / scale) + zero_point
        limit = 8 if storage["dtype"] == "int4" else 128
        narrow = np.clip(np.nan_to_num(integers), -limit, limit - 1).astype(np.int8)
    return narrow if np.array_equal(dequantized(narrow, quantization), data) else None


def _fits(narrow: np.ndarray, exact: bool) -> bool:
    return not exact and bool(np.isfinite(narrow).all())
