"""The scale of a grid as a variable: the least error of a row over all grid points and an interval of scales.

With x = s c, c on the unscaled grid, u = 1 / s and q(u) = min_c (u w - c)' H (u w - c), the error of the best
point at scale s is q(u) / u^2. Around u0, with u = u0 + delta, any k > 0 and any l,

    q(u0 + delta) + k delta^2 - l delta >= M = min over c and all real delta of
        (u0 w + delta w - c)' H (u0 w + delta w - c) + k delta^2 - l delta
      = min_c (u1 w - c)' G (u1 w - c) - l^2 / (4 k),      G = H - Hw w'H / (w'Hw + k),   u1 = u0 + l / (2 k),

which is a grid problem with a positive semidefinite matrix, solved exactly. For |delta| <= d the error is then at
least (M + l delta - k delta^2) / (u0 + delta)^2, and whether that exceeds some T is a concave condition in delta,
so its least value lies at delta = d or -d. With l = 2 U u0, U the error to beat, linear terms cancel, and the
bound of an interval of relative half-width p loses about (1 + k / U) p^2 / (1 + U / k) of U: it holds between the
points, and a few intervals do what sampling never does.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity

from .base import Clock, Options, fallback_point
from .bnb.enumeration import prepare_grid, solve_grid
from .bnb.plan import layer_plan
from .empirical.local_search import polish_grid
from .limits import heard

TINY = 5
"""Inputs of the row that compiles."""

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Found:
    """The best known point of one row at one scale, and a bound."""

    least: float
    """Lower bound of M."""
    x: FloatArray
    """(n,) c of the best point of the relaxed problem."""
    nodes: int


class FreeRow:
    """One row on the grid s * (its levels), s any positive number."""

    def __init__(self, problem: Problem, scale: float) -> None:
        """`problem` states the row at some scale; its levels divided by `scale` are the unscaled grid."""
        self.presolved = presolve(problem)
        reduced = self.presolved.problem
        self.dead = reduced is None
        """Whether every input is dead: then the error is 0 at any scale."""
        self.searched = not self.dead and problem.reference > 0.0
        """False too for a row whose output is 0: a scale has nothing to fit, and 0 bounds its error."""
        self.reference = problem.reference
        if reduced is None or not self.reference > 0.0:
            return
        self.unit = dataclasses.replace(
            reduced, grid=Grid(reduced.levels.levels / scale, reduced.levels.group), weight=reduced.weight
        )
        self.share = 0.0
        """Its error at the best scale known."""
        self.k = 0.0
        """Of the last relaxation."""
        self.pull = reduced.hessian @ reduced.weight
        self.reference = float(reduced.weight @ self.pull)

    def at(self, scale: float) -> Problem:
        """The row in units of the scale: its error times scale^2 is that of x = scale * c."""
        return dataclasses.replace(self.unit, weight=self.unit.weight / scale)

    def heuristic(self, scale: float) -> FloatArray:
        """(n,) a good c at a scale."""
        problem = self.at(scale)
        return polish_grid(problem, fallback_point(problem))

    def line(self, c: FloatArray) -> tuple[float, float]:
        """(w'Hc, c'Hc): the error of s c is r - 2 s w'Hc + s^2 c'Hc."""
        return float(self.pull @ c), self.unit.gram.error(c)

    def error(self, scale: float, c: FloatArray) -> float:
        """The error of scale * c."""
        return self.unit.gram.error(self.unit.weight - scale * c)

    def stiffen(self, k: float) -> None:
        """Make G for another k; it is kept for the intervals that share it."""
        if k == self.k:
            return
        self.k = k
        h = self.unit.hessian
        g = h - np.outer(self.pull, self.pull) / (self.reference + k)
        g = (g + g.T) / 2
        # three roundings of each entry, and those of Hw and w'Hw
        n = len(g)
        size = np.abs(h) + (2 * n + 4) * np.outer(np.abs(h) @ np.abs(self.unit.weight), np.abs(self.pull)) / (
            self.reference + k
        )
        self._size = 4 * EPS * (size + size.T)
        self.gram = Gram(g, rank=n)
        self.grid = self.unit.grid

    def slope(self, centre: float, c: FloatArray) -> float:
        """Derivative of (u w - c)' H (u w - c) at u = centre."""
        return 2 * (centre * self.reference - float(self.pull @ c))

    def least(
        self, centre: float, slope: float, k: float, options: Options, start: FloatArray | None = None
    ) -> Found:
        """A lower bound of M at u0 = centre with l = slope."""
        self.stiffen(k)
        assert self.grid is not None
        target = self.unit.weight * (centre + slope / (2 * self.k))
        problem = Problem(target, self.gram, self.grid, self.unit.sparsity)
        clock = Clock(options)
        with heard(clock):
            layer_plan(problem)
        outcome = solve_grid(problem, dataclasses.replace(options, time_limit=clock.limit(1e-3)), start)
        assert outcome.x is not None
        reach = np.abs(target) + np.abs(self.grid.levels).max(axis=1)[self.grid.group]
        rounding = float(reach @ self._size @ reach)
        constant = slope * slope / (4 * self.k)
        least = outcome.lower - rounding - constant - 4 * EPS * (constant + outcome.lower)
        return Found(least, outcome.x, outcome.nodes)


@cache
def compile_search(pattern: bool) -> None:
    """Compile what `FreeRow.least` calls, before a clock starts."""
    grid = Grid(np.array([[-0.7, 0.0, 0.7]]), np.zeros(TINY, np.int64))
    sparsity = Sparsity.row(TINY, 2, True) if pattern else None
    prepare_grid(Problem(np.arange(1.0, 1 + TINY), Gram.from_array(np.eye(TINY) + 0.5), grid, sparsity))


def interval_bound(least: float, slope: float, k: float, centre: float, half: float) -> float:
    """Lower bound of the error for u in centre +- half, from the sums of M, l and k over the rows."""
    ends = []
    for delta in (-half, half):
        value = least + slope * delta - k * delta * delta
        value -= 8 * EPS * (abs(least) + abs(slope * delta) + k * delta * delta)
        ends.append(value / (centre + delta) ** 2 * (1 - 8 * EPS))
    return max(0.0, min(ends))


def best_scale(rows: list[FreeRow], cs: list[FloatArray], low: float, high: float) -> tuple[float, float]:
    """The scale in [low, high] with the least total error of s c, and that error."""
    lines = [row.line(c) for row, c in zip(rows, cs, strict=True)]
    along, square = sum(line[0] for line in lines), sum(line[1] for line in lines)
    scale = min(max(along / square, low), high) if square > 0 and math.isfinite(along / square) else low
    return scale, sum(row.error(scale, c) for row, c in zip(rows, cs, strict=True))
