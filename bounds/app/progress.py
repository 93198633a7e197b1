"""Progress of the rows on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pvq.solvers.result import Status
from pvq.solvers.rows import RowResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .console import Printer, plain_column

PLAIN_EVERY = 10.0  # seconds between lines where standard error is a file


@contextmanager
def row_progress(total: int, quiet: bool) -> Iterator[Callable[[RowResult], None] | None]:
    """A callback for each finished row: a bar on a terminal, now and then a line in a log, nothing if quiet."""
    if quiet:
        yield None
        return
    console = Printer(stderr=True)
    if not console.is_terminal:
        yield plain_counter(total, "rows")
        return
    columns = (
        plain_column("{task.fields[proven]} optimal"),
        BarColumn(),
        MofNCompleteColumn(),
        plain_column("rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("rows", total=total, proven=0)
        proven = 0

        def advance(row: RowResult) -> None:
            nonlocal proven
            proven += row.result.status is Status.OPTIMAL
            bar.update(task, advance=1, proven=proven)

        yield advance


def plain_counter(total: int, things: str) -> Callable[[object], None]:
    """A callback that counts and now and then prints a line, for logs."""
    done, last = 0, time.monotonic()

    def advance(thing: object) -> None:
        nonlocal done, last
        done += 1
        if time.monotonic() - last > PLAIN_EVERY:
            last = time.monotonic()
            print(f"{done} of {total} {things}", file=sys.stderr, flush=True)

    return advance
