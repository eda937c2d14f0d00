"""Engines: compiled programs that run a quantized model on concrete arrays.

Adding an engine is one file that makes an `Engine`, and its entry in `ENGINES`.
"""

from __future__ import annotations

from keras_octet.engines.auto import AUTO
from keras_octet.engines.base import Engine, EngineOptions, Program, Source
from keras_octet.engines.keras import KERAS
from keras_octet.engines.litert import LITERT
from keras_octet.engines.openvino import OPENVINO
from keras_octet.engines.work import is_separable, multiply_adds
from keras_octet.errors import EngineError

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LITERT, OPENVINO, KERAS, AUTO)}

__all__ = [
    "ENGINES",
    "Engine",
    "EngineOptions",
    "Program",
    "Source",
    "default_engine",
    "find_engine",
    "is_separable",
    "multiply_adds",
]


def find_engine(name: str) -> Engine:
    """The engine `name`, if it is installed.

    Raises:
        EngineError: naming the engines there are, or what to install.
    """
    engine = ENGINES.get(name)
    if engine is None:
        raise EngineError(f"Expected an engine among {list(ENGINES)}. Received: {name!r}")
    if not engine.installed:
        raise EngineError(
            f"The engine {name!r} needs the package {engine.package!r}, which is not installed. "
            f"Install it, or choose another engine among "
            f"{[other.name for other in ENGINES.values() if other.installed]}."
        )
    return engine


def default_engine() -> str:
    """`"litert"` where it is installed, else `"keras"`."""
    return "litert" if LITERT.installed else "keras"
