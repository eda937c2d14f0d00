"""The summary of a report for a terminal."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from keras_octet.validate.wording import (
    byte_size,
    change_of_latency,
    change_of_metric,
    change_of_size,
    decibel,
    milliseconds,
    number,
    percentage,
)

if TYPE_CHECKING:
    from keras_octet.validate.report import ValidationReport

WIDTH = 80
NUM_LAYERS = 8
NUM_ADVICE = 3


def to_text(report: ValidationReport, width: int = WIDTH) -> str:
    """The summary as plain text, lines at most `width` columns wide."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    console.print(renderable(report))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def renderable(report: ValidationReport) -> Any:
    """The summary for `rich`, coloured."""
    from rich.console import Group

    parts = [_heading(report), _overview(report)]
    if report.worst_layers():
        parts.append(_layers(report))
    parts.extend(_float_layers(report))
    parts.extend(_advice(report))
    parts.extend(_notes(report))
    return Group(*parts)


def _heading(report: ValidationReport) -> Any:
    from rich.text import Text

    text = Text()
    verdict = ("PASSED", "bold green") if report.passed else ("FAILED", "bold red")
    text.append(f"{report.model}: float32 against int8 on {report.num_samples:,} samples")
    if report.failures or report.has_thresholds:
        text.append("  ")
        text.append(*verdict)
    for failure in report.failures:
        text.append("\n  ")
        text.append(failure, "red")
    return text


def _table(*columns: tuple[str, str]) -> Any:
    """A table with `(heading, "left" or "right")` columns."""
    import rich.box
    from rich.table import Table

    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading, side in columns:
        table.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
    return table


def _overview(report: ValidationReport) -> Any:
    table = _table(("", "left"), ("float32", "right"), ("int8", "right"), ("", "left"))
    for metric in report.metrics:
        table.add_row(
            _plain(metric.label),
            number(metric.before, metric),
            number(metric.after, metric),
            change_of_metric(metric),
        )
    several = len(report.outputs) > 1
    for output in report.outputs:
        prefix = f"{output.name}: " if several else ""
        if output.agreement is not None:
            table.add_row(_plain(f"{prefix}same decision"), "", percentage(output.agreement), "")
        cosine = f"cosine {output.difference.cosine:.5f}"
        table.add_row(_plain(f"{prefix}output SQNR"), "", decibel(output.difference.sqnr), cosine)
    for size in report.sizes:
        if size.before is None and size.after is None:
            continue
        table.add_row(
            size.name, byte_size(size.before), byte_size(size.after), change_of_size(size)
        )
    for latency in report.latencies:
        table.add_row(
            f"latency, {latency.engine}",
            milliseconds(latency.before),
            milliseconds(latency.after),
            change_of_latency(latency, report),
        )
    return table


def _layers(report: ValidationReport) -> Any:
    from rich.console import Group
    from rich.text import Text

    rows = report.worst_layers(NUM_LAYERS)
    table = _table(
        ("layer", "left"),
        ("outputs", "right"),
        ("own", "right"),
        ("accumulated", "right"),
        ("clipped", "right"),
        ("used", "right"),
    )
    for row in rows:
        values = row.activation
        table.add_row(
            _plain(row.name),
            decibel(math.nan if row.effect is None else row.effect),
            decibel(row.own.sqnr if row.own else math.nan),
            decibel(row.accumulated.sqnr if row.accumulated else math.nan),
            percentage(values.clipped) if values else "",
            percentage(values.used, digits=0) if values else "",
        )
    title = Text.assemble(
        ("Layers that cost most", "bold"),
        f" ({len(rows)} of {len(report.worst_layers())}). SQNR of the model's outputs with "
        "this layer alone in int8, of its own result, and of that with all layers before it in "
        "int8.",
    )
    return Group(title, table)


def _float_layers(report: ValidationReport) -> list[Any]:
    from rich.padding import Padding
    from rich.text import Text

    by_reason: dict[str, list[str]] = {}
    for row in report.float_layers():
        by_reason.setdefault(row.reason, []).append(row.name)
    parts: list[Any] = [Text("Left in float", "bold")] if by_reason else []
    for reason, names in by_reason.items():
        listed = ", ".join(names[:NUM_LAYERS])
        more = f" and {len(names) - NUM_LAYERS} more" if len(names) > NUM_LAYERS else ""
        parts.append(Padding(Text(f"{listed}{more}: {reason}"), (0, 0, 0, 2)))
    return [*parts, Text()] if parts else []


def _advice(report: ValidationReport) -> list[Any]:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    if report.advice:
        parts.append(Text("What to try next", "bold"))
    for index, advice in enumerate(report.advice[:NUM_ADVICE], 1):
        item = Table.grid()
        item.add_column(width=5)
        item.add_column()
        where = f"{advice.layer}: " if advice.layer else ""
        item.add_row(f"  {index}.", Text(f"{where}{advice.problem} {advice.action}"))
        parts.append(item)
        if index == 1 and advice.code:
            parts.append(Padding(Text(advice.code, "cyan"), (0, 0, 0, 5)))
    return parts


def _notes(report: ValidationReport) -> list[Any]:
    from rich.text import Text

    return [Text(f"note: {note}", "dim") for note in report.notes]


def _plain(text: str) -> Any:
    """Text in which rich sees no markup."""
    from rich.text import Text

    return Text(text)
