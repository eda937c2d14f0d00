"""Functions of float32 as this machine's C library computes them, for LiteRT calls them.

What they give need not be the nearest float32, and now and then that decides an integer.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable

import numpy as np


def _function(name: str, otherwise: Callable[[float], float]) -> np.vectorize:
    """`name` of the C library, or where that has none the nearest float32."""
    function: Callable[[float], float] = otherwise
    try:
        # No name: what the process has loaded.
        found = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)[name]
    except (OSError, AttributeError):
        pass
    else:
        found.argtypes, found.restype = [ctypes.c_float], ctypes.c_float
        function = found
    return np.vectorize(function, otypes=[np.float32])


erfc = _function("erfcf", math.erfc)
tanh = _function("tanhf", math.tanh)
