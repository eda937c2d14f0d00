"""What the command prints: tables and progress for people, one JSON object for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich.console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

Advance = Callable[[int, int | None], None]


class Console:
    """Standard output for results, standard error for progress.

    Args:
        as_json: print only the object given to `result`, as JSON.
        quiet: print nothing.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json = as_json
        self._silent = as_json or quiet
        self._quiet = quiet
        # Into a file or a pipe, lines are as long as they need be.
        self._to_terminal = sys.stdout.isatty()
        width = None if self._to_terminal else 200
        self._out = rich.console.Console(quiet=self._silent, highlight=False, width=width)
        self._progress_out = rich.console.Console(stderr=True, quiet=self._silent, highlight=False)

    @property
    def library_progress(self) -> bool | None:
        """What to pass as `progress` to the library: its own choice, or no bar."""
        return False if self._silent else None

    def line(self, text: str = "") -> None:
        """Print one line; `[bold]` and the like are markup."""
        self._out.print(text, soft_wrap=not self._to_terminal)

    def wrote(self, path: Path, detail: str = ".") -> None:
        """Print that a file was written; `detail` follows its name."""
        self.line(f"Wrote [bold]{escape(str(path))}[/bold]{escape(detail)}")

    def warning(self, text: str) -> None:
        """Print a warning, in one line; JSON has none."""
        self.line(f"[yellow]warning:[/yellow] {escape(text)}")

    def report(self, report: Any) -> None:
        """Print a validation report: coloured and as wide as the terminal, or as `print` does."""
        if self._to_terminal:
            self._out.print(report)
        else:
            self._out.print(Text(str(report)), soft_wrap=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        right: Collection[str] = (),
        styles: Mapping[str, str] | None = None,
    ) -> None:
        """Print a table.

        Args:
            columns: headings.
            rows: one cell for each column.
            right: columns to align to the right.
            styles: style of each cell with one of these texts.
        """
        styles = styles or {}
        table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(
                escape(column), justify="right" if column in right else "left", overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
        self._out.print(table)

    @contextmanager
    def progress(self, description: str, *, in_background: bool = True) -> Iterator[Advance]:
        """Show a bar on standard error; yields `advance(done, total)`, absolute numbers.

        Args:
            description: what is going on.
            in_background: redraw it from a thread, which disturbs what is being timed.
        """
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._progress_out,
            transient=True,
            auto_refresh=in_background,
            disable=self._silent,
        ) as progress:
            task = progress.add_task(escape(description), total=None)

            def advance(done: int, total: int | None) -> None:
                progress.update(task, completed=done, total=total, refresh=not in_background)

            yield advance

    def result(self, values: dict[str, Any]) -> None:
        """Print the command's result where JSON was asked for."""
        if self._as_json and not self._quiet:
            sys.stdout.write(json.dumps(values, indent=2) + "\n")


def first_line(error: Exception) -> str:
    """The first line of an error's message, cut if it is long; its class if it has none."""
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= 200 else line[:197] + "..."


def byte_size(num_bytes: int) -> str:
    """`12345` as `"12.3 kB"` (powers of ten)."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def comparison(before: float, after: float, *, less: str, more: str) -> str:
    """`after` against `before` in words: `"3.9x smaller"`, or `"1.2x larger"`."""
    if min(before, after) <= 0:
        return ""
    factor, word = (before / after, less) if after <= before else (after / before, more)
    return f"{factor:.1f}x {word}"
