"""A progress bar that appears only when the work turns out to be long."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

DELAY_SECONDS = 1.5


class Progress:
    """Context manager around long work; shown on standard error, if that is a terminal.

    Nothing is drawn in the first 1.5 seconds, nor into a file or pipe.

    Args:
        description: what is going on, such as `"Calibrating"`.
        total: number of steps; None if not known.
        enabled: False to show nothing at all.
    """

    def __init__(self, description: str, *, total: int | None, enabled: bool = True) -> None:
        self._description = description
        self._total = total
        self._enabled = enabled
        self._started = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` steps are done; `note` stands beside the bar."""
        if self._enabled and self._bar is None:
            if time.monotonic() - self._started < DELAY_SECONDS:
                return
            self._open()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)

    def _open(self) -> None:
        # Here, because importing rich takes longer than most calibrations of small models.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        console = Console(stderr=True)
        self._enabled = console.is_terminal or console.is_jupyter
        if not self._enabled:
            return
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(self._description, total=self._total, note="")
        self._bar.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
