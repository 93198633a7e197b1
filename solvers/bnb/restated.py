"""One row in the form that enumeration takes: in the order of a plan, and in steps where the grid is even."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem

from ..empirical.local_search import values_of
from ..kernels.apart import entry
from .plan import Plan
from .uneven import FEW
from .vectors import aligned, padded

EPS = float(np.finfo(np.float64).eps)
NEAR = 1e-3  # how much larger deviations may be for the rounding that they cause
SHARP, LONG = 1e-8, 256  # of the upper end, and inputs: a residual above that is computed in longer numbers
EVEN = 1e-14  # values may be this share of the largest off their even place: rounding of scale * integer


@dataclass(frozen=True, eq=False)
class Restated:
    """A row for the kernels. If `top` > 0, every position takes the values 0, 1, ..., top in units of `step`."""

    problem: Problem
    plan: Plan
    top: float
    weight: FloatArray
    """(n,) the row."""
    origin: FloatArray
    """(n,) what value 0 stands for, in units of weights."""
    step: FloatArray
    """(n,) what one unit stands for."""
    deviation: float
    """Largest distance between a value and what the restated row takes it for, in units of weights."""
    values: FloatArray
    """(groups, L) sorted, in units."""
    group: IntArray
    """(n,) row of `values` at each position."""
    factors: tuple[FloatArray, FloatArray, FloatArray]
    """pivot, slope and diagonal in units, padded to whole vectors."""
    grid: tuple[Any, ...]
    """See `search_uneven`."""
    pattern: tuple[Any, ...]
    """See `search_uneven`; holds counters, so every walk takes its own by `own_pattern`."""

    @property
    def width(self) -> int:
        """Length of a padded row."""
        return self.factors[1].shape[1]

    def own_pattern(self) -> tuple[Any, ...]:
        """The pattern with counters of its own."""
        return (*self.pattern[:2], self.pattern[2].copy(), self.pattern[3].copy(), *self.pattern[4:])

    def spare(self) -> tuple[FloatArray, FloatArray]:
        """Working space of the kernels."""
        return np.empty(self.width), np.empty(len(self.pattern[2]))

    def point(self, picks: IntArray) -> FloatArray:
        """(n,) x in the order of the inputs, from the value at each position."""
        values, _, group = values_of(self.problem)
        x = np.empty(self.problem.n)
        x[self.plan.order] = values[group[self.plan.order], picks]
        return x

    def slack(self, upper: float) -> float:
        """How much float64 may have raised the bound of a cut node, in units of error.

        Let delta_i = s_i - x_i be the deviations at which x is decided, with the centres s as they are stored,
        and U the upper end; only x with e(x) < U matter. Then w - x = V delta + omega: centres are rounded when
        they are restated and at each move, which leaves omega_j below (n + 6) eps times the sizes that are added
        up in s_j, so that omega has the length rho <= sum_j sqrt(h_jj) |omega_j| in the norm of H. In that norm V
        delta differs from sum_i p_i delta_i^2 by at most |delta|' residual |delta|, and what is ahead of a node
        is a bound of the undecided part of V delta up to rho: e(x) falls short of what the search adds up by at
        most the residual and 4 rho (sqrt(U) + rho). If the residual is below half of diag(p) (in the norm scaled
        by p), |V delta|^2 >= sum p_i delta_i^2 / 2, so |delta_i| <= sqrt(2 / p_i) (sqrt(U) + rho); without that,
        |delta| <= |V^-1| (|w - x| + |omega|), x in the box. An evenly restated grid moves sqrt(e) by at most
        sum_j sqrt(h_jj) deviation. Sums of at most 2 n non-negative terms are off by 4 n eps of themselves. The
        diagonals are proven below H (`level_diagonals`).
        """
        plan, n = self.plan, self.problem.n
        root, size = float(np.sqrt(upper)), np.sqrt(np.diag(plan.hessian))
        widest = np.abs(self.weight) + np.abs(self.values).max(axis=1)[self.group]
        # a weight of 0 that must be 0 has a box of no size, and rounding all the same
        widest = np.maximum(widest, NEAR * float((widest * self.step).max()) / self.step)
        box = plan.unit @ (widest * self.step) * (1 + NEAR)
        delta = box
        for room in (NEAR, 1.0) if plan.accurate else ():
            delta = np.minimum(box, np.sqrt(2 / plan.pivot) * root * (1 + room))
            if self._carried(delta, size)[1] <= room * root:
                break
            delta = box
        omega, rho = self._carried(delta, size)
        if not (omega <= NEAR * widest).all():
            return np.inf
        factor = float(delta @ plan.residual @ delta)
        if factor > SHARP * upper and n <= LONG:
            factor = min(factor, float(delta @ plan.sharp_residual @ delta))
        moved = self.deviation * float(size.sum())
        rounding = 4 * rho * (root + rho) + 4 * n * EPS * upper
        return factor + rounding + 2 * moved * root + moved**2

    def _carried(self, delta: FloatArray, size: FloatArray) -> tuple[FloatArray, float]:
        """omega in steps and rho of `slack`; size : (n,) sqrt(h_jj)."""
        n = len(delta)
        moves = np.abs(self.factors[1][:, :n]).T @ (delta / self.step)
        omega = (n + 6) * EPS * (np.abs(self.weight) + moves)
        if self.top > 0:  # restating takes four operations more
            omega += 4 * EPS * (np.abs(self.weight) + np.abs(self.origin) / self.step)
        return omega, float(size @ (omega * self.step)) * (1 + NEAR)


@entry()
def carry(
    pivot: FloatArray,
    slope: FloatArray,
    step: FloatArray,
    delta: FloatArray,
    centre: FloatArray,
    carried: FloatArray,
) -> float:
    """sum_i p_i r_i^2 with the rounding r that decisions of size delta carry from centre to centre."""
    summed = 0.0
    for i in range(len(pivot) - 1, -1, -1):
        summed += pivot[i] * (step[i] * carried[i]) ** 2
        for j in range(i):
            along = abs(slope[i, j])
            jump = along * (delta[i] / step[i] + carried[i])
            centre[j] += jump
            carried[j] += along * carried[i] + EPS * (centre[j] + 4 * jump)
    return summed


def restate(problem: Problem, plan: Plan, even: bool = True) -> Restated:
    """The row in the order of a plan; in steps if its grid is even and `even` allows it."""
    values, count, group = values_of(problem)
    group = np.ascontiguousarray(group[plan.order])
    n, size = problem.n, values.shape[1]
    origin, step, deviation, top = np.zeros(n), np.ones(n), 0.0, 0.0
    gaps = (values[:, -1:] - values[:, :1]) / max(size - 1, 1)
    off = np.abs(values[:, :1] + np.arange(size) * gaps - values)
    largest = np.abs(values).max()
    full = problem.sparsity is None and bool((count == size).all())
    if even and full and (off <= EVEN * largest).all():
        origin, step, top = values[group, 0], gaps[group, 0], size - 1.0
        deviation = float(off.max()) + 2 * EPS * float(largest)
        values, count, group = np.arange(float(size))[None, :], count[:1], np.zeros(n, np.int64)
    width = padded(n)
    slope, diagonal = aligned(n, width), aligned(n + 1, width)
    slope[:, :n] = plan.slope * (step[:, None] / step[None, :])
    diagonal[:, :n] = plan.diagonal * step**2
    by_value = np.zeros((0, n))
    if values.shape[1] <= FEW:
        last = np.arange(values.shape[1])[:, None]
        by_value = np.ascontiguousarray(values[group[None, :], np.minimum(last, count[group] - 1)])
    return Restated(
        problem,
        plan,
        top,
        (problem.weight[plan.order] - origin) / step,
        origin,
        step,
        deviation,
        values,
        group,
        (plan.pivot * step**2, slope, diagonal),
        (values, count, group, by_value),
        _pattern(problem, plan),
    )


def _pattern(problem: Problem, plan: Plan) -> tuple[Any, ...]:
    """Budgets in the form the kernels take; empty ones without a pattern."""
    none = np.zeros(0, np.int64)
    sparsity = problem.sparsity
    if sparsity is None:
        return none, none, none, none, none, none, none
    unit = np.ascontiguousarray(sparsity.unit[plan.order])
    by_group = np.argsort(sparsity.group, kind="stable").astype(np.int64)
    start = np.searchsorted(sparsity.group[by_group], np.arange(len(sparsity.keep) + 1)).astype(np.int64)
    used = np.zeros(sparsity.units, np.int64), np.zeros(len(sparsity.keep), np.int64)
    return unit, sparsity.group, *used, sparsity.keep, by_group, start
