"""Cells of one or several comparisons in worker processes, which go from one comparison to the next."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from typing import Any

from pvq.bounds.errors import ProblemError

from ..runner import Process
from .study import Study
from .train import Cell

LOOK = 0.2
"""Seconds between two looks at a cell that is being trained; Ctrl-C is heard between them."""
WORKER = "pvq.benchmarks.finetune.worker"

OnEpoch = Callable[[Study, Cell, int], object]


def run_studies(
    studies: Sequence[Study],
    stop: threading.Event,
    jobs: int = 1,
    on_epoch: OnEpoch = lambda study, cell, done: None,
) -> None:
    """Train what is not known yet; what is finished is kept in the folders of the comparisons.

    Networks that others start from come first, then the learning rates, then all sizes from one seed after the
    other: what was stopped early has something of every comparison.

    Parameters
    ----------
    stop : set it, and cells are ended; they go on from their last epoch the next time.
    jobs : cells at the same time, each in a process of its own.
    on_epoch : called with a comparison, a cell of it, and the number of its epochs that are done.

    Raises
    ------
    ProblemError
        A cell fails; the message says why. Those beside it are finished first.
    """
    waiting = _Waiting(studies, stop, on_epoch)
    processes: list[Process] = []

    def work() -> None:
        process: Process | None = None
        while (taken := waiting.take()) is not None:
            if process is None:
                process = Process(1, WORKER)
                processes.append(process)
            found = None
            try:
                found = _one(process, *taken, stop, waiting)
            finally:
                waiting.done(*taken, found)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            for future in [pool.submit(work) for _ in range(jobs)]:
                future.result()
    finally:
        for process in processes:
            process.kill()


def _one(
    process: Process, study: Study, cell: Cell, stop: threading.Event, waiting: _Waiting
) -> dict[str, Any] | None:
    """The record of a cell; None where it was stopped."""
    order = {"task": study.source, "folder": str(study.folder.path), "device": study.device}
    process.send({**order, "cell": asdict(cell)})
    while not stop.is_set():
        answer = process.receive(LOOK)
        if answer is None:
            if not process.is_alive:
                raise ProblemError(f"{study.source}: {cell.key} failed: {process.last_words}")
        elif answer["event"] == "epoch":
            waiting.epoch(study, cell, answer["done"])
        elif answer["event"] == "unkept":
            waiting.unkept(answer["why"])
        elif answer["event"] == "result":
            found: dict[str, Any] = answer["result"]
            return found
        else:
            raise ProblemError(f"{study.source}: {cell.key} failed: {answer['why']}")
    return None


class _Waiting:
    """What can be trained now, given to one worker after another."""

    def __init__(self, studies: Sequence[Study], stop: threading.Event, on_epoch: OnEpoch) -> None:
        self._studies, self._stop, self._on_epoch = studies, stop, on_epoch
        self._taken: set[tuple[str, Cell]] = set()
        self._changed = threading.Condition()
        self._failed = self._unkept = False

    def take(self) -> tuple[Study, Cell] | None:
        """The next cell, once there is one; None where nothing is left, or no more is wanted."""
        with self._changed:
            while not self._failed and not self._stop.is_set():
                found = self._next()
                if found is None and not self._taken:
                    return None
                if found is None:  # what is being trained decides on what comes next
                    self._changed.wait(LOOK)
                    continue
                study, cell = found
                kept = study.folder.known(cell)
                if kept is None:
                    self._taken.add((study.source, cell))
                    return found
                study.known[cell] = kept
                self._on_epoch(study, cell, cell.epochs)
        return None

    def _next(self) -> tuple[Study, Cell] | None:
        found: list[tuple[tuple[int, int], Study, Cell]] = []
        for study in self._studies:
            stage, cells = study.wanted()
            free = (cell for cell in cells if (study.source, cell) not in self._taken)
            found += [((stage, cell.seed), study, cell) for cell in islice(free, 1)]
        return min(found, key=lambda one: one[0])[1:] if found else None

    def epoch(self, study: Study, cell: Cell, done: int) -> None:
        """Say that an epoch is done."""
        with self._changed:
            self._on_epoch(study, cell, done)

    def unkept(self, why: str) -> None:
        """Say, once, that checkpoints cannot be written: where one has no room, the next has none either."""
        with self._changed:
            if not self._unkept:
                with suppress(OSError, ValueError):
                    print(f"{why}; the training goes on and tries again", file=sys.stderr, flush=True)
            self._unkept = True

    def done(self, study: Study, cell: Cell, found: dict[str, Any] | None) -> None:
        """Take what a worker found; None where it was stopped or failed."""
        with self._changed:
            self._taken.discard((study.source, cell))
            if found is None:
                self._failed = True
            else:
                study.known[cell] = found
            self._changed.notify_all()
