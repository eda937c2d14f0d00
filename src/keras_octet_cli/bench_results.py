"""What `octet bench` found, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_octet_cli.console import Console


@dataclass(frozen=True)
class Result:
    """Times of a model on an engine with a batch size.

    Attributes:
        model: name of its file.
        engine: that ran it.
        batch_size: samples in a call.
        latency: milliseconds of each call.
        rates: samples a second of each run of `predict`.
    """

    model: str
    engine: str
    batch_size: int
    latency: np.ndarray
    rates: np.ndarray


def _first(row: Result, results: Sequence[Result]) -> Result:
    """What a row is compared with: the first of its batch size."""
    return next(other for other in results if other.batch_size == row.batch_size)


def config_of(row: Result, results: Sequence[Result]) -> dict[str, Any]:
    """A row as JSON has it: milliseconds, samples a second, and ratios to the first row."""
    first = _first(row, results)
    return {
        "model": row.model,
        "engine": row.engine,
        "batch_size": row.batch_size,
        "latency_ms": _statistics(row.latency, median=50, low=25, high=75, p95=95),
        "times_as_fast": float(np.median(first.latency) / np.median(row.latency)),
        "samples_per_second": _statistics(row.rates, median=50, low=25, high=75),
        "times_the_throughput": float(np.median(row.rates) / np.median(first.rates)),
    }


def _statistics(values: np.ndarray, **percentiles: int) -> dict[str, float | int]:
    found = {name: float(np.percentile(values, at)) for name, at in percentiles.items()}
    return {**found, "count": len(values)}


def show(
    console: Console, results: Sequence[Result], machine: dict[str, str], threads: int | None
) -> None:
    """Print two tables, and on what machine."""
    rows = [config_of(row, results) for row in results]
    for title, figure, unit, ratio in (
        ("Latency[/bold]: one call, arrays in and out", "latency_ms", "ms", "times_as_fast"),
        (
            "Throughput[/bold]: predict over many samples",
            "samples_per_second",
            "samples/s",
            "times_the_throughput",
        ),
    ):
        tail = ["p95"] if "p95" in rows[0][figure] else []
        against = ["vs first"] if len(rows) > 1 else []
        console.line(f"[bold]{title}")
        console.table(
            ["model", "engine", "batch", unit, "quartiles", *tail, *against],
            [
                (
                    row["model"],
                    row["engine"],
                    str(row["batch_size"]),
                    number(row[figure]["median"]),
                    f"{number(row[figure]['low'])} - {number(row[figure]['high'])}",
                    *(number(row[figure][name]) for name in tail),
                    *([f"{row[ratio]:.2f}x"] if against else []),
                )
                for row in rows
            ],
            right=("batch", unit, "quartiles", *tail, *against),
        )
    console.line(
        f"{machine['processor']}, {machine['cores']} cores; Keras {machine['keras']} on "
        f"{machine['backend']}"
        + (f"; {threads} threads for litert and openvino" if threads else "")
        + (". vs first: times as fast as the first with its batch size." if len(rows) > 1 else ".")
    )


def number(value: float) -> str:
    """Three digits, thousands separated: `"0.0123"`, `"12.3"`, `"12,345"`."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if value < 10 else 1}f}" if value >= 1 else f"{value:.3g}"
