"""Quantized rows of a long layer in chunks: the bound of `quantization`, for all of them at once.

With one D for the layer, f(v) of `solvers.bound.quantization` is two products of the whole chunk with n x n
matrices and a short search for each row and block. A step is kept only where the *certified* value has risen, row
by row: values from searches that were cut off would lead v astray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Enumeration, Order, Split

from ...base import Clock, Options
from ...kernels.digits import shortened
from ...result import Outcome, Reason
from .clamped import clamped
from .layer import LongLayer, Parts
from .levels import Levels
from .points import descend, rounded_in_order, values_at
from .search import block_minima, orders_of_row

Searches: TypeAlias = Callable[
    [FloatArray, np.ndarray, Levels, Parts, float, int, FloatArray, IntArray, BoolArray], None
]
"""As `block_minima`."""

TRIED, STEPS = 3, 8
"""Steps from each start of a row, and from where the better one has led. On five layers of a decoder at 3 bits, 64
rows each, that is as good as 14 steps from each, which take twice the time, within 1%; on a sixth 2.5% less."""

FIRST, GROW, FALL, MEMORY = 0.6, 1.5, 0.6, 0.5
"""First part of Newton's step, its factors after a gain and a loss, weight of the former mean (`relax.climb`)."""

ROUGH, FINE = 0.997, 0.998
"""Searches look below this part of the least error known, on the way and at the end: with .96, .98, .99 and .997
on the way a feed-forward layer's rows come to .487, .496, .501, .507 of their upper ends, in about as long."""

NODES, FINE_NODES = 3_000, 30_000
"""Nodes of one search, on the way and at the end."""

ROUNDING = 1e-14
"""Rounding of each term of f that a value of it is lowered by, some fifty units in the last place: terms cancel,
and where inputs are far outside of their box they are 1e5 times what is left."""

EVEN = 1e-12
"""Levels count as even where they differ by the same step up to this part of their range."""


@dataclass(frozen=True, eq=False)
class Values:
    """f at some v, of all rows of a chunk."""

    v: FloatArray
    """(rows, n)."""
    bound: FloatArray
    """(rows,)."""
    low: FloatArray
    """(rows, blocks) what the blocks' searches have proven."""
    index: np.ndarray
    """(rows, n) levels of the blocks' best points."""
    nodes: int = 0

    def where(self, better: np.ndarray, other: Values) -> Values:
        """These, and the other's rows where it is better."""
        pick = better[:, None]
        return Values(
            np.where(pick, other.v, self.v),
            np.where(better, other.bound, self.bound),
            np.where(pick, other.low, self.low),
            np.where(pick, other.index, self.index),
            self.nodes + other.nodes,
        )


@dataclass(frozen=True, eq=False)
class Points:
    """A feasible point of every row."""

    index: np.ndarray
    """(rows, n) int16 levels."""
    errors: FloatArray
    """(rows,) to compare points by."""

    def where(self, other: Points) -> Points:
        """These, and the other's rows where they are better."""
        gains = other.errors < self.errors
        return Points(np.where(gains[:, None], other.index, self.index), np.minimum(other.errors, self.errors))


@dataclass(frozen=True, eq=False)
class Ascent:
    """How far every row has come."""

    best: Values
    mean: FloatArray
    """(rows, n) of the blocks' best u, that of late the most."""
    step: FloatArray
    """(rows,) part of Newton's step."""

    def where(self, better: np.ndarray, other: Ascent) -> Ascent:
        """These, and the other's rows where it is better."""
        mean = np.where(better[:, None], other.mean, self.mean)
        return Ascent(self.best.where(better, other.best), mean, np.where(better, other.step, self.step))


