"""Progress of the rows on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from pvq.solvers.result import Status
from pvq.solvers.rows import RowResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .console import Printer, plain_column, printable

PLAIN_AFTER = 1.0
"""Seconds after which a log is told of a stage; what ends sooner, as with bad input, says one line and no more."""

PLAIN_EVERY = 10.0  # seconds between lines where standard error is a file


@contextmanager
def stage(name: str, quiet: bool) -> Iterator[None]:
    """Say what precedes the first row: a spinner on a terminal, in a log a line if it lasts, nothing if quiet."""
    if quiet:
        yield
        return
    console = Printer(stderr=True)
    if not console.is_terminal:
        later = Timer(PLAIN_AFTER, lambda: print(printable(name), file=sys.stderr, flush=True))
        later.daemon = True
        later.start()
        try:
            yield
        finally:
            later.cancel()
        return
    with Progress(
        SpinnerColumn(),
        plain_column("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        bar.add_task(printable(name), total=None)
        yield


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
