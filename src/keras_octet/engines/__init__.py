"""Engines: compiled programs that run a quantized model on concrete arrays.

Adding an engine is one file with a class that follows `Program`, and one line here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from keras_octet.errors import EngineError

# "keras" stands for no engine: the portable path through keras.ops.
ENGINES = ("litert", "keras")


class Program(Protocol):
    """A compiled model; safe to call from several threads at once."""

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One array per input, batch first, to one array per output."""
        ...


def check_engine(name: str) -> str:
    """`name` itself, if it is an engine that is installed.

    Raises:
        EngineError: naming the engines there are.
    """
    if name not in ENGINES:
        raise EngineError(f"Expected an engine among {list(ENGINES)}. Received: {name!r}")
    return name


def default_engine() -> str:
    return "litert" if find_spec("ai_edge_litert") else "keras"


def compile_program(name: str, model: bytes) -> Program:
    """Compile the bytes of a `.tflite` file for the engine `name`."""
    from keras_octet.engines.litert import LiteRTProgram

    return {"litert": LiteRTProgram}[name](model)
