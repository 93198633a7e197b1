"""Lower bounds for re-optimised pruning of rows of any size: one diagonal for the layer, improved for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below
from pvq.bounds.sparsity import Sparsity

from ..base import Clock
from ..empirical.swaps import greedy_mask, polish_mask
from .ascent import ascent_round, positive_inverse, starting_diagonal
from .perspective import relax

SAMPLE = 6
"""Rows the layer's diagonal is fitted to; more do not change it visibly."""

LAYER_ROUNDS, ROW_ROUNDS = 18, 14
"""Rounds of ascent, at most, for the layer's diagonal and for a row's own."""

ITERATIONS, FINAL_ITERATIONS = 9, 60
"""Linear systems per round, and for the last bound."""

EVEN = 0.001
"""Ascent weight of every input, as a part of the mean weight, on top of its own: inputs that are idle now keep a
diagonal that lets them come back."""

TRUST = 0.8
"""A round changes d_i by at most this factor (see `ascent_round`)."""

SHRINK = 0.85
"""The barrier falls by this factor with every round that helps; 0.75 loses up to a tenth of the bound."""

ENOUGH = 3e-4
"""Rounds end when three of them gain less than this part of the upper bound."""

SAFE = 1e-8
"""The D of a proof is this much smaller than the one of the ascent, so that H - D is clearly positive definite."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A row's relaxation at some D: the point of its proof, and the bound it gives before it is verified."""

    point: FloatArray
    """(n,) x of the best bound; v = point - w."""
    bound: float


@dataclass(frozen=True, eq=False)
class Row:
    """A row with what its relaxations need."""

    problem: Problem
    b: FloatArray
    c: float
    upper: float

    @classmethod
    def of(cls, problem: Problem, upper: float) -> Row:
        """From the problem and the error of a feasible point."""
        b = problem.hessian @ problem.weight
        return cls(problem, b, float(problem.weight @ b), upper)


@dataclass(frozen=True, eq=False)
class Shared:
    """What the rows of a layer share for one pattern."""

    below: Below
    floor: FloatArray
    barrier: float
    """Where a row's own rounds go on."""


def shared(problems: Sequence[Problem]) -> Shared:
    """The layer's diagonal, fitted to some of its rows; computed once per Gram matrix and pattern."""
    sparsity = problems[0].sparsity
    assert sparsity is not None
    gram = problems[0].gram
    key = ("bound: pruning", sparsity.unit.tobytes(), sparsity.group.tobytes(), sparsity.keep.tobytes())
    return gram.memo(key, lambda: _fit(gram, sparsity, problems))


def _fit(gram: Gram, sparsity: Sparsity, problems: Sequence[Problem]) -> Shared:
    chosen = [problems[i] for i in np.unique(np.linspace(0, len(problems) - 1, SAMPLE).astype(int))]
    chosen = [problem for problem in chosen if problem.reference > 0] or [problems[0]]
    rows = [Row.of(problem, max(problem.error(upper_point(problem)), 1e-300)) for problem in chosen]
    start, floor = gram.memo("bound: starting diagonal", lambda: starting_diagonal(gram.matrix))
    d, _, barrier = _ascend(rows, start, floor, 1.0, LAYER_ROUNDS, None)
    return Shared(Below(proven(gram, d)), floor, barrier)


def proven(gram: Gram, d: FloatArray) -> FloatArray:
    """d, a little smaller where that makes H - D clearly positive definite."""
    for shrink in (SAFE, 100 * SAFE):
        if positive_inverse(gram.matrix, d * (1 - shrink / 2))[0]:
            return d * (1 - shrink)
    return d


def _ascend(
    rows: Sequence[Row], d: FloatArray, floor: FloatArray, barrier: float, rounds: int, clock: Clock | None
) -> tuple[FloatArray, list[FloatArray], float]:
    """Alternate between the rows' relaxations at D and a round of ascent in D; keep the best D.

    Returns D, the rows' points there, and the barrier.
    """
    gram, sparsity = rows[0].problem.gram, rows[0].problem.sparsity
    assert sparsity is not None
    h, n = gram.matrix, len(gram)
    points = [row.problem.weight.copy() for row in rows]
    best, best_d, best_points, trust = -np.inf, d, points, TRUST
    weights = np.ones(n)
    history: list[float] = []
    for turn in range(rounds + 1):
        q = h - np.diag(d)
        mean, fresh = 0.0, np.zeros(n)
        for j, row in enumerate(rows):
            z, found = np.zeros(sparsity.units), np.zeros(n)
            _, objective = relax(
                q, d, row.b, row.c, sparsity.unit, sparsity.group, sparsity.keep,
                ITERATIONS, 5e-3 * row.upper, points[j], z, found,
            )  # fmt: skip
            mean += max(objective, 0.0) / row.upper / len(rows) if np.isfinite(objective) else 0.0
            share = z[sparsity.unit]
            idle = np.divide(1.0, share, out=np.ones(n), where=share > 1e-9) - 1.0
            fresh += points[j] ** 2 * idle / row.upper
        if mean > best:
            best, best_d, best_points = mean, d, [point.copy() for point in points]
            barrier, weights = max(SHRINK * barrier, 5e-3), fresh
        else:  # the step was too long: back, and shorter ones from the average of both gradients
            d, trust, weights = best_d, trust**0.5, (weights + fresh) / 2
        history.append(best)
        settled = len(history) > 3 and history[-1] - history[-4] < ENOUGH
        if turn == rounds or settled or (clock is not None and clock.ended() is not None):
            break
        d = ascent_round(h, d, weights + EVEN * weights.mean(), barrier, trust, floor)
    return best_d, best_points, barrier


def bound_row(row: Row, layer: Shared, clock: Clock) -> tuple[Below, Relaxed]:
    """The best lower bound of a row from the layer's diagonal and from its own, as time allows."""
    gram = row.problem.gram
    candidates = [(layer.below, relaxed(row, layer.below.d))]
    if clock.ended() is None:
        d, points, _ = _ascend([row], layer.below.d, layer.floor, layer.barrier, ROW_ROUNDS, clock)
        if d is not layer.below.d:
            own = Below(proven(gram, d))
            candidates.append((own, relaxed(row, own.d, points[0])))
    return max(candidates, key=lambda candidate: candidate[1].bound)


def relaxed(row: Row, d: FloatArray, start: FloatArray | None = None) -> Relaxed:
    """The bound of a row for a given D."""
    start = row.problem.weight.copy() if start is None else start
    sparsity = row.problem.sparsity
    assert sparsity is not None
    best, z = np.zeros(row.problem.n), np.zeros(sparsity.units)
    bound, _ = relax(
        row.problem.hessian - np.diag(d), d, row.b, row.c, sparsity.unit, sparsity.group, sparsity.keep,
        FINAL_ITERATIONS, 1e-3 * row.upper, start, z, best,
    )  # fmt: skip
    return Relaxed(best, bound)


def upper_point(problem: Problem) -> FloatArray:
    """(n,) greedy removal and swaps."""
    return optimal_on_support(problem, polish_mask(problem, greedy_mask(problem)))
