"""Progress of a run's rows on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from ..console import Printer, plain_column, printable
from ..progress import PLAIN_EVERY, Compiling, Log


@contextmanager
def row_progress(rows: int, known: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """What is told of rows that were committed: a bar on a terminal, now and then a line in a log.

    rows, known : of the run, and those of them that had a result before.
    """
    console = Printer(stderr=True)
    if quiet:
        yield lambda count: None
        return
    begin, done = time.monotonic(), 0
    if not console.is_terminal:
        said = begin

        def line(count: int) -> None:
            nonlocal done, said
            done += count
            now = time.monotonic()
            if now - said > PLAIN_EVERY:
                said = now
                print(f"{done} results in {now - begin:.0f} s", file=sys.stderr, flush=True)

        with Log(PLAIN_EVERY) as log, Compiling(log).heard():
            yield line
        return
    columns = (
        plain_column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        plain_column("rows with a result, {task.fields[rate]:.1f} results a second"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("", total=rows, completed=known, rate=0.0)

        def move(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(1e-9, time.monotonic() - begin)
            bar.update(shown, completed=min(rows, known + done), rate=rate)

        with Compiling(lambda stage: bar.update(shown, description=printable(stage))).heard():
            yield move
