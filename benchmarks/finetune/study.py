"""A comparison from its cells to its record: the original, the learning rates, then every size and seed."""

from __future__ import annotations

import queue
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from pvq.bounds.errors import ProblemError

from ..runner import Process
from .compress import BASE, METHODS
from .folder import Folder
from .tasks import Task
from .train import Cell

LOOK = 0.2
"""Seconds between two looks at a cell that is being trained; Ctrl-C is heard between them."""
WORKER = "pvq.benchmarks.finetune.worker"

OnEpoch = Callable[[Cell, int], object]


@dataclass
class Study:
    """One row of the table: a task by both methods at every size.

    Parameters
    ----------
    source : name of the task, by which worker processes load it.
    task : the same, loaded.
    folder : where cells are kept.
    bits : widths, each from 2 to 15.
    seeds : of data order; 0, 1, ...
    rates : learning rates that are tried, at the middle width and with the first seed.
    epochs : of fine-tuning; the task's own without it.
    """

    source: str
    task: Task
    folder: Folder
    bits: Sequence[int]
    seeds: int
    rates: Sequence[float]
    epochs: int | None = None
    device: str = "cpu"
    known: dict[Cell, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.bits or not all(2 <= b < BASE for b in self.bits):
            raise ProblemError(f"`bits` must be between 2 and {BASE - 1}")
        if self.seeds < 1 or not self.rates or not all(0 < rate < 1e3 for rate in self.rates):
            raise ProblemError("`seeds` must be at least 1, `rates` positive")
        if self.epochs is not None and self.epochs < 1:
            raise ProblemError("`epochs` must be at least 1")

    @property
    def original(self) -> Cell:
        """The network that all others start from."""
        epochs, rate = self.task.schooling or (0, 0.0)
        return Cell("original", BASE, 0, rate, epochs)

    @property
    def middle(self) -> int:
        """The width at which learning rates are tried."""
        return statistics.median_low(self.bits)

    def cell(self, method: str, bits: int, seed: int, rate: float) -> Cell:
        """A cell of this comparison."""
        return Cell(method, bits, seed, rate, self.epochs or self.task.epochs)

    def trials(self, method: str) -> list[Cell]:
        """Cells that decide on the learning rate of a method."""
        return [self.cell(method, self.middle, 0, rate) for rate in self.rates]

    def rate(self, method: str) -> float | None:
        """The learning rate with the best validation; the first of equal ones. None while it is not known."""
        tried = self.trials(method)
        if not all(cell in self.known for cell in tried):
            return None
        sign = 1 if self.task.higher_is_better else -1
        return max(tried, key=lambda cell: sign * self.known[cell]["validation"]).rate

    def cells(self, method: str) -> list[Cell]:
        """Cells of the table, of a method whose learning rate is known."""
        rate = self.rate(method)
        if rate is None:
            return []
        return [self.cell(method, bits, seed, rate) for seed in range(self.seeds) for bits in self.bits]

    @property
    def epochs_in_all(self) -> int:
        """Epochs of the whole comparison."""
        cells = len(METHODS) * (len(self.rates) + len(self.bits) * self.seeds - 1)
        return self.original.epochs + cells * (self.epochs or self.task.epochs)

    def run(self, stop: threading.Event, jobs: int = 1, on_epoch: OnEpoch = lambda cell, done: None) -> None:
        """Train what is not known yet; what is finished is kept in the folder.

        Parameters
        ----------
        stop : set it, and cells are ended; they go on from their last epoch the next time.
        jobs : cells at the same time.
        on_epoch : called with a cell and the number of its epochs that are done.

        Raises
        ------
        ProblemError
            A cell fails; the message says why.
        """
        idle: queue.SimpleQueue[Process] = queue.SimpleQueue()
        try:
            self._train([self.original], idle, stop, jobs, on_epoch)
            for cells_of in (self.trials, self.cells):
                cells = [cell for method in METHODS for cell in cells_of(method)]
                self._train(cells, idle, stop, jobs, on_epoch)
        finally:
            while not idle.empty():
                idle.get().kill()

    def _train(
        self,
        cells: Sequence[Cell],
        idle: queue.SimpleQueue[Process],
        stop: threading.Event,
        jobs: int,
        on_epoch: OnEpoch,
    ) -> None:
        waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
        lock = threading.Lock()
        for cell in cells:
            if cell in self.known:
                continue
            found = self.folder.known(cell)
            if found is None:
                waiting.put(cell)
            else:
                self.known[cell] = found
                on_epoch(cell, cell.epochs)

        def work() -> None:
            process: Process | None = None
            try:
                while not stop.is_set():
                    try:
                        cell = waiting.get_nowait()
                    except queue.Empty:
                        return
                    process = process or _worker(idle)
                    found = self._one(process, cell, stop, lock, on_epoch)
                    if found is not None:
                        with lock:
                            self.known[cell] = found
            except ProblemError:
                with suppress(queue.Empty):  # the others finish what they have
                    while True:
                        waiting.get_nowait()
                raise
            finally:
                if process is not None:
                    idle.put(process)

        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(work) for _ in range(min(jobs, max(1, waiting.qsize())))]
            for future in futures:
                future.result()

    def _one(
        self, process: Process, cell: Cell, stop: threading.Event, lock: threading.Lock, on_epoch: OnEpoch
    ) -> dict[str, Any] | None:
        """The record of a cell; None where it was stopped."""
        order = {"task": self.source, "folder": str(self.folder.path), "device": self.device}
        process.send({**order, "cell": asdict(cell)})
        while not stop.is_set():
            answer = process.receive(LOOK)
            if answer is None:
                if not process.is_alive:
                    raise ProblemError(f"{self.source}: {cell.key} failed: {process.last_words}")
            elif answer["event"] == "epoch":
                with lock:
                    on_epoch(cell, answer["done"])
            elif answer["event"] == "result":
                found: dict[str, Any] = answer["result"]
                return found
            else:
                raise ProblemError(f"{self.source}: {cell.key} failed: {answer['why']}")
        return None

    def document(self) -> Mapping[str, Any]:
        """Everything that is known, for JSON."""
        original = self.known.get(self.original)
        table = [cell for method in METHODS for cell in self.cells(method) if cell in self.known]
        trials = [cell for method in METHODS for cell in self.trials(method) if cell in self.known]
        return {
            "task": self.source,
            "measure": self.task.measure,
            "higher_is_better": self.task.higher_is_better,
            "bits": list(self.bits),
            "seeds": self.seeds,
            "epochs": self.epochs or self.task.epochs,
            "rates": {"tried": list(self.rates), "bits": self.middle} | {m: self.rate(m) for m in METHODS},
            "original": None if original is None else {key: original[key] for key in ("validation", "test")},
            "trials": [
                {"method": cell.method, "rate": cell.rate, "validation": self.known[cell]["validation"]}
                for cell in trials
            ],
            "cells": [_line(cell, self.known[cell]) for cell in table],
        }


def _worker(idle: queue.SimpleQueue[Process]) -> Process:
    """A worker that waits, or a new one."""
    try:
        return idle.get_nowait()
    except queue.Empty:
        return Process(1, WORKER)


def _line(cell: Cell, known: Mapping[str, Any]) -> dict[str, Any]:
    weights = known["weights"]
    size = sum(w["size"] for w in weights.values())
    kept = sum(w["kept"] for w in weights.values())
    layers = [
        {"name": name, **weights[name], "activation_sqnr_db": known["activation_sqnr_db"].get(name)}
        | ({"step": known["steps"][name]} if name in known["steps"] else {})
        for name in weights
    ]
    bits = size * cell.bits if cell.method == "quant" else kept * BASE
    return {
        "method": cell.method,
        "bits": cell.bits,
        "seed": cell.seed,
        "rate": cell.rate,
        "validation": known["validation"],
        "test": known["test"],
        "weights": size,
        "storage_bits": bits,
        "layers": layers,
    }
