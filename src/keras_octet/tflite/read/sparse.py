"""Constants that a file stores sparsely: the values that are not 0, and where they are.

The format is that of TACO: the axes of the tensor, some of them cut into blocks whose inside is an
axis of its own, are levels of a tree. A dense level has each of its indices below every node of the
level before; a sparse one (compressed, as the rows of CSR) lists those it has.

Source: `SparsityParameters` in the schema of TensorFlow Lite; Kjolstad et al., "The Tensor Algebra
Compiler" (2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ModelFileError
from keras_octet.tflite.read.vectors import as_array


def stored_places(
    name: str, shape: tuple[int, ...], sparsity: Any, levels: Sequence[Any], limit: int
) -> np.ndarray:
    """Where each stored value belongs.

    Args:
        name: of the tensor, for errors.
        shape: of the dense tensor.
        sparsity, levels: of the file; one level for each entry of the traversal order.
        limit: most nodes that a level may have, and so most values.

    Returns:
        Flat indices into the dense tensor, int64, in the order of the stored values.

    Raises:
        ModelFileError: the parts do not fit each other or the shape.
    """
    order = as_array(sparsity.TraversalOrderAsNumpy()).tolist()
    blocked = as_array(sparsity.BlockMapAsNumpy()).tolist()
    rank = len(shape)
    fits = sorted(order) == list(range(len(levels))) and len(levels) == rank + len(blocked)
    if not fits or len(set(blocked)) < len(blocked) or not set(blocked) <= set(range(rank)):
        raise _misfit(name, f"{len(levels)} levels in order {order} with blocks of axes {blocked}")
    strides = [math.prod(shape[axis + 1 :]) for axis in range(rank)]
    sizes = list(shape)
    for block, axis in enumerate(blocked, start=rank):
        level = levels[order.index(block)]
        size = level.DenseSize()
        if level.Format() != schema.DimensionType.DENSE or size < 1 or sizes[axis] % size:
            raise _misfit(name, f"blocks of {size} along axis {axis}")
        sizes.append(size)
        strides.append(strides[axis])
        sizes[axis] //= size
        strides[axis] *= size
    places = np.zeros(1, np.int64)
    for axis, level in zip(order, levels, strict=True):
        if level.Format() == schema.DimensionType.DENSE:
            if level.DenseSize() != sizes[axis] or len(places) * sizes[axis] > limit:
                raise _misfit(name, f"a dense level of {level.DenseSize()}")
            places = (places[:, None] + np.arange(sizes[axis]) * strides[axis]).reshape(-1)
            continue
        segments = _vector(level.ArraySegmentsType(), level.ArraySegments())
        indices = _vector(level.ArrayIndicesType(), level.ArrayIndices())
        counts = np.diff(segments)
        if (
            level.Format() != schema.DimensionType.SPARSE_CSR
            or len(indices) > limit
            or len(segments) != len(places) + 1
            or segments[0] != 0
            or segments[-1] != len(indices)
            or (counts < 0).any()
            or ((indices < 0) | (indices >= sizes[axis])).any()
        ):
            raise _misfit(name, f"a sparse level of {len(indices)} indices")
        places = np.repeat(places, counts) + indices * strides[axis]
    return places


def _misfit(name: str, what: str) -> ModelFileError:
    return ModelFileError(f"Sparse constant {name!r} has {what}, which does not fit its shape.")


_VECTORS = {
    schema.SparseIndexVector.Int32Vector: schema.Int32Vector,
    schema.SparseIndexVector.Uint16Vector: schema.Uint16Vector,
    schema.SparseIndexVector.Uint8Vector: schema.Uint8Vector,
}


def _vector(kind: int, table: Any) -> np.ndarray:
    """Segments or indices, which a file stores as narrowly as it can."""
    if kind not in _VECTORS or table is None:
        return np.empty(0, np.int64)
    vector = _VECTORS[kind]()
    vector.Init(table.Bytes, table.Pos)
    return as_array(vector.ValuesAsNumpy()).astype(np.int64)
