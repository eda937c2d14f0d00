"""Command line of the benchmarks."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from benchmarks import report
from benchmarks.contestants import CORES
from benchmarks.files import prepare
from benchmarks.parts import ONE_MODEL, PARTS
from benchmarks.zoo import ZOO

PACKAGES = (
    "keras",
    "tensorflow_cpu",
    "jax",
    "torch",
    "ai-edge-litert",
    "openvino",
    "nncf",
    "onnxruntime",
)


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}; all by default.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(ZOO)}; all by default.")
    ] = None,
) -> None:
    """Measure, and write `benchmarks/results.json` and `results.md`; other results there stay."""
    for part in parts or PARTS:
        for name in model or [ONE_MODEL[part]] if part in ONE_MODEL else model or ZOO:
            prepare(name)
            rows = PARTS[part](name)
            if not rows:
                continue
            results = report.load()
            entry = report.of_machine(results, _machine())
            entry["parts"].setdefault(part, {})[name] = rows
            report.save(results)
            typer.echo(f"{part} {name}")
            for row in rows:
                typer.echo(f"  {row}")


def _machine() -> dict[str, str]:
    from keras_octet.cores import processor

    found = {"processor": processor(), "cores": str(CORES), "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    typer.run(main)
