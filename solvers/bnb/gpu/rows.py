"""Rows of the product for the GPU: one row below the open nodes of its tree, or many from their roots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvq.bounds.cuda.driver import GpuError
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

from ...options import Clock
from ..frontier import Frontier, centres_of
from ..restated import Restated
from .engine import Engine
from .numbers import Numbers, error_unit, numbers_of, why_not
from .precision import Precision, binade
from .work import DeviceRow, Root, work_of

SHARE = 2.0**-20
"""Largest part of a threshold that the float64 slack may be: `Precision.grow` has room for it."""

PLANS = 1024
"""Of one launch: each has a list of who waits."""

EAGER = 16
"""Nodes between two gifts where a launch has many short searches."""


@dataclass(frozen=True, eq=False)
class Swept:
    """What one launch says of the open nodes of a tree."""

    finished: BoolArray
    """(nodes,) below which nothing is left that is under the threshold."""
    points: list[FloatArray]
    """Grid points of the leaves."""
    nodes: int
    complete: bool


def on_gpu(engine: Engine, row: Restated) -> tuple[RowOnGpu | None, str]:
    """A row for the GPU, or None, and in words where it is searched."""
    why = why_not(row)
    if why is not None:
        return None, f"cpu: {why}"
    return RowOnGpu(engine, row), f"gpu: {engine.device.name}"


class RowOnGpu:
    """A row whose open nodes the GPU searches."""

    def __init__(self, engine: Engine, row: Restated) -> None:
        self.engine, self.row = engine, row
        self.numbers = numbers_of(row)
        self.failed = ""
        """What the device said when it failed."""
        self._unit = error_unit(row, self.numbers)
        self._frontier: Frontier | None = None
        self._roots: dict[int, Root] = {}

    def sweep(self, frontier: Frontier, nodes: IntArray, threshold: float, clock: Clock) -> Swept | None:
        """Search below these nodes; None where float32 cannot tell errors apart at this threshold."""
        row = self.row
        stated = state(row, self.numbers, threshold)
        if stated is None:
            return None
        k, raised, doubled = stated
        roots = tuple(self._root(frontier, node) for node in nodes.tolist())
        work = work_of([DeviceRow(self.numbers, raised, doubled, roots)], k)
        if not self.engine.fits(work):
            return None
        try:
            found = self.engine.search(work, clock.ended)
        except GpuError as error:
            self.failed = str(error)
            return None
        points = [row.point(picks) for picks in found.picks]
        finished = found.finished & (not found.lost)
        return Swept(finished, points, int(found.counts[0]), found.complete)

    def _root(self, frontier: Frontier, node: int) -> Root:
        """An open node, restated once: passes share their frontier, which does not change between them."""
        if self._frontier is not frontier:
            self._frontier, self._roots = frontier, {}
        if node not in self._roots:
            row, m = self.row, int(frontier.level[node])
            picks, out = frontier.picks[node].astype(np.int64), np.empty(row.width)
            partial = centres_of(m, picks, row.weight, row.factors, row.grid, out)
            self._roots[node] = Root(out[:m].copy(), partial / self._unit, picks[m : row.problem.n])
        return self._roots[node]


def state(
    row: Restated, numbers: Numbers, threshold: float, k: int | None = None
) -> tuple[int, float, float] | None:
    """k, T and 2 r of a row and a threshold in its own units; None where float32 cannot hold it.

    k : to use; None: the finest.
    """
    below = threshold / error_unit(row, numbers)
    if why_not(row) is not None or not below > 0 or not row.slack(threshold) <= SHARE * threshold:
        return None
    k = binade(numbers, row.weight, below) if k is None else k
    raised = None if k is None else Precision(numbers, k).threshold(below)
    return None if k is None or raised is None else (k, *raised)


def search_rows(
    engine: Engine, rows: Sequence[Restated], thresholds: Sequence[float], clock: Clock
) -> list[tuple[bool, list[FloatArray], int] | None]:
    """Search rows of the first one's length and number of values from their roots, in few launches.

    For each row whether nothing below its threshold is left but the points that follow, these points, and its
    share of the nodes; None for a row that cannot be searched in float32.
    """
    results: list[tuple[bool, list[FloatArray], int] | None] = [None] * len(rows)
    stated = []
    for index, (row, threshold) in enumerate(zip(rows, thresholds, strict=True)):
        if why_not(row) is None and (row.problem.n, row.top) == (rows[0].problem.n, rows[0].top):
            numbers = numbers_of(row)
            known = state(row, numbers, threshold)
            if known is not None:
                stated.append((index, numbers, known[0]))
    if not stated:
        return results
    coarsest = min(k for _, _, k in stated)
    stated.sort(key=lambda one: id(one[1]))  # rows of one plan one after the other
    chunk: list[tuple[int, DeviceRow]] = []
    plans = 0
    for index, numbers, _ in stated:
        again = state(rows[index], numbers, thresholds[index], coarsest)
        if again is None:
            continue
        new = not chunk or chunk[-1][1].numbers is not numbers
        if new and plans == PLANS:
            _launch(engine, chunk, coarsest, rows, clock, results)
            chunk, plans = [], 0
        plans += new
        root = Root(rows[index].weight, 0.0, np.zeros(0, np.int64))
        chunk.append((index, DeviceRow(numbers, again[1], again[2], (root,))))
    _launch(engine, chunk, coarsest, rows, clock, results)
    return results


def _launch(
    engine: Engine,
    chunk: list[tuple[int, DeviceRow]],
    k: int,
    rows: Sequence[Restated],
    clock: Clock,
    results: list[tuple[bool, list[FloatArray], int] | None],
) -> None:
    work = work_of([row for _, row in chunk], k) if chunk else None
    if work is None or not engine.fits(work):
        return
    try:
        found = engine.search(work, clock.ended, EAGER)
    except GpuError:
        return
    nodes = int(found.counts[0]) // len(chunk)
    points: list[list[FloatArray]] = [[] for _ in chunk]
    for leaf, picks in zip(found.rows, found.picks, strict=True):
        points[leaf].append(rows[chunk[leaf][0]].point(picks))
    for place, (index, _) in enumerate(chunk):
        results[index] = bool(found.finished[place]) and not found.lost, points[place], nodes
