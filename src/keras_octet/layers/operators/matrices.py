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
        size = inputs.shape[-1]
        check_sizes(size, size)
        diagonal = np.eye(size, dtype=dtype)
        return ops.multiply(ops.expand_dims(inputs, -1), diagonal)


@register
class MatrixSetDiag(OperatorLayer):
    """Matrices with another diagonal; inputs are matrices `(..., m, n)` and diagonals."""

    def call(self, inputs: Any) -> Any:
        matrices, diagonal = inputs
        rows, columns = matrices.shape[-2:]
        check_sizes(rows, columns)
        length = min(rows, columns)
        widths = [(0, 0)] * (len(diagonal.shape) - 1)
        column = ops.expand_dims(ops.pad(diagonal, [*widths, (0, rows - length)]), -1)
        return ops.where(np.eye(rows, columns, dtype=bool), column, matrices)
