"""Vectors of numbers as the schema's reader gives them."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_array(vector: Any) -> np.ndarray:
    """A vector that may not be there or be empty, for which the reader gives the number 0."""
    return np.empty(0, np.uint8) if isinstance(vector, int) else vector
