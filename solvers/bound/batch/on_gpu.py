"""The searches of all rows and blocks of a chunk by a GPU, one launch for each evaluation of f(v).

A GPU affords blocks of 48 inputs where a CPU affords 16: D couples more of H, and the bound rises. What float32
cannot hold, and what has not ended in time, the CPU searches as it does its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from pvq.bounds.cuda.driver import GpuError
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem

from ...base import Clock, Options
from ...bnb.blocks import LAUNCH, NODES, RATE
from ...bnb.gpu import engine as engines
from ...bnb.gpu.numbers import LEVELS, Numbers, block_numbers, why_not_in_order
from ...bnb.gpu.precision import COARSEST, Precision, binades
from ...bnb.gpu.rows import EAGER
from ...bnb.gpu.work import Found, Roots, Rows, Work
from ...checked import check_ahead
from ...result import Outcome
from .layer import LONG, LongLayer, Parts, long_layer
from .levels import Levels
from .quantized import EVEN, bound_rows
from .search import block_minima, ends_of_blocks

SIZE = 48
"""Inputs of a block. An H100 searches 1.3 million rows of 48 inputs a second and 91,000 of 64 with one plan, and a
verifier repeats 500 and 170 a second with one thread."""

SURE = 1 - 1e-4
"""Part of a block's least error, above the minimum over its box, that is claimed: a verifier has room to round."""

FINE_BINADE = 16
"""k from which rows go into a launch of their own: one that reaches far makes the numbers of all coarser."""


def bound_on_gpu(
    problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None], clock: Clock
) -> tuple[list[Outcome] | None, str]:
    """Outcomes of rows on grids that share a Gram matrix, or None, and in words where they are searched.

    Raises
    ------
    SolverUnavailable
        Device "gpu", and there is none.
    """
    gram = problems[0].gram
    engine = engines.ready(min(SIZE, len(gram)), options.device)
    if engine is None:
        return None, "cpu: no GPU"
    why = _why_not_grids(problems)
    layer = long_layer(gram, SIZE) if why is None else None
    if layer is None:
        return None, f"cpu: {why or 'the matrix is singular'}"
    grid = problems[0].grid
    assert grid is not None
    top = grid.levels.shape[1] - 1.0
    numbers = gram.memo(bound_on_gpu, lambda: _numbers_of_blocks(layer, top), top)
    if isinstance(numbers, str):
        return None, f"cpu: {numbers}"
    if len(gram) > LONG:
        check_ahead(gram, layer.below)
    search = BlocksOnGpu(engine, numbers, lambda: clock.ended() is not None)
    try:
        outcomes = bound_rows(problems, layer, options, starts, clock, search)
    except GpuError as error:
        return None, f"cpu: {error}"
    place = f"gpu: {engine.device.name}"
    return [replace(outcome, info={**outcome.info, "device": place}) for outcome in outcomes], place


def _why_not_grids(problems: Sequence[Problem]) -> str | None:
    """One line on why grids cannot be searched in float32 with one plan for all rows; None where they can."""
    for problem in problems:
        assert problem.grid is not None
        values = problem.grid.levels
        if len(values) > 1:
            return "several scales a row"
        if not 2 <= values.shape[1] <= LEVELS:
            return f"the grid does not have 2 to {LEVELS} values"
        steps, span = np.diff(values[0]), float(np.ptp(values[0]))
        if not (span > 0 and float(np.ptp(steps)) <= EVEN * span):
            return "the grid is not evenly spaced"
    return None


def _numbers_of_blocks(layer: LongLayer, top: float) -> tuple[Numbers, ...] | str:
    for plan in layer.plans:
        why = why_not_in_order(plan, plan.pivot, top)
        if why is not None:
            return why
    return tuple(block_numbers(plan, top) for plan in layer.plans)


