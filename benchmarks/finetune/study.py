"""A comparison: what has to be trained, and its record. The original, the learning rates, every size and seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pvq.bounds.errors import ProblemError

from .compress import BASE, METHODS
from .folder import Folder
from .tasks import FinetuneTask
from .train import Cell


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
    task: FinetuneTask
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

    def wanted(self) -> tuple[int, list[Cell]]:
        """What can be trained now and is not known: the original, then trials, then the table; and which of these.

        Cells of the table come seed by seed, the smallest sizes first, by both methods each: what is there at any
        time can be compared.
        """
        table = [cell for method in METHODS for cell in self.cells(method)]
        table.sort(key=lambda cell: (cell.seed, cell.bits))
        stages = [self.original], [cell for method in METHODS for cell in self.trials(method)], table
        for stage, cells in enumerate(stages):
            unknown = [cell for cell in cells if cell not in self.known]
            if unknown:
                return stage, unknown
        return len(stages), []

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
