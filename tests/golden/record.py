"""Writing a golden file, and what LiteRT computes from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_octet.tflite.run import Interpreter

FOLDER = Path(__file__).parent


def record(name: str, content: bytes, inputs: Iterable[np.ndarray]) -> None:
    """Write `<name>.tflite` and `<name>.npz`; print the name if something changed."""
    given = list(inputs)
    made = Interpreter(content)(*given)
    arrays = {f"input_{i}": np.asarray(value) for i, value in enumerate(given)}
    arrays |= {f"output_{i}": np.asarray(value) for i, value in enumerate(made)}
    model, values = FOLDER / f"{name}.tflite", FOLDER / f"{name}.npz"
    if model.exists() and model.read_bytes() == content and _same(values, arrays):
        return
    model.write_bytes(content)
    np.savez_compressed(values, **arrays)  # type: ignore[arg-type]
    print(f"{name}: {len(content)} bytes, {len(given)} inputs, {len(made)} outputs")


def load(name: str) -> tuple[bytes, list[np.ndarray], list[np.ndarray]]:
    """Bytes, inputs and recorded outputs of a golden file."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    inputs = [arrays[f"input_{i}"] for i in range(sum(key.startswith("input") for key in arrays))]
    outputs = [arrays[f"output_{i}"] for i in range(len(arrays) - len(inputs))]
    return (FOLDER / f"{name}.tflite").read_bytes(), inputs, outputs


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
