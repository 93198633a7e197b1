"""Progress of a fine-tuning comparison on standard error: epochs done, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pvq.bounds.durations import words_of

from ..console import Printer, plain_column, printable

if TYPE_CHECKING:
    from pvq.benchmarks.finetune.study import Study
    from pvq.benchmarks.finetune.train import Cell

LINES_EVERY = 10.0
"""Seconds between two lines in a log."""


@contextmanager
def epoch_progress(studies: Sequence[Study], quiet: bool) -> Iterator[Callable[[str, Cell, int], None]]:
    """A callback for each epoch done: a bar on a terminal, now and then a line in a log, nothing if quiet."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    count = Epochs(sum(one.epochs_in_all for one in studies))
    console = Printer(stderr=True)
    if quiet:
        yield lambda task, cell, done: None
    elif not console.is_terminal:
        last = time.monotonic()

        def say(task: str, cell: Cell, done: int) -> None:
            nonlocal last
            count(task, cell, done)
            if time.monotonic() - last >= LINES_EVERY:
                last = time.monotonic()
                with suppress(OSError, ValueError):
                    print(f"{printable(task)} {words(cell)}, {count.sentence()}", file=sys.stderr, flush=True)

        yield say
    else:
        columns = plain_column("{task.description}"), BarColumn(), MofNCompleteColumn(), plain_column("epochs")
        with Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True
        ) as bar:
            shown = bar.add_task("starting", total=count.total)

            def advance(task: str, cell: Cell, done: int) -> None:
                count(task, cell, done)
                bar.update(shown, completed=count.done, description=f"{printable(task)} {words(cell)}")

            yield advance


class Epochs:
    """Epochs that are done of all, and how long the others take at that pace."""

    def __init__(self, total: int) -> None:
        self.total, self._began = total, 0.0
        self._of: dict[tuple[str, Cell], int] = {}
        self._kept = 0
        """Epochs of an earlier run, which took no time of this one."""

    def __call__(self, task: str, cell: Cell, done: int) -> None:
        before = self._of.get((task, cell), 0)
        self._kept += max(0, done - before - 1)
        self._began = self._began or time.monotonic()  # what is loaded before the first epoch is not its pace
        self._of[task, cell] = done

    @property
    def done(self) -> int:
        """Of all."""
        return sum(self._of.values())

    def sentence(self) -> str:
        """How far it is."""
        here = self.done - self._kept - 1
        if here <= 0:
            return f"{self.done} of {self.total} epochs"
        left = (time.monotonic() - self._began) / here * max(0, self.total - self.done)
        return f"{self.done} of {self.total} epochs, about {words_of(left)} left"


def words(cell: Cell) -> str:
    """A cell in words."""
    if cell.method == "original":
        return "original"
    side = "quantized" if cell.method == "quant" else "pruned"
    return f"{side}, {cell.bits} bits, seed {cell.seed}, rate {cell.rate:g}"
