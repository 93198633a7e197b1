"""Exact search over grid points: a quick depth-first search, then best-first nodes searched one by one."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from pvq.bounds.cholesky import cholesky_margin
from pvq.bounds.gram import BoolArray, FloatArray
from pvq.bounds.problem import Problem

from ..base import Clock, Options, fallback_point
from ..empirical.local_search import polish_grid, values_of
from ..result import Outcome, Status
from .plan import Plan, layer_plan, make_plan
from .search import bound_ahead, children, enter, search, use

CHUNK = 200_000  # nodes between two looks at the clock: a few milliseconds
QUICK = 2_000_000  # nodes of the plain search before nodes are ranked: rows that need fewer never pay for it
OPEN = 4_000  # ranked nodes: enough to raise the bound and to search the most promising first
EVEN = 1e-12  # a level may be this share of a step off its even place: rounding of scale * integer


def prepare_grid(problem: Problem) -> None:
    """Compile, and do the work that all rows of the Gram matrix share."""
    layer_plan(problem)
    problem.gram.memo(("enumeration compiled", problem.sparsity is None), lambda: _compile(problem))


def _compile(problem: Problem) -> bool:
    solve_grid(problem, Options(time_limit=None, node_limit=1), None)
    return True


def solve_grid(problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
    """Minimise e over a grid, a grid with a budget of non-zeros, or fixed weights with such a budget.

    Depth-first Schnorr-Euchner enumeration (Schnorr and Euchner 1994) on the Cholesky factor, pruned with
    error so far + sum_i d_i dist(s_i, grid_i)^2, where s are the conditional centres of the undecided inputs and
    H_m - diag(d) is positive semidefinite. If it is not done quickly, inputs whose weight is off the grid move to
    the front, open nodes are ranked best-first and searched in that order: the least bound of those left is a
    lower bound at any time.

    Nodes are cut at (1 - gap / 2) upper, and the result is lowered by `eta`, the rounding slack; see `slack`.
    """
    clock = Clock(options)
    points = [fallback_point(problem)] + ([start] if start is not None and problem.is_feasible(start) else [])
    x = min((polish_grid(problem, point) for point in points), key=problem.error)
    tree = Tree(problem, layer_plan(problem), x, options.gap)
    status = tree.quick(clock, min(QUICK, options.node_limit or QUICK))
    if status is Status.NODE_LIMIT and (options.node_limit is None or tree.nodes < options.node_limit):
        outside = _outside(problem)
        if outside.any():
            tree = Tree(problem, make_plan(problem.hessian, outside), tree.x, options.gap, tree.nodes)
            status = tree.quick(clock, QUICK)
        if status is Status.NODE_LIMIT:
            status = tree.ranked(clock, options.node_limit)
    eta = tree.slack()
    return Outcome(tree.x, max(0.0, tree.lower - eta), status, tree.nodes, {"eta": eta})


def _outside(problem: Problem) -> BoolArray:
    """Inputs whose weight lies outside the range of its values by more than half the nearest step."""
    values, count, group = values_of(problem)
    least, most = values[group, 0], values[group, count[group] - 1]
    reach = (most - least) / np.maximum(count[group] - 1, 1) / 2
    w = problem.weight
    return np.asarray((w < least - reach) | (w > most + reach))


@dataclass(frozen=True, eq=False)
class _Grid:
    """Values at each position, in the form the kernels take."""

    arrays: tuple[Any, ...]
    least: FloatArray
    most: FloatArray

    @classmethod
    def of(cls, problem: Problem, plan: Plan) -> _Grid:
        values, count, group = values_of(problem)
        group = np.ascontiguousarray(group[plan.order])
        low, most = values[group, 0], values[group, count[group] - 1]
        step = (most - low) / np.maximum(count[group] - 1, 1)
        place = (
            values[:, :1]
            + np.arange(values.shape[1])
            * ((values[range(len(count)), count - 1] - values[:, 0]) / np.maximum(count - 1, 1))[:, None]
        )
        counted = np.arange(values.shape[1]) < count[:, None]
        scale = np.abs(values).max() + 1e-300
        uniform = bool((np.abs(place - values)[counted] <= EVEN * scale).all())
        per_step = np.where(step > 0, 1 / np.where(step > 0, step, 1), 0.0)
        top = (count[group] - 1).astype(np.float64)
        arrays = (values, count, group, uniform, low, step, per_step, top)
        return cls(arrays, low, most)


class Tree:
    """The search of one row in the order of one plan."""

    def __init__(self, problem: Problem, plan: Plan, x: FloatArray, gap: float, nodes: int = 0) -> None:
        n = problem.n
        self.problem, self.plan, self.shrink = problem, plan, 1 - gap / 2
        self.weight = np.ascontiguousarray(problem.weight[plan.order])
        self.grid = _Grid.of(problem, plan)
        self.plan_arrays = (plan.pivot, plan.slope, plan.diagonal)
        self.pattern, self.saving = _pattern(problem, plan)
        self.start_error = problem.error(x)
        self.start = x
        self.lower = 0.0
        self.found = np.full(n, -1, np.int64)
        self.bounds = np.array([self.start_error, self.shrink * self.start_error])
        self.where = np.array([n, n, nodes, 0])
        self.centres, self.partial = np.zeros((n + 1, n)), np.zeros(n + 1)
        self.left, self.right = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
        self.index = np.zeros(n, np.int64)
        self._stand(n, self.weight, 0.0, self.index)

    @property
    def nodes(self) -> int:
        """Nodes visited."""
        return int(self.where[2])

    @property
    def x(self) -> FloatArray:
        """(n,) best point."""
        if self.found[0] < 0:
            return self.start
        values, _, group = self.grid.arrays[:3]
        x = np.empty(self.problem.n)
        x[self.plan.order] = values[group, self.found]
        return x if self.problem.error(x) < self.start_error else self.start

    def _stand(self, m: int, centres: FloatArray, partial: float, index: FloatArray) -> None:
        """Stand at a node with m undecided positions."""
        self.where[0] = self.where[1] = m
        self.where[3] = 0
        self.centres[m, :m] = centres[:m]
        self.partial[m] = partial
        self.index[m:] = index[m:]
        use(m, self.index, self.grid.arrays, self.pattern)
        enter(m, self.centres[m, m - 1], self.grid.arrays, self.left, self.right)

    def _search(self, clock: Clock, nodes: int | None) -> Status:
        """Search below where we stand: OPTIMAL when done, else why not."""
        end = None if nodes is None else self.nodes + nodes
        while True:
            chunk = CHUNK if end is None else min(CHUNK, end - self.nodes)
            if chunk <= 0:
                return Status.NODE_LIMIT
            search(chunk, self.where, self.bounds, self.centres, self.partial, self.left, self.right, self.index,
                   self.found, self.plan_arrays, self.grid.arrays, self.pattern, self.saving, self.shrink)  # fmt: skip
            if self.where[3]:
                return Status.OPTIMAL
            ended = clock.ended()
            if ended is not None:
                return ended

    def quick(self, clock: Clock, nodes: int) -> Status:
        """Search everything with a limit on nodes."""
        n = self.problem.n
        self._stand(n, self.weight, 0.0, self.index)
        root = bound_ahead(n, self.weight, self.plan.diagonal, self.grid.arrays, self.pattern, self.saving)
        self.lower = min(root, self.bounds[1])
        status = self._search(clock, nodes)
        if status is Status.OPTIMAL:
            self.lower = self.bounds[1]
        return status

    def ranked(self, clock: Clock, node_limit: int | None) -> Status:
        """Rank open nodes best-first, then search below each in turn; `lower` holds whenever this stops."""
        n = self.problem.n
        ticket = itertools.count()
        heap = [(self.lower, next(ticket), n, 0.0, self.weight, self.index.copy())]
        finished: list[Any] = []  # nodes with one position left: their children are leaves
        while heap and len(heap) < OPEN and clock.ended() is None:
            bound, _, m, partial, centres, index = heapq.heappop(heap)
            if m == 1:
                finished.append((bound, next(ticket), m, partial, centres, index))
                continue
            found = children(m, centres, partial, bound, self.bounds[1], index, self.plan_arrays, self.grid.arrays,
                             self.pattern, self.saving)  # fmt: skip
            for child_bound, cost, pick, child in zip(*found, strict=True):
                below = index.copy()
                below[m - 1] = pick
                heapq.heappush(heap, (float(child_bound), next(ticket), m - 1, float(cost), child, below))
            self.where[2] += len(found[0])
        todo = sorted(heap + finished)
        for bound, _, m, partial, centres, index in todo:
            self.lower = min(bound, self.bounds[1])
            if bound >= self.bounds[1]:
                break
            self._stand(m, centres, partial, index)
            status = self._search(clock, None if node_limit is None else max(0, node_limit - self.nodes))
            if status is not Status.OPTIMAL:
                return status
        self.lower = self.bounds[1]
        return Status.OPTIMAL

    def slack(self) -> float:
        """How much float64 may have raised the bound of a cut node, in units of error.

        Three parts, with u_i = w_i - x_i, |u_i| <= min(sqrt(U (H^-1)_ii), box) for every x of error at most U:
        the factor is that of H + E with |E_ij| <= (n + 2) eps sqrt(H_ii H_jj) (Higham, Accuracy and Stability,
        theorem 10.3), which changes e by at most (n + 2) eps (sum_i sqrt(H_ii) |u_i|)^2; the diagonal proves
        H_m - D only up to 4 margin diag(H) (`largest_diagonal`); and centres carry errors delta that grow with the
        recursion s <- s + slope (s_m - x_m), so that sum pivot ((s - x)^2) is off by at most
        2 sqrt(U sum pivot delta^2) + sum pivot delta^2.
        """
        plan, n, eps = self.plan, self.problem.n, float(np.finfo(np.float64).eps)
        upper = float(self.bounds[0])
        size = np.diag(plan.hessian)
        box = np.maximum(np.abs(self.weight - self.grid.least), np.abs(self.weight - self.grid.most))
        u = np.minimum(np.sqrt(upper * plan.inverse_diagonal), box)
        factor = (n + 2) * eps * float((np.sqrt(size) * u).sum()) ** 2
        margin = 4 * cholesky_margin(n) * float((size * u**2).sum())
        delta, centre, summed = np.zeros(n), np.abs(self.weight), 0.0
        for i in range(n - 1, -1, -1):
            summed += plan.pivot[i] * delta[i] ** 2
            reach = min(
                np.sqrt(upper / plan.pivot[i]), centre[i] + max(abs(self.grid.least[i]), abs(self.grid.most[i]))
            )
            slope = np.abs(plan.slope[i, :i])
            centre[:i] += slope * reach
            delta[:i] += slope * delta[i] + eps * (centre[:i] + 3 * slope * reach)
        return factor + margin + 2 * float(np.sqrt(upper * summed)) + float(summed) + 4 * n * eps * upper


def _pattern(problem: Problem, plan: Plan) -> tuple[tuple[Any, ...], FloatArray]:
    """Budgets in the form the kernels take; empty ones without a pattern."""
    none = np.zeros(0, np.int64)
    sparsity = problem.sparsity
    if sparsity is None:
        return (none, none, none, none, none, none, none), np.zeros(0)
    unit = np.ascontiguousarray(sparsity.unit[plan.order])
    by_group = np.argsort(sparsity.group, kind="stable").astype(np.int64)
    start = np.searchsorted(sparsity.group[by_group], np.arange(len(sparsity.keep) + 1)).astype(np.int64)
    used = np.zeros(sparsity.units, np.int64), np.zeros(len(sparsity.keep), np.int64)
    return (unit, sparsity.group, *used, sparsity.keep, by_group, start), np.zeros(sparsity.units)