class Chunk:
    """Rows with one Gram matrix and their grids, by position of the layer's order."""

    def __init__(self, problems: Sequence[Problem], layer: LongLayer, search: Searches = block_minima) -> None:
        self.problems, self.layer, self.search = problems, layer, search
        self.w = np.array([problem.weight[layer.order] for problem in problems])
        self.levels = _levels(problems, layer)
        own = self.levels.values[:, self.levels.group]
        self.low_end = np.broadcast_to(own[..., 0], self.w.shape)
        self.high_end = np.broadcast_to(own[..., -1], self.w.shape)
        self.reach = np.maximum(self.high_end - self.w, self.w - self.low_end)
        self._inverses = [np.linalg.inv(part) for part in layer.parts]

    def points(self, starts: Sequence[FloatArray | None], v: FloatArray) -> Points:
        """GPTQ and descent from w, from w + v, or a row's start where it is better."""
        points = self.better(self.rounded(np.zeros_like(v)), v)
        index = points.index.copy()
        for r, start in enumerate(starts):
            if start is not None and self.problems[r].is_feasible(start):
                index[r] = self._index_of(r, start)
        u = values_at(index, self.levels) - self.w
        return points.where(Points(index, np.einsum("ij,ij->i", u @ self.layer.hessian, u)))

    def rounded(self, v: FloatArray) -> Points:
        """GPTQ of w + v, then descent in the error of w.

        With the v of clamped inputs the others make up for what the range takes off them before any is decided.
        """
        index = rounded_in_order(self.w + v, self.layer.slopes, self.levels)
        return Points(index, descend(self.layer.hessian, self.w, index, self.levels))

    def better(self, points: Points, v: FloatArray) -> Points:
        """The points, with those of w + v in rows where they are better."""
        return points.where(self.rounded(v)) if v.any() else points

    def x_of(self, r: int, index: np.ndarray) -> FloatArray:
        """(n,) a point of row r, in the order of its inputs."""
        of = Levels(
            self.levels.values[r : r + 1] if len(self.levels.values) > 1 else self.levels.values, *self.levels[1:]
        )
        x = np.empty(len(index))
        x[self.layer.order] = values_at(index[None], of)[0]
        return x

    def _index_of(self, r: int, x: FloatArray) -> np.ndarray:
        own = self.levels.values[r if len(self.levels.values) > 1 else 0][self.levels.group]
        return np.abs(own - x[self.layer.order][:, None]).argmin(axis=1).astype(np.int16)

    def moved(self, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(rows, n) g = (Mv) and the shift D^-1 g of every block's target."""
        g = v @ self.layer.hessian
        shift = np.empty_like(g)
        for at, part, inverse in zip(self.layer.slices, self.layer.parts, self._inverses, strict=True):
            g[:, at] -= v[:, at] @ part
            once = g[:, at] @ inverse
            shift[:, at] = once + (g[:, at] - once @ part) @ inverse  # one step of refinement
        return g, shift

    def terms(self, v: FloatArray, g: FloatArray, shift: FloatArray) -> FloatArray:
        """(rows,) the terms of f(v), those that a shift which is not exact adds included, as if none cancelled."""
        size, far = np.empty_like(shift), np.abs(shift)
        for at, part in zip(self.layer.slices, self.layer.parts, strict=True):
            size[:, at] = far[:, at] @ np.abs(part)
        terms = np.abs(v) * np.abs(g) + size * (far + 2 * self.reach)
        return np.asarray(terms.sum(axis=1))

    def evaluate(self, v: FloatArray, index: np.ndarray, shrink: float, budget: int) -> Values:
        """f(v): certified, whether searches end or not."""
        g, shift = self.moved(v)
        own, moved = np.einsum("ij,ij->i", v, g), np.einsum("ij,ij->i", g, shift)
        index, low = index.copy(), np.zeros((len(v), len(self.layer.parts)))
        nodes, done = np.zeros(len(v), np.int64), np.zeros(low.shape, np.bool_)
        self.search(self.w - shift, index, self.levels, self.layer.searches, shrink, budget, low, nodes, done)
        bound = low.sum(axis=1) - own - moved - ROUNDING * self.terms(v, g, shift)
        return Values(v, bound, low, index, int(nodes.sum()))

    def start(self, v: FloatArray, index: np.ndarray) -> Ascent:
        """Where every row has v."""
        best = self.evaluate(v, index, ROUGH, NODES)
        return Ascent(best, values_at(best.index, self.levels) - self.w, np.full(len(v), FIRST))

    def climb(self, ascent: Ascent, steps: int, enough: Callable[[FloatArray], bool]) -> Ascent:
        """Every row some steps further, each of a length of its own."""
        best, mean, step = ascent.best, ascent.mean, ascent.step
        for _ in range(steps):
            if enough(best.bound):
                break
            trial = best.v + step[:, None] * self.newton(mean - best.v)
            found = self.evaluate(trial, best.index, ROUGH, NODES)
            better = found.bound > best.bound
            best = best.where(better, found)
            step = np.where(better, np.minimum(GROW * step, 1.0), FALL * step)
            memory = np.where(better, MEMORY, (1 + MEMORY) / 2)[:, None]
            mean = memory * mean + (1 - memory) * (values_at(found.index, self.levels) - self.w)
        return Ascent(best, mean, step)

    def newton(self, difference: FloatArray) -> FloatArray:
        """(rows, n) Newton's step in v where the blocks' best u are by so much apart from v."""
        size = np.abs(difference).max(axis=1, keepdims=True)  # weights of 1e-160 have no place in 32 bits
        size[size == 0] = 1.0
        return (
            np.asarray((difference / size).astype(self.layer.direction.dtype) @ self.layer.direction, np.float64)
            * size
        )

    def searches(self, r: int, target: FloatArray, low: FloatArray) -> tuple[Enumeration, ...]:
        """What the searches of a row's blocks have proven, a little less so that a repetition ends as they did.

        It is what rounding may change, and no more: where inputs are far outside of their box the values are 1e5
        times what they leave of the row's bound.
        """
        parts = self.layer.searches
        position, diagonal = np.zeros(parts.order.shape, np.int64), np.zeros(parts.diagonal.shape)
        of = r if len(self.levels.values) > 1 else 0
        own = orders_of_row(target, of, self.levels, parts, position, diagonal)
        proofs = []
        for b, (order, value) in enumerate(zip(self.layer.orders, low, strict=True)):
            if own[b]:
                m = int(parts.size[b])
                below = shortened(diagonal[b, : m + 1, :m], np.floor)
                order = Order(position[b, :m] - parts.start[b], below)
            proofs.append(Enumeration(order, max(float(value) * (1 - 1e-12), 1e-300)))
        return tuple(proofs)

    def clamped(self) -> FloatArray:
        """(rows, n) the v of the inputs that each row's range clamps."""
        rows = zip(self.w, self.low_end, self.high_end, strict=True)
        return np.array([clamped(self.layer.inverse, *row) for row in rows])


def _levels(problems: Sequence[Problem], layer: LongLayer) -> Levels:
    """The grids of the rows; one of them where all rows share it."""
    grids = [problem.grid for problem in problems]
    first = grids[0]
    assert first is not None
    if all(grid is first for grid in grids):
        grids = [first]
    values = np.array([grid.levels for grid in grids if grid is not None])
    per_step = np.zeros(values.shape[:2])
    if values.shape[2] > 1:
        steps, span = np.diff(values, axis=2), values[..., -1] - values[..., 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            even = (np.ptp(steps, axis=2) <= EVEN * span) & (span > 0)
            per_step = np.where(even, (values.shape[2] - 1) / span, 0.0)
    return Levels(np.ascontiguousarray(values), per_step, np.ascontiguousarray(first.group[layer.order]))


def bound_rows(
    problems: Sequence[Problem],
    layer: LongLayer,
    options: Options,
    starts: Sequence[FloatArray | None],
    clock: Clock,
    search: Searches = block_minima,
) -> list[Outcome]:
    """Lower and upper ends of quantized rows that share a Gram matrix, with proofs.

    Parameters
    ----------
    problems : rows without dead inputs, on grids of the same shape.
    starts : a feasible point of each row, or None.
    clock : looked at between steps of the whole chunk.
    search : of all rows and blocks.
    """
    chunk = Chunk(problems, layer, search)
    v = chunk.clamped()
    points = chunk.points(starts, v)
    index, upper = points.index, points.errors

    def enough(bound: FloatArray) -> bool:
        return clock.ended() is not None or bool((bound >= upper * (1 - options.gap)).all())

    ascent = chunk.climb(chunk.start(np.zeros_like(chunk.w), index), TRIED, enough)
    plain = np.einsum("ij,ij->i", v @ layer.hessian, v)
    if v.any() and clock.ended() is None:
        other = chunk.climb(chunk.start(v, index), TRIED, enough)
        ascent = ascent.where(other.best.bound > ascent.best.bound, other)
    best = chunk.climb(ascent, STEPS, enough).best
    if clock.ended() is None:
        fine = chunk.evaluate(shortened(best.v), index, FINE, FINE_NODES)
        best = best.where(fine.bound > best.bound, fine)
        index = chunk.better(points, best.v).index
    x = [chunk.x_of(r, index[r]) for r in range(len(problems))]
    nothing, target = Below(np.zeros(len(layer.order))), chunk.w - chunk.moved(best.v)[1]
    outcomes = []
    for r in range(len(problems)):
        at = np.empty(len(layer.order))
        if plain[r] > best.bound[r]:
            at[layer.order] = v[r]
            lower, proof = float(plain[r]), Split(nothing, at)
        else:
            at[layer.order] = best.v[r]
            lower, proof = float(best.bound[r]), Split(layer.below, at, chunk.searches(r, target[r], best.low[r]))
        reason = clock.ended() or Reason.FINISHED
        outcomes.append(Outcome(x[r], max(0.0, lower), reason, best.nodes // len(problems), proof=proof))
    return outcomes
