"""Progress of the rows on standard error."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread

from pvq.results import Row
from pvq.running import ROWS
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..stages import Show, watched_stages
from .console import Printer, plain_column, printable

PLAIN_AFTER = 1.0
"""Seconds after which a log is told of a stage; what ends sooner, as with bad input, says one line and no more."""

PLAIN_EVERY = 10.0
"""Seconds between lines on rows where standard error is a file."""


class Log:
    """Tells a log what is being done: each stage that lasts, or `every` so many seconds the one at hand."""

    def __init__(self, every: float, name: str = "") -> None:
        self._every, self._name, self._began, self._said = every, name, time.monotonic(), ""
        self._last = self._began - every + PLAIN_AFTER if every else -math.inf
        self._over = Event()

    def __call__(self, name: str) -> None:
        """Another stage begins."""
        self._name, self._began = name, time.monotonic()

    def __enter__(self) -> Log:
        Thread(target=self._tick, daemon=True, name="progress").start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _tick(self) -> None:
        while not self._over.wait(PLAIN_AFTER / 4):
            name, lasted, now = self._name, time.monotonic() - self._began, time.monotonic()
            new = name != self._said and now - self._last >= self._every
            due = new and (self._every > 0 or lasted >= PLAIN_AFTER)  # rows may be many and quick
            if name and (due or (lasted >= AGAIN and now - self._last >= AGAIN)):
                self._said, self._last = name, now
                for_so_long = "" if new else f" ({lasted:.0f} s)"
                with suppress(OSError, ValueError):
                    print(f"{printable(name)}{for_so_long}", file=sys.stderr, flush=True)


AGAIN = 60.0
"""Seconds after which a log is told the same stage again."""


class Compiling:
    """numba's word that it compiles, as a stage: what it interrupts is named again afterwards."""

    def __init__(self, show: Show) -> None:
        self._show, self._name, self._depth, self._began = show, "", 0, 0.0
        self.seconds = 0.0

    def __call__(self, name: str) -> None:
        """A stage of a computation."""
        self._name = name
        if not self._depth:
            self._show(name)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen to numba, and to the computation."""
        from numba.core import event

        outer = self

        class Listener(event.Listener):
            def on_start(self, event: object) -> None:
                outer._depth += 1
                if outer._depth == 1:
                    outer._began = time.monotonic()
                    outer._show(COMPILING)

            def on_end(self, event: object) -> None:
                outer._depth -= 1
                if outer._depth == 0:
                    outer.seconds += time.monotonic() - outer._began
                    outer._show(outer._name)

        with event.install_listener("numba:compile", Listener()), watched_stages(self):
            yield


COMPILING = "compiling, once for this machine"


@contextmanager
def stages(name: str, quiet: bool) -> Iterator[Compiling]:
    """Name what precedes the first row: beside a spinner on a terminal, in a log if it lasts, nowhere if quiet."""
    console = Printer(stderr=True)
    if quiet:
        compiling = Compiling(lambda name: None)
        with compiling.heard():
            yield compiling
    elif not console.is_terminal:
        with Log(0.0, name) as log:
            compiling = Compiling(log)
            with compiling.heard():
                yield compiling
    else:
        columns = SpinnerColumn(), plain_column("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(printable(name), total=None)
            compiling = Compiling(lambda name: bar.update(task, description=printable(name)))
            with compiling.heard():
                yield compiling


def said_if_long(prepared: float, compiling: float, rows: float) -> None:
    """Say that what all rows share took longer than the `rows` seconds that all of them may take; 0: no limit."""
    if 0 < rows < prepared - compiling:
        print(
            f"preparing what all rows share took {prepared:.0f} s, {compiling:.0f} s of it compiling once, longer "
            f"than the rows may take ({rows:.0f} s)",
            file=sys.stderr,
        )


class RunProgress:
    """What a run tells of: its stages, and in the stage of the rows each finished row."""

    def __init__(self, rows: int, seconds: float, quiet: bool) -> None:
        """For so many rows, which may take so many seconds together, 0 for no limit."""
        self._rows, self._seconds, self._quiet = rows, seconds, quiet
        self._began = time.monotonic()
        self._shown = ExitStack()
        self._preparing: Compiling | None = None
        self._advance: Callable[[Row], None] = lambda row: None

    def stage(self, name: str) -> None:
        """A stage begins."""
        self.close()
        if name != ROWS:
            self._preparing = self._shown.enter_context(stages(name, self._quiet))
            return
        if self._preparing is not None and not self._quiet:
            said_if_long(time.monotonic() - self._began, self._preparing.seconds, self._seconds)
        self._advance = self._shown.enter_context(_row_progress(self._rows, self._quiet))

    def row(self, row: Row) -> None:
        """A row is finished."""
        self._advance(row)

    def close(self) -> None:
        """Show nothing more of the last stage."""
        self._shown.close()


@contextmanager
def run_progress(rows: int, seconds: float, quiet: bool) -> Iterator[RunProgress]:
    """Shows the stages of a run and its rows, which may take so many seconds."""
    shown = RunProgress(rows, seconds, quiet)
    try:
        yield shown
    finally:
        shown.close()


@contextmanager
def _row_progress(total: int, quiet: bool) -> Iterator[Callable[[Row], None]]:
    """A callback for each finished row: a bar on a terminal, now and then a line in a log, nothing if quiet."""
    if quiet:
        yield lambda row: None
        return
    console = Printer(stderr=True)
    if not console.is_terminal:
        with Log(PLAIN_EVERY) as log, Compiling(log).heard():
            yield lambda row: None
        return
    columns = (
        plain_column("{task.description}"),
        plain_column("{task.fields[proven]} optimal"),
        BarColumn(),
        MofNCompleteColumn(),
        plain_column("rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, proven=0)
        proven = 0

        def advance(row: Row) -> None:
            nonlocal proven
            proven += row.status == "optimal"
            bar.update(task, advance=1, proven=proven)

        with Compiling(lambda name: bar.update(task, description=printable(name))).heard():
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
