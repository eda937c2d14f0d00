"""Results as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.parts import PARTS
from keras_octet.files import atomic_path

FOLDER = Path(__file__).parent
JSON, MARKDOWN = FOLDER / "results.json", FOLDER / "results.md"
Results = dict[str, Any]


def load() -> list[Results]:
    """What was measured before: for each machine its description, and rows by part and model."""
    return json.loads(JSON.read_text()) if JSON.exists() else []


def of_machine(results: list[Results], machine: dict[str, str]) -> Results:
    """The entry of a processor with so many cores, made if there is none; its versions are new."""
    for found in results:
        if all(found["machine"][key] == machine[key] for key in ("processor", "cores")):
            found["machine"] = machine
            return found
    results.append({"machine": machine, "parts": {}})
    return results[-1]


def save(results: list[Results]) -> None:
    for path, text in ((JSON, json.dumps(results, indent=1)), (MARKDOWN, _markdown(results))):
        with atomic_path(path) as temporary:
            temporary.write_text(text.rstrip() + "\n")


def _markdown(results: list[Results]) -> str:
    lines = ["# Results", "", "Written by `make bench`.", ""]
    for entry in results:
        machine = dict(entry["machine"])
        lines += [f"## {machine.pop('processor')}, {machine.pop('cores')} cores", ""]
        lines += [", ".join(f"{key} {value}" for key, value in machine.items()) + ".", ""]
        for part, function in PARTS.items():
            by_model = entry["parts"].get(part)
            if by_model:
                lines += [f"### {part.replace('_', ' ').capitalize()}", ""]
                lines += [(function.__doc__ or "").splitlines()[0], ""]
                lines += [*_table(by_model), ""]
    return "\n".join(lines)


def _table(by_model: dict[str, list[dict[str, Any]]]) -> Iterable[str]:
    keys = [key for key in next(iter(by_model.values()))[0] if key != "codes"]
    yield "| model | " + " | ".join(keys) + " |"
    yield "|---" * (len(keys) + 1) + "|"
    for model, rows in by_model.items():
        for row in rows:
            yield f"| {model} | " + " | ".join(_cell(row[key]) for key in keys) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        low, middle, high = value
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
