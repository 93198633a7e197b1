"""Exact search over grid points: a quick depth-first search, then best-first nodes searched one by one."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration
from pvq.bounds.verify_enumeration import node_limit

from ..base import Clock, Options, fallback_point
from ..empirical.local_search import polish_grid, values_of
from ..result import Outcome, Status
from .plan import Plan, layer_plan, make_plan
from .search import children, enter, move, search, search_even, use

CHUNK = 200_000  # nodes between two looks at the clock: a few milliseconds
QUICK = 2_000_000  # nodes of the plain search before nodes are ranked: rows that need fewer never pay for it
OPEN = 4_000  # ranked nodes: enough to raise the bound and to search the most promising first
EVEN = 1e-14  # values may be this share of the largest off their even place: rounding of scale * integer


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
    outside = _outside(problem)
    limit = QUICK // 10 if outside.any() else QUICK
    tree = _tree(problem, layer_plan(problem), x, options.gap)
    status = tree.quick(clock, min(limit, options.node_limit or limit))
    if status is Status.NODE_LIMIT and (options.node_limit is None or tree.nodes < options.node_limit):
        if outside.any():
            tree = _tree(problem, make_plan(problem.hessian, outside), tree.x, options.gap, tree.nodes)
            status = tree.quick(clock, min(QUICK, (options.node_limit or np.inf) - tree.nodes))
        if status is Status.NODE_LIMIT:
            status = tree.ranked(clock, options.node_limit)
    eta = tree.slack()
    proof = None
    if tree.nodes < node_limit(problem):  # else a verifier would give up, and the bound is numerical
        proof = Enumeration(tree.plan.for_proofs, tree.lower)
    return Outcome(tree.x, max(0.0, tree.lower - eta), status, tree.nodes, {"eta": eta}, proof)


def _tree(problem: Problem, plan: Plan, x: FloatArray, gap: float, nodes: int = 0) -> Tree:
    """The search on the restated grid, unless its rounding would spoil the claim (rows of next to no weight)."""
    tree = Tree(problem, plan, x, gap, nodes)
    if tree.slack() <= gap / 4 * tree.start_error:
        return tree
    return Tree(problem, plan, x, gap, nodes, even=False)


def _outside(problem: Problem) -> BoolArray:
    """Inputs whose weight lies outside the range of its values by more than half the nearest step."""
    values, count, group = values_of(problem)
    least, most = values[group, 0], values[group, count[group] - 1]
    reach = (most - least) / np.maximum(count[group] - 1, 1) / 2
    w = problem.weight
    return np.asarray((w < least - reach) | (w > most + reach))


@dataclass(frozen=True, eq=False)
class _Grid:
    """Values at each position; evenly spaced ones become 0, 1, ..., top, and the row is restated in steps."""

    values: FloatArray
    """(groups, L) sorted."""
    count: IntArray
    group: IntArray
    """(n,) row of `values` at each position."""
    top: float
    """Largest value where all positions have the values 0, 1, ..., top; else 0."""
    origin: FloatArray
    """(n,) what value 0 stands for, in units of weights."""
    step: FloatArray
    """(n,) what one unit stands for."""
    deviation: float
    """Largest distance between a value and what the restated row takes it for, in units of weights."""

    @classmethod
    def of(cls, problem: Problem, plan: Plan, even: bool) -> _Grid:
        values, count, group = values_of(problem)
        group = np.ascontiguousarray(group[plan.order])
        n, size = problem.n, values.shape[1]
        last = values[:, -1:]
        step = (last - values[:, :1]) / max(size - 1, 1)
        off = np.abs(values[:, :1] + np.arange(size) * step - values)
        if (
            even
            and problem.sparsity is None
            and (count == size).all()
            and (off <= EVEN * np.abs(values).max()).all()
        ):
            steps = np.arange(float(size))[None, :]
            deviation = float(off.max()) + 2 * float(np.finfo(np.float64).eps * np.abs(values).max())
            first = np.zeros(n, np.int64)
            return cls(steps, count[:1], first, size - 1.0, values[group, 0], step[group, 0], deviation)
        return cls(values, count, group, 0.0, np.zeros(n), np.ones(n), 0.0)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """In the form the kernels take."""
        return self.values, self.count, self.group, self.top

    @property
    def farthest(self) -> FloatArray:
        """(n,) largest absolute value at each position, in its units."""
        return np.abs(self.values).max(axis=1)[self.group]


class Tree:
    """The search of one row in the order of one plan."""

    def __init__(
        self, problem: Problem, plan: Plan, x: FloatArray, gap: float, nodes: int = 0, even: bool = True
    ) -> None:
        n = problem.n
        self.problem, self.plan, self.shrink = problem, plan, 1 - gap / 2
        self.grid = grid = _Grid.of(problem, plan, even)
        self.weight = (problem.weight[plan.order] - grid.origin) / grid.step
        pivot, diagonal = plan.pivot * grid.step**2, plan.diagonal * grid.step**2
        self.slope = plan.slope * (grid.step[:, None] / grid.step[None, :])
        self.pattern, saving = _pattern(problem, plan)
        self._problem = ((pivot, self.slope, diagonal), grid.arrays, self.pattern, saving)
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
        values, _, group = values_of(self.problem)
        x = np.empty(self.problem.n)
        x[self.plan.order] = values[group[self.plan.order], self.found]
        return x if self.problem.error(x) < self.start_error else self.start

    def _stand(self, m: int, centres: FloatArray, partial: float, index: IntArray) -> None:
        """Stand at a node with m undecided positions."""
        self.where[0] = self.where[1] = m
        self.where[3] = 0
        self.centres[m, :m] = centres[:m]
        self.partial[m] = partial
        self.index[m:] = index[m:]
        use(m, self.index, self.grid.arrays, self.pattern)
        enter(m, self.centres[m, m - 1], self.grid.arrays, self.left, self.right)

    def _search(self, clock: Clock, nodes: float | None) -> Status:
        """Search below where we stand: OPTIMAL when done, else why not."""
        end = None if nodes is None else self.nodes + nodes
        while True:
            chunk = CHUNK if end is None else int(min(CHUNK, end - self.nodes))
            if chunk <= 0:
                return Status.NODE_LIMIT
            state = (self.centres, self.partial, self.left, self.right, self.index, self.found)
            if self.grid.top > 0:
                search_even(chunk, self.where, self.bounds, *state, self._problem[0], self.grid.top, self.shrink)
            else:
                search(chunk, self.where, self.bounds, *state, *self._problem, self.shrink)
            clock.tell(self.lower, float(self.bounds[0]))
            if self.where[3]:
                return Status.OPTIMAL
            ended = clock.ended()
            if ended is not None:
                return ended

    def quick(self, clock: Clock, nodes: float) -> Status:
        """Search everything with a limit on nodes."""
        n = self.problem.n
        self._stand(n, self.weight, 0.0, self.index)
        root = move(n, self.weight, np.empty(n), np.zeros(n), 0.0, self._problem[0][2][n], *self._problem[1:])
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
            found = children(m, centres, partial, bound, self.bounds[1], index, *self._problem)
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

        Let delta_i = s_i - x_i be the deviations at which x is decided and U the upper end; only x with e(x) < U
        matter. With the plan's numbers taken as exact, the search adds up sum_i p_i delta_i^2 while
        e(x) = delta' V'HV delta, so the two differ by at most |delta|' residual |delta|. If the residual is below
        half of diag(p) (in the norm scaled by p), e(x) >= sum p_i delta_i^2 / 2, so |delta_i| <= sqrt(2 U / p_i);
        without that, |delta| <= |V^-1| |w - x|, x in the box. Centres are rounded when they are restated and at
        each move, which moves the sum by at most 2 sqrt(2 U sum p_i r_i^2) + sum p_i r_i^2, r the rounding carried
        along; an evenly restated grid moves sqrt(e) by at most sum_j sqrt(h_jj) deviation. Sums of at most 2 n
        non-negative terms are off by 4 n eps of themselves. The diagonals are proven below H (`proves_below`).
        """
        plan, grid, n, eps = self.plan, self.grid, self.problem.n, float(np.finfo(np.float64).eps)
        upper = float(self.bounds[0])
        box = (np.abs(self.weight) + grid.farthest) * grid.step
        root, size = np.sqrt(plan.pivot), np.diag(plan.hessian)
        delta = plan.unit @ box
        if np.linalg.norm(plan.residual / np.outer(root, root)) <= 0.5:
            delta = np.minimum(delta, np.sqrt(2 * upper) / root)
        factor = float(delta @ plan.residual @ delta)
        centre, summed = np.abs(self.weight), 0.0
        carried = np.zeros(n) if grid.top == 0 else 4 * eps * (centre + np.abs(grid.origin) / grid.step)
        for i in range(n - 1, -1, -1):
            summed += plan.pivot[i] * (grid.step[i] * carried[i]) ** 2
            slope = np.abs(self.slope[i, :i])
            jump = slope * (delta[i] / grid.step[i] + carried[i])
            centre[:i] += jump
            carried[:i] += slope * carried[i] + eps * (centre[:i] + 4 * jump)
        rounding = 2 * float(np.sqrt(2 * upper * summed)) + float(summed) + 4 * n * eps * upper
        moved = grid.deviation * float(np.sqrt(size).sum())
        return factor + rounding + 2 * moved * float(np.sqrt(upper)) + moved**2


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
