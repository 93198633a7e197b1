"""Lower bounds for re-optimised pruning of rows of any size: one diagonal for the layer, improved for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.stages import stage

from ..base import Clock
from ..empirical.swaps import greedy_mask, polish_mask
from . import paired
from .ascent import positive_inverse, starting_diagonal
from .central_path import ascend
from .cone import SAFE
from .node_perspective import pattern_of
from .row_perspective import relax

SAMPLE = 6
"""Rows the layer's diagonal is fitted to; more do not change it visibly."""

ITERATIONS, FEW = 60, 9
"""Linear systems for the last bound, and for a bound at once."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A row's relaxation at some D: the point of its proof, and the bound it gives before it is verified."""

    point: FloatArray
    """(n,) x of the best bound; v = point - w."""
    bound: float


@dataclass(frozen=True, eq=False)
class PrunedRow:
    """A row with what its relaxations need."""

    problem: Problem
    b: FloatArray
    c: float
    upper: float

    @classmethod
    def of(cls, problem: Problem, upper: float) -> PrunedRow:
        """From the problem and the error of a feasible point."""
        b = problem.hessian @ problem.weight
        return cls(problem, b, float(problem.weight @ b), upper)


def shared(problems: Sequence[Problem]) -> Below:
    """The layer's diagonal, fitted to some of its rows."""
    sparsity = problems[0].pattern
    gram = problems[0].gram
    return Below(_fit(gram, sparsity, problems))


def start_of(gram: Gram) -> FloatArray:
    """(n,) where every ascent in D starts; computed once per Gram matrix."""

    def start() -> FloatArray:
        stage("starting diagonal")
        return starting_diagonal(gram.matrix)

    return gram.memo(start_of, start)


def _fit(gram: Gram, sparsity: Sparsity, problems: Sequence[Problem]) -> FloatArray:
    chosen = [problems[i] for i in np.unique(np.linspace(0, len(problems) - 1, SAMPLE).astype(int))]
    stage("diagonal of all rows")
    uppers = [problem.error(upper_point(problem)) for problem in chosen]
    rows = [(problem.weight, upper) for problem, upper in zip(chosen, uppers, strict=True) if upper > 0]
    if not rows:
        return proven(gram, start_of(gram))
    weight, upper = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    return proven(gram, ascend(gram.matrix, weight, upper, sparsity, start_of(gram))[0])


def proven(gram: Gram, d: FloatArray) -> FloatArray:
    """d, a little smaller where that makes H - D clearly positive definite."""
    for shrink in (SAFE, 100 * SAFE):
        if positive_inverse(gram.matrix, d * (1 - shrink / 2))[0]:
            return d * (1 - shrink)
    return d


def bound_by_pairs(row: PrunedRow, clock: Clock) -> tuple[Below, Relaxed]:
    """The best lower bound of a row: its own diagonal, then pairs where they pay."""
    below, found = bound_by_diagonal(row, clock)
    if clock.ended() is not None or not paired.has_pairs(row.problem):
        return below, found
    coupled, point, bound = paired.improve(row.problem, row.upper, below, found.point, clock)
    return (coupled, Relaxed(point, bound)) if bound > found.bound else (below, found)


def bound_by_diagonal(row: PrunedRow, clock: Clock, layer: Below | None = None) -> tuple[Below, Relaxed]:
    """The best lower bound of a row at its own diagonal; without time for that, at the layer's or the start."""
    problem = row.problem
    candidates: list[tuple[Below, Relaxed]] = []
    ended = False
    if clock.ended() is None:
        h, weight, upper = problem.hessian, problem.weight[None], np.array([row.upper])
        d, points, ended = ascend(h, weight, upper, problem.pattern, start_of(problem.gram), clock)
        own = Below(proven(problem.gram, d))
        candidates.append((own, relaxed(row, own, points[0])))
    if not candidates or not (ended or clock.ended()):  # its own is no worse than where it began
        layer = Below(proven(problem.gram, start_of(problem.gram))) if layer is None else layer
        candidates.append((layer, relaxed(row, layer, iterations=FEW)))
    return max(candidates, key=lambda candidate: candidate[1].bound)


def relaxed(
    row: PrunedRow, below: Below, start: FloatArray | None = None, iterations: int = ITERATIONS
) -> Relaxed:
    """The bound of a row for a given D; `iterations` where it is a diagonal."""
    start = row.problem.weight.copy() if start is None else start
    if len(below.pairs):
        return Relaxed(*paired.relaxed(row.problem, row.upper, below, start))
    sparsity = row.problem.pattern
    best, z, q = np.zeros(row.problem.n), np.zeros(sparsity.units), row.problem.hessian - np.diag(below.d)
    bound, _ = relax(q, below.d, row.b, row.c, pattern_of(sparsity), iterations, 1e-3, start, z, best)
    return Relaxed(best, bound)


def upper_point(problem: Problem) -> FloatArray:
    """(n,) greedy removal and swaps."""
    return optimal_on_support(problem, polish_mask(problem, greedy_mask(problem)))
