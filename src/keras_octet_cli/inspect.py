"""`octet inspect`: the operations of a model file, their types, shapes, scales and bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

import keras_octet as ko
from keras_octet_cli.console import Console, byte_size
from keras_octet_cli.files import check_suffix, load_float_model


def run(path: Path, *, weights: bool, console: Console) -> None:
    """Show what is in the file at `path`.

    Raises:
        OSError: the file cannot be read.
        OctetError: its content cannot be used.
    """
    check_suffix(path)
    found = ko.inspect(path if path.suffix == ".tflite" else load_float_model(path))
    _show(found, path, weights, console)
    console.result(
        {
            "command": "inspect",
            "file": str(path),
            "file_bytes": path.stat().st_size,
            "weight_bytes": found.weight_bytes,
            **asdict(found),
        }
    )


def _show(found: ko.Inspection, path: Path, weights: bool, console: Console) -> None:
    rows = []
    for row in found.operations:
        output = row.outputs[0] if row.outputs else None
        held = sum(x.bytes for x in row.weights)
        rows.append(
            (
                row.name.split(";")[0],
                row.operation,
                row.dtype,
                _shape(output.shape) if output else "",
                output.quantization if output else "",
                byte_size(held) if held else "",
            )
        )
        if weights:
            rows += [
                (f"  {x.name}", "", x.dtype, _shape(x.shape), x.quantization, byte_size(x.bytes))
                for x in row.weights
            ]
    console.table(
        ["name", "operation", "computes in", "output", "scale (zero point)", "weights"],
        rows,
        right=["weights"],
        styles={"int8": "green", "int16": "green", "float32": "yellow"},
    )
    for title, tensors in (("input", found.inputs), ("output", found.outputs)):
        for x in tensors:
            text = " ".join(part for part in (x.dtype, _shape(x.shape), x.quantization) if part)
            console.line(f"{title} [bold]{escape(x.name)}[/bold]: {text}")
    for note, text in found.notes.items():
        console.line(escape(f"{note}: {text}"))
    counts = Counter(row.dtype for row in found.operations)
    by_dtype = sorted(found.weight_bytes.items())
    weights_text = ", ".join(f"{byte_size(size)} {dtype}" for dtype, size in by_dtype)
    console.line(
        f"{byte_size(path.stat().st_size)}; weights: {weights_text or 'none'}; "
        f"{len(found.operations)} operations: "
        + ", ".join(f"{count} in {dtype}" for dtype, count in counts.most_common())
        + "."
    )
    left = Counter(row.operation for row in found.float_operations)
    if left and len(found.float_operations) < len(found.operations):
        listed = ", ".join(f"{count} {operation}" for operation, count in left.most_common())
        console.line(f"In float: {listed}.")


def _shape(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
