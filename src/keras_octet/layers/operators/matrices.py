"""Operators on the diagonal of matrices in the last two axes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer, check_sizes


@register
class MatrixDiag(OperatorLayer):
    """`(..., n)` to matrices `(..., n, n)` of zeros with the values on the diagonal."""

    def call(self, inputs: Any) -> Any:
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        diagonal = np.eye(inputs.shape[-1], dtype=dtype)
        return ops.multiply(ops.expand_dims(inputs, -1), diagonal)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        size = inputs.shape[-1]
        check_sizes(size, size)
        return self._like(inputs, shape=(*inputs.shape, size))


@register
class MatrixSetDiag(OperatorLayer):
    """Matrices with another diagonal; inputs are matrices `(..., m, n)` and diagonals."""

    def call(self, inputs: Any) -> Any:
        matrices, diagonal = inputs
        rows, columns = matrices.shape[-2:]
        length = min(rows, columns)
        widths = [(0, 0)] * (len(diagonal.shape) - 1)
        column = ops.expand_dims(ops.pad(diagonal, [*widths, (0, rows - length)]), -1)
        return ops.where(np.eye(rows, columns, dtype=bool), column, matrices)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        matrices, diagonal = inputs
        *lead, rows, columns = matrices.shape
        check_sizes(rows, columns)
        length = min(rows, columns)
        if len(diagonal.shape) != len(lead) + 1 or diagonal.shape[-1] != length:
            raise ValueError(
                f"Matrices {tuple(matrices.shape)} have diagonals {(*lead, length)}. "
                f"Received: {tuple(diagonal.shape)}"
            )
        return self._like(matrices)