class BlocksOnGpu:
    """Takes the place of `block_minima`."""

    def __init__(self, engine: engines.Engine, numbers: Sequence[Numbers], ended: Callable[[], bool]) -> None:
        self.engine, self.numbers, self.ended = engine, numbers, ended

    def __call__(
        self,
        targets: FloatArray,
        index: np.ndarray,
        levels: Levels,
        parts: Parts,
        shrink: float,
        budget: int,
        low: FloatArray,
        nodes: IntArray,
        done: BoolArray,
    ) -> None:
        """See `block_minima`.

        Raises
        ------
        GpuError
            The device has failed.
        """
        root, upper, base = (np.empty(low.shape) for _ in range(3))
        ends_of_blocks(targets, index, levels, parts, root, upper, base)
        threshold = upper - (1 - shrink) * np.maximum(upper - base, 0.0)  # see `lowered`
        low[:] = root
        done |= ~(threshold > root)
        chunk = _Chunk(targets, levels, parts)
        for size in np.unique(parts.size):
            for pairs in self._launches(chunk, threshold, ~done & (parts.size == size)):
                found = self._search(pairs)
                nodes += int(found.counts[0]) // len(nodes)
                pair, levels_of, error = chunk.best(pairs, found)
                at = pairs.row, pairs.block
                better = error < upper[at][pair]
                for b in np.unique(pairs.block[pair[better]]):
                    of = better & (pairs.block[pair] == b)
                    index[pairs.row[pair[of]][:, None], chunk.positions(b)] = levels_of[of]
                proven = threshold[at]
                claimed = error - (1 - SURE) * np.maximum(error - base[at][pair], 0.0)
                proven[pair] = np.minimum(proven[pair], claimed)
                ended = found.finished & (not found.lost)
                low[at] = np.where(ended, np.maximum(low[at], proven), low[at])
                done[at] = ended
        block_minima(targets, index, levels, parts, shrink, budget, low, nodes, done)

    def _launches(self, chunk: _Chunk, threshold: FloatArray, wanted: BoolArray) -> list[_Pairs]:
        """The pairs of a row and a block that are wanted and that float32 can hold, in at most two launches."""
        found = [chunk.of_block(b, self.numbers[b], threshold, wanted[:, b]) for b in range(len(self.numbers))]
        all_pairs = _Pairs.of([pairs for pairs in found if len(pairs.row)])
        if all_pairs is None:
            return []
        launches = []
        for held in (all_pairs.k >= FINE_BINADE, (all_pairs.k >= COARSEST) & (all_pairs.k < FINE_BINADE)):
            if held.any():
                pairs = all_pairs.where(held)
                fits = pairs.stated(self.numbers)[2]
                if fits.any():
                    launches.append(pairs.where(fits))
        return launches

    def _search(self, pairs: _Pairs) -> Found:
        raised, doubled, _ = pairs.stated(self.numbers)
        blocks, plan = np.unique(pairs.block, return_inverse=True)
        count, m = pairs.centre.shape
        roots = Roots(
            np.arange(count), np.full(count, m), pairs.centre, np.zeros(count), np.zeros((count, m), np.int64)
        )
        plans = [self.numbers[b] for b in blocks]
        work = Work(plans, int(pairs.k.min()), Rows(plan, raised, doubled), roots)
        end = time.perf_counter() + LAUNCH + NODES * count / RATE  # as for many rows with one matrix
        return self.engine.search(work, lambda: self.ended() or time.perf_counter() > end, EAGER)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of a row and a block of one size, sorted by block."""

    row: IntArray
    block: IntArray
    centre: FloatArray
    """(pairs, m) target in steps, by position of the block's order."""
    below: FloatArray
    """(pairs,) threshold, in the units of the block's numbers."""
    k: IntArray
    """(pairs,) the finest binade, below COARSEST where there is none."""

    @classmethod
    def of(cls, parts: Sequence[_Pairs]) -> _Pairs | None:
        """All of them."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)) if parts else None

    def where(self, chosen: BoolArray) -> _Pairs:
        """Those that are chosen."""
        return _Pairs(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def stated(self, numbers: Sequence[Numbers]) -> tuple[FloatArray, FloatArray, BoolArray]:
        """What `Precision.thresholds` says of each, with one k for all."""
        k, raised, doubled = int(self.k.min()), np.empty(len(self.row)), np.empty(len(self.row))
        fits = np.zeros(len(self.row), np.bool_)
        for b in np.unique(self.block):
            of = self.block == b
            raised[of], doubled[of], fits[of] = Precision(numbers[b], k).thresholds(self.below[of])
        return raised, doubled, fits


@dataclass(frozen=True, eq=False)
class _Chunk:
    """What an evaluation is asked for."""

    targets: FloatArray
    levels: Levels
    parts: Parts

    def positions(self, b: int) -> IntArray:
        """(m,) positions in the row of a block's inputs, in its order."""
        m = int(self.parts.size[b])
        return np.asarray(self.parts.start[b] + self.parts.order[b, :m])

    def of_block(self, b: int, numbers: Numbers, threshold: FloatArray, wanted: BoolArray) -> _Pairs:
        """Its pairs with the rows that are wanted."""
        row = np.flatnonzero(wanted)
        own = row if len(self.levels.values) > 1 else np.zeros(len(row), np.int64)
        per_step = self.levels.per_step[own, 0]
        centre = (self.targets[row[:, None], self.positions(b)] - self.levels.values[own, 0, :1]) * per_step[
            :, None
        ]
        below = threshold[row, b] * per_step**2 / numbers.unit
        return _Pairs(row, np.full(len(row), b), centre, below, binades(numbers, centre, below))

    def best(self, pairs: _Pairs, found: Found) -> tuple[IntArray, IntArray, FloatArray]:
        """Of pairs with a leaf: their numbers, the levels of the least one, its error in float64."""
        error = np.empty(len(found.rows))
        for b in np.unique(pairs.block[found.rows]):
            leaf = np.flatnonzero(pairs.block[found.rows] == b)
            row, m = pairs.row[found.rows[leaf]], int(self.parts.size[b])
            own = row if len(self.levels.values) > 1 else np.zeros(len(row), np.int64)
            u = (
                self.targets[row[:, None], self.positions(b)]
                - self.levels.values[own[:, None], 0, found.picks[leaf]]
            )
            error[leaf] = np.einsum("ij,ij->i", u @ self.parts.matrix[b, :m, :m], u)
        by_error = np.lexsort((error, found.rows))
        pair, first = np.unique(found.rows[by_error], return_index=True)
        leaf = by_error[first]
        return pair, found.picks[leaf], error[leaf]
