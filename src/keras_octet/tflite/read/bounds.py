"""How far the float32 result of an operator may be from that of LiteRT, on every backend.

Integer arithmetic and what only moves values is exact and has no row. A float operator without a
row is exact too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Bound:
    """The largest difference, in units in the last place.

    Attributes:
        ulps: how many units.
        of: whose last place. `"value"`: each value's own; real and imaginary parts are values.
            `"largest"`: of the largest magnitude of the output, for sums of terms that can cancel.
            `"terms"`: of the sum of the magnitudes of these terms, for one step in time from the
            same state. A difference of states is carried on as the weights say.
    """

    ulps: int = 0
    of: Literal["value", "largest", "terms"] = "value"

    def __str__(self) -> str:
        if not self.ulps:
            return "exact"
        return f"{self.ulps} ulp" + _WORDS[self.of]

    def tolerance(self, expected: np.ndarray, terms: np.ndarray | None = None) -> np.ndarray:
        """The largest difference from each value of `expected`, float32; NaN and infinity: 0.

        Args:
            expected: what LiteRT gives.
            terms: sums of magnitudes. Without them no terms are thought to cancel.
        """
        finite = np.where(np.isfinite(expected), expected, 0).astype(np.float32)
        size = np.abs(finite)
        if self.of == "terms" and terms is not None:
            size = np.maximum(size, terms.astype(np.float32))
        elif self.of != "value":
            size = np.broadcast_to(size.max(initial=0), size.shape)
        return self.ulps * np.spacing(np.maximum(size, np.finfo(np.float32).tiny))


_WORDS = {"value": "", "largest": " of the largest value", "terms": " of the terms, each step"}
EXACT = Bound()
# Twice what was measured on any backend, or more. Sums are of up to a hundred terms; their bound
# grows with the number of terms.
_OF_VALUE = {
    "ATAN2": 4,
    "DIV": 2,
    "EXP": 8,
    "L2_NORMALIZATION": 4,
    "LOCAL_RESPONSE_NORMALIZATION": 8,
    "LOGISTIC": 8,
    "POW": 4,
    "REDUCE_PROD": 16,
    "RSQRT": 4,
    "SOFTMAX": 8,
    "SQRT": 2,
    "TANH": 8,
}
_OF_LARGEST = {
    "AVERAGE_POOL_2D": 4,
    "BATCH_MATMUL": 8,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 32,
    "CONV_2D": 8,
    "CONV_3D": 8,
    "CONV_3D_TRANSPOSE": 8,
    "COS": 8,
    "CUMSUM": 8,
    "DEPTHWISE_CONV_2D": 8,
    "ELU": 2,
    "FULLY_CONNECTED": 8,
    "GELU": 4,
    "HARD_SWISH": 2,
    "L2_POOL_2D": 4,
    "LOG": 4,
    "LOG_SOFTMAX": 4,
    "LSTM": 16,
    "MEAN": 8,
    "RESIZE_BILINEAR": 32,
    "RFFT2D": 8,
    "SIN": 8,
    "SUM": 8,
    "TRANSPOSE_CONV": 8,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 32,
    # Of up to ten rounds of a recurrent layer; what a loop does to the errors of its rounds is its
    # own affair. A branch has the bounds of its operators.
    "WHILE": 32,
}
_OF_TERMS = {"RNN": 16, "SVDF": 16, "UNIDIRECTIONAL_SEQUENCE_RNN": 16}
BOUNDS: dict[tuple[str, str], Bound] = {
    **{(code, "float"): Bound(ulps) for code, ulps in _OF_VALUE.items()},
    **{(code, "float"): Bound(ulps, "largest") for code, ulps in _OF_LARGEST.items()},
    **{(code, "float"): Bound(ulps, "terms") for code, ulps in _OF_TERMS.items()},
    ("FULLY_CONNECTED", "blockwise"): Bound(_OF_LARGEST["FULLY_CONNECTED"], "largest"),
    ("SVDF", "hybrid"): Bound(_OF_TERMS["SVDF"], "terms"),
    ("COMPLEX_ABS", "complex64"): Bound(4),
    ("WHILE", "complex64"): Bound(_OF_LARGEST["WHILE"], "largest"),
}


def bound_of(operators: Iterable[tuple[str, str]]) -> Bound:
    """The loosest bound of `(code, kind)` pairs; several loose ones add up."""
    found = [BOUNDS.get(pair, EXACT) for pair in operators]
    return Bound(
        ulps=sum(bound.ulps for bound in found),
        of="value" if all(bound.of == "value" for bound in found) else "largest",
    )
