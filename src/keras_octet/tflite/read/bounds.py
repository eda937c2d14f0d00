"""How far the float32 result of an operator may be from that of LiteRT, on every backend.

Integer arithmetic and what only moves values is exact and has no row. A float operator without a
row is exact too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bound:
    """The largest difference, in units in the last place.

    Attributes:
        ulps: how many units.
        of_largest: of the largest magnitude of the output, for sums of terms that can cancel; else
            of each value.
    """

    ulps: int = 0
    of_largest: bool = False

    def __str__(self) -> str:
        if not self.ulps:
            return "exact"
        return f"{self.ulps} ulp" + (" of the largest value" if self.of_largest else "")

    def tolerance(self, expected: np.ndarray) -> np.ndarray:
        """The largest difference from each value of `expected`, float32; NaN and infinity: 0."""
        finite = np.where(np.isfinite(expected), expected, 0).astype(np.float32)
        size = np.abs(finite)
        if self.of_largest:
            size = np.broadcast_to(size.max(initial=0), size.shape)
        return self.ulps * np.spacing(np.maximum(size, np.finfo(np.float32).tiny))


EXACT = Bound()
BOUNDS: dict[tuple[str, str], Bound] = {}


def bound_of(operators: Iterable[tuple[str, str]]) -> Bound:
    """The loosest bound of `(code, kind)` pairs; several loose ones add up."""
    found = [BOUNDS.get(pair, EXACT) for pair in operators]
    return Bound(
        ulps=sum(bound.ulps for bound in found),
        of_largest=any(bound.of_largest for bound in found),
    )
