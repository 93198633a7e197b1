"""Progress of the pairs on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pvq.solvers.compare.verdict import OPEN, SKIPPED
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..console import Printer, plain_column, printable
from ..progress import PLAIN_EVERY, Compiling, Log

OnPair = Callable[[str, Mapping[str, Any]], None]


@contextmanager
def pair_progress(total: int, quiet: bool) -> Iterator[OnPair]:
    """A callback for each finished pair: a bar on a terminal, now and then a line in a log, nothing if quiet."""
    if quiet:
        yield lambda name, pair: None
        return
    decided = done = 0

    def count(pair: Mapping[str, Any]) -> None:
        nonlocal decided, done
        done += 1
        decided += pair["verdict"] not in (OPEN, SKIPPED)

    console = Printer(stderr=True)
    if not console.is_terminal:
        last = time.monotonic()

        def plain(name: str, pair: Mapping[str, Any]) -> None:
            nonlocal last
            count(pair)
            if time.monotonic() - last > PLAIN_EVERY:
                last = time.monotonic()
                print(f"{done} of {total} pairs, {decided} decided", file=sys.stderr, flush=True)

        with Log(PLAIN_EVERY) as log, Compiling(log).heard():
            yield plain
        return
    columns = (
        plain_column("{task.fields[decided]} decided"),
        BarColumn(),
        MofNCompleteColumn(),
        plain_column("pairs, {task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, decided=0)

        def advance(name: str, pair: Mapping[str, Any]) -> None:
            count(pair)
            bar.update(task, advance=1, decided=decided)

        with Compiling(lambda name: bar.update(task, description=printable(name))).heard():
            yield advance
