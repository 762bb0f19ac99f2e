"""Tell a terminal, or a log file, how far a run is."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LOG_EVERY_S = 15.0


class TerminalProgress:
    """A bar per stage, with the rows that failed and the time left."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._bar: TaskID | None = None
        self._failed = 0

    def begin(self, stage: str, total: int) -> None:
        """Show a new bar."""
        self._failed = 0
        self._bar = self._bars.add_task(stage, total=total, failed="")

    def advance(self, units: int, failed: int) -> None:
        """Move the bar."""
        self._failed += failed
        note = f"{self._failed} failed" if self._failed else ""
        if self._bar is not None:
            self._bars.update(self._bar, advance=units, failed=note)


class LogProgress:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._stage, self._total, self._done, self._failed = "", 0, 0, 0
        self._start = self._told = time.monotonic()

    def begin(self, stage: str, total: int) -> None:
        """Announce a stage."""
        self._stage, self._total, self._done, self._failed = stage, total, 0, 0
        self._start = self._told = time.monotonic()
        print(f"{stage}: {total} rows", file=sys.stderr, flush=True)

    def advance(self, units: int, failed: int) -> None:
        """Say a line if the last one is long ago, or the stage is done."""
        self._done += units
        self._failed += failed
        now = time.monotonic()
        if self._done < self._total and now - self._told < _LOG_EVERY_S:
            return
        self._told = now
        spent = now - self._start
        left = spent / self._done * (self._total - self._done)
        print(
            f"{self._stage}: {self._done}/{self._total} rows, {self._failed} failed, "
            f"{spent:.0f} s spent, about {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def console_progress(console: Console, *, plain: bool) -> Iterator[TerminalProgress | LogProgress]:
    """Give a progress for this console: bars on a terminal, lines elsewhere.

    Args:
        console: Where to.
        plain: Lines even on a terminal.
    """
    if plain or not console.is_terminal:
        yield LogProgress()
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        yield TerminalProgress(bars)
