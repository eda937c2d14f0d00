"""The package's arrows, read from the source, and what importing it costs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import keras_octet

PACKAGE = Path(keras_octet.__file__).parent
COMMAND = PACKAGE.parent / "keras_octet_cli"

# From the bottom up. A module may import from its own unit and from units in earlier rows; units of
# one row do not import one another. The longest prefix of a module's name says which unit it is in.
ROWS: tuple[tuple[str, ...], ...] = (
    ("c_library", "cores", "errors", "files", "timing", "torch_graphs", "version"),
    ("qparams",),
    ("arithmetic", "gemmlowp", "windows"),
    ("builtin_kernels", "lstm_kernels"),
    ("in_float", "int16_kernels"),
    ("configurable",),
    ("keras_quantizers", "observer_specs"),
    ("recipe",),
    ("capture.graph", "capture.origin", "tflite.graph", "tflite.info"),
    ("capture", "calibrate", "layers"),
    ("ops", "tflite.emit"),
    ("choose",),
    ("transform", "engines", "dispatch", "predicting"),
    ("exportable", "running"),
    ("model",),
    ("tflite", "validate"),
    ("observing",),
    ("api", "inspection", "install"),
    ("",),  # keras_octet/__init__.py
)
RANK = {unit: rank for rank, units in enumerate(ROWS) for unit in units}
# The model's methods reach up to what writes it, when they are called.
UPWARD = {("exportable", "tflite"), ("model", "tflite")}
BACKENDS = ("tensorflow", "jax", "torch")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    parts = module.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    found = next((prefix for prefix in prefixes if prefix in RANK), None)
    assert found is not None or module == "", f"{module} is in no row of tests/test_imports.py"
    return found or ""


def imported_modules(path: Path) -> Iterator[tuple[int, str, bool]]:
    """What a file imports: line, full dotted name, and whether a function imports it when called.

    `from a import b` gives `a.b`.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    late = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name, id(node) in late) for name in names)


SOURCES = sorted(PACKAGE.rglob("*.py"))
IDS = [module_name(path) or "__init__" for path in SOURCES]


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_a_module_imports_only_from_below(path: Path) -> None:
    importer = unit_of(module_name(path))
    for line, name, late in imported_modules(path):
        if name.split(".")[0] == "keras_octet_cli":
            pytest.fail(f"{path}:{line}: the library must not import the command")
        if not name.startswith("keras_octet."):
            continue
        imported = unit_of(name.removeprefix("keras_octet."))
        if late and (importer, imported) in UPWARD:
            continue
        if imported != importer and RANK[imported] >= RANK[importer]:
            pytest.fail(f"{path}:{line}: {importer} must not import {imported} ({name})")


@pytest.mark.parametrize("path", [*SOURCES, *sorted(COMMAND.glob("*.py"))], ids=str)
def test_no_source_file_imports_a_backend(path: Path) -> None:
    for line, name, _ in imported_modules(path):
        assert name.split(".")[0] not in BACKENDS, f"{path}:{line}: imports {name}"


def run_python(program: str) -> dict[str, float | list[str]]:
    """The JSON object a fresh interpreter prints last; it keeps compiled modules, as pip does."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_import_loads_no_backend_that_keras_did_not() -> None:
    program = """
import json, sys
import keras
before = set(sys.modules)
import keras_octet
print(json.dumps({"new": sorted(set(sys.modules) - before)}))
"""
    new_packages = {name.split(".")[0] for name in run_python(program)["new"]}
    assert not new_packages & set(BACKENDS)


def test_import_leaves_the_tables_of_file_operators_for_when_a_file_is_read_or_written() -> None:
    program = """
import json, sys
import keras_octet
print(json.dumps({"modules": sorted(sys.modules)}))
"""
    modules = run_python(program)["modules"]
    assert "keras_octet.tflite.load" in modules
    late = ("tflite.emit", "tflite.write", "tflite.read.builder", "tflite.read.rows")
    assert [x for x in modules if x.removeprefix("keras_octet.").startswith(late)] == []


def test_import_adds_little_time_to_that_of_keras() -> None:
    program = """
import json, time
import keras
started = time.process_time()
import keras_octet
print(json.dumps({"seconds": time.process_time() - started}))
"""
    # Of this process only, and the best of three: the machine may be busy with something else.
    assert min(run_python(program)["seconds"] for _ in range(3)) < 0.3
