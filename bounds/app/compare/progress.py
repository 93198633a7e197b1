"""Progress of the pairs on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pvq.solvers.compare.column import Column, column_of, columns_of
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


class PairProgress:
    """Counts the pairs of this run and shows nothing."""

    def __init__(self) -> None:
        self.total = 0
        self._verdicts: dict[tuple[str, Column], str] = {}

    @property
    def done(self) -> int:
        """Pairs that have been handed over, each once."""
        return len(self._verdicts)

    @property
    def decided(self) -> int:
        """Those with a verdict."""
        return sum(found not in (OPEN, SKIPPED) for found in self._verdicts.values())

    def of(self, document: Mapping[str, Any], bits: Collection[int]) -> None:
        """Learn from a `pvq.compare/1` document how many pairs of these widths there will be."""
        pairs = sum(column.bits in bits for column in columns_of(document))
        self.total = pairs * sum(layer["skipped"] is None for layer in document["layers"])

    def pair(self, name: str, pair: Mapping[str, Any]) -> None:
        """A pair of a layer is finished."""
        self._verdicts[name, column_of(pair)] = pair["verdict"]
        self.show()

    def show(self) -> None:
        """Show how far the run is."""


class PlainProgress(PairProgress):
    """Now and then a line in a log."""

    def __init__(self) -> None:
        super().__init__()
        self._said = time.monotonic()

    def show(self) -> None:
        if time.monotonic() - self._said > PLAIN_EVERY:
            self._said = time.monotonic()
            print(f"{self.done} of {self.total} pairs, {self.decided} decided", file=sys.stderr, flush=True)


class BarProgress(PairProgress):
    """A bar on a terminal."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self._bar, self._member = bar, bar.add_task("", total=None, decided=0)

    def show(self) -> None:
        self._bar.update(self._member, completed=self.done, total=self.total, decided=self.decided)

    def name(self, stage: str) -> None:
        """Say what is being done."""
        self._bar.update(self._member, description=printable(stage))


@contextmanager
def pair_progress(quiet: bool) -> Iterator[PairProgress]:
    """What shows each finished pair: a bar on a terminal, now and then a line in a log, nothing if quiet."""
    console = Printer(stderr=True)
    if quiet:
        yield PairProgress()
        return
    if not console.is_terminal:
        with Log(PLAIN_EVERY) as log, Compiling(log).heard():
            yield PlainProgress()
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
        shown = BarProgress(bar)
        with Compiling(shown.name).heard():
            yield shown
