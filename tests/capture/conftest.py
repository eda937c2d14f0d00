"""Initial weights drawn by NumPy: JAX compiles a random initializer for each shape, for seconds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _quick_initializers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def draw(self: Any, shape: Any, dtype: Any = None) -> Any:
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1
        values = rng.uniform(-1, 1, shape) * np.sqrt(3 / fan_in)
        return keras.ops.convert_to_tensor(values, dtype=dtype or "float32")

    for name in ("VarianceScaling", "RandomUniform", "Orthogonal"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", draw)
