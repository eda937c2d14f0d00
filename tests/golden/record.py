"""Writing a golden file, and what LiteRT computes from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_octet.tflite.run import Interpreter

FOLDER = Path(__file__).parent


Call = tuple[list[np.ndarray], list[np.ndarray]]
"""Inputs and outputs."""


def record(name: str, content: bytes, *calls: Iterable[np.ndarray]) -> None:
    """Write `<name>.tflite` and `<name>.npz`; print the name if something changed.

    Args:
        name: of the files.
        content: bytes of the model.
        *calls: inputs of each call, one interpreter after another.
    """
    interpreter, arrays = Interpreter(content), {}
    for number, inputs in enumerate(calls):
        given = [np.asarray(value) for value in inputs]
        made = [np.array(value) for value in interpreter(*given)]
        for what, values in (("input", given), ("output", made)):
            arrays |= {f"{_prefix(number)}{what}_{i}": value for i, value in enumerate(values)}
    model, values = FOLDER / f"{name}.tflite", FOLDER / f"{name}.npz"
    if model.exists() and model.read_bytes() == content and _same(values, arrays):
        return
    model.write_bytes(content)
    np.savez_compressed(values, **arrays)  # type: ignore[arg-type]
    print(f"{name}: {len(content)} bytes, {len(calls)} calls, {len(arrays)} arrays")


def load(name: str) -> tuple[bytes, list[Call]]:
    """Bytes of a golden file, and the calls that were recorded, one after another."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    calls: list[Call] = []
    while f"{_prefix(len(calls))}input_0" in arrays:
        calls.append((_group(arrays, len(calls), "input"), _group(arrays, len(calls), "output")))
    return (FOLDER / f"{name}.tflite").read_bytes(), calls


def _prefix(call: int) -> str:
    return f"call_{call}_" if call else ""


def _group(arrays: dict[str, np.ndarray], call: int, what: str) -> list[np.ndarray]:
    prefix = f"{_prefix(call)}{what}_"
    count = sum(key.startswith(prefix) for key in arrays)
    return [arrays[f"{prefix}{i}"] for i in range(count)]


def _same(path: Path, arrays: dict[str, np.ndarray]) -> bool:
    if not path.exists():
        return False
    with np.load(path) as stored:
        return set(stored.files) == set(arrays) and all(
            stored[key].dtype == value.dtype and np.array_equal(stored[key], value, equal_nan=True)
            if value.dtype.kind == "f"
            else np.array_equal(stored[key], value)
            for key, value in arrays.items()
        )
