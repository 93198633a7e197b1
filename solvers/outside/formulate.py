"""Build the mixed-integer formulation of a row: integers or one-hot levels, big-M or the perspective form."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import BoolArray, FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem
from scipy.sparse import csr_array

from .formulation import Form, Formulation, Layout

# A row of levels is uniform if none is further than this share of a step, times their number, from its place:
# levels are float64 products scale * integer, so they are off by a few units in the last place.
UNIFORM = 1e-11

# Largest |x_i - w_i| sqrt(H_ii / U) that the big-M rows may have to allow (H of condition 1e8). Solvers take 1e-9
# for z = 0, so 1e-9 M leaks through a row: at 1e4, 1e-5 of a weight's natural size, enough to confuse masks.
MAX_RADIUS = 1e4


def formulate(
    problem: Problem, known: FloatArray, form: Form = Form.BIG_M, diagonal: FloatArray | None = None
) -> Formulation:
    """Build the data of a row.

    Parameters
    ----------
    problem : without dead inputs.
    known : (n,) feasible point of error U > 0. Only points of error <= U are kept (what the big-M needs).
    form : BIG_M, or PERSPECTIVE, which takes `diagonal`.
    diagonal : (n,) D >= 0 with H - D positive semidefinite.

    Raises
    ------
    ProblemError
        Free weights and H singular to working precision: no valid big-M is finite.
    """
    unit = problem.error(known)
    if not unit > 0:
        raise ProblemError("the known point has error 0; there is nothing left to solve")
    d = np.zeros(problem.n)
    if form is Form.PERSPECTIVE:
        assert diagonal is not None
        d = diagonal
    build = _Builder(problem, unit, d)
    if problem.grid is None and problem.sparsity is not None and not problem.sparsity.update:
        return build.fixed_weights()
    return build.values()


def radius(gram: Gram, upper: float) -> FloatArray:
    """(n,) r with |x_i - w_i| <= r_i for every x of error <= upper: r_i^2 = upper (H^-1)_ii.

    From u'Hu <= U: u_i = e_i' u <= sqrt(e_i' H^-1 e_i) sqrt(u'Hu). Computed as the diagonal of Q (Λ - δ)^-1 Q',
    δ = 2 n eps ‖H‖, which is at least that of H^-1 since the computed Q Λ Q' is within δ of H; on H scaled to a
    unit diagonal. Infinite where Λ <= δ.
    """

    def inverse_diagonal() -> FloatArray:
        scale = 1 / np.sqrt(np.diag(gram.matrix))
        values, vectors = np.linalg.eigh(gram.matrix * np.outer(scale, scale))
        safe = values - 2 * len(values) * np.finfo(np.float64).eps * values[-1]
        if safe[0] <= 0:
            return np.full(len(values), np.inf)
        return np.asarray((vectors**2 @ (1 / safe)) * scale**2)

    # 1 + 1e-6: the known point itself must stay inside after every rounding
    return (1 + 1e-6) * np.sqrt(upper * gram.memo(radius, inverse_diagonal))


def is_uniform(problem: Problem) -> bool:
    """Whether the levels are equally spaced and, where inputs can be pruned, exact 0 is among them."""
    grid = problem.levels
    for levels in grid.levels[np.unique(grid.group)]:
        step = (levels[-1] - levels[0]) / (len(levels) - 1)
        if np.abs(levels - (levels[0] + step * np.arange(len(levels)))).max() > UNIFORM * len(levels) * step:
            return False
        if problem.sparsity is not None and not (levels == 0).any():
            return False
    return True


class _Builder:
    """Collects variables and rows; one use, one formulation."""

    def __init__(self, problem: Problem, unit: float, diagonal: FloatArray) -> None:
        self.problem, self.unit, self.diagonal = problem, unit, diagonal
        self.lower: list[FloatArray] = []
        self.upper: list[FloatArray] = []
        self.integer: list[BoolArray] = []
        self.count = 0
        self.entries: list[tuple[int, int, float]] = []
        self.row_lower: list[float] = []
        self.row_upper: list[float] = []

    def variables(self, lower: FloatArray, upper: FloatArray, integer: bool) -> IntArray:
        """Append variables and return their places."""
        places = np.arange(self.count, self.count + len(lower))
        self.lower.append(lower)
        self.upper.append(upper)
        self.integer.append(np.full(len(lower), integer))
        self.count += len(lower)
        return places

    def row(self, lower: float, upper: float, *terms: tuple[int | np.int64, float]) -> None:
        """Append lower <= sum of coefficient * variable <= upper."""
        self.entries += [(len(self.row_lower), int(place), float(value)) for place, value in terms]
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def budgets(self) -> IntArray:
        """Binary z per unit and the pattern's budgets; places of z, empty without a pattern."""
        sparsity = self.problem.sparsity
        if sparsity is None:
            return np.zeros(0, np.int64)
        z = self.variables(np.zeros(sparsity.units), np.ones(sparsity.units), True)
        for group, keep in enumerate(sparsity.keep):
            self.row(-np.inf, float(keep), *((z[unit], 1.0) for unit in np.flatnonzero(sparsity.group == group)))
        return z

    def finish(
        self,
        quadratic: FloatArray,
        center: FloatArray,
        linear: dict[int, float],
        constant: float,
        cones: list[tuple[int, int, int]],
        layout: Layout,
    ) -> Formulation:
        vector = np.zeros(self.count)
        for place, value in linear.items():
            vector[place] += value
        row, column, value_ = zip(*self.entries, strict=True) if self.entries else ((), (), ())
        return Formulation(
            self.unit,
            (quadratic + quadratic.T) / 2,
            center,
            vector,
            constant,
            np.concatenate(self.lower),
            np.concatenate(self.upper),
            np.concatenate(self.integer),
            csr_array((value_, (row, column)), shape=(len(self.row_lower), self.count)),
            np.array(self.row_lower),
            np.array(self.row_upper),
            np.array(cones, dtype=np.int64).reshape(-1, 3),
            layout,
        )

    def fixed_weights(self) -> Formulation:
        """Kept weights fixed, u_i = w_i (1 - q_i), q_i binary: e = sum of w_i H_ij w_j (1 - q_i)(1 - q_j).

        q_i = z of the unit, except in blocks, where an input of a kept block may still be 0: q_i <= z there.
        Binary, so the part of D is linear: (1 - q)^2 = 1 - q, its convex hull.
        """
        problem, sparsity = self.problem, self.problem.sparsity
        assert sparsity is not None
        w, n = problem.weight, problem.n
        if sparsity.unit_size == 1:
            z = self.budgets()
            q, order = z[sparsity.unit], np.argsort(sparsity.unit)
        else:
            q, order = self.variables(np.zeros(n), np.ones(n), True), np.arange(n)
            z = self.budgets()
            for i in range(n):
                self.row(-np.inf, 0.0, (q[i], 1.0), (z[sparsity.unit[i]], -1.0))
        smooth = (problem.hessian - np.diag(self.diagonal)) * np.outer(w, w) / self.unit
        share = self.diagonal * w**2 / self.unit
        linear = {int(place): -float(s) for place, s in zip(q, share, strict=True)}
        layout = Layout(problem, np.ones(0), np.zeros(0), z, np.zeros(0, np.int64), flag=q)
        # the quadratic is over the first n variables: the q, in the order of their places
        return self.finish(smooth[np.ix_(order, order)], np.ones(n), linear, float(share.sum()), [], layout)

    def values(self) -> Formulation:
        """p_i = p_of_x (x_i - origin_i): integers for a uniform grid, else x in its own unit sqrt(U / H_ii)."""
        problem, grid, sparsity = self.problem, self.problem.grid, self.problem.sparsity
        n, w = problem.n, problem.weight
        reach = radius(problem.gram, self.unit)
        uniform = grid is not None and is_uniform(problem)
        origin = np.zeros(n)
        if uniform:
            assert grid is not None
            p_of_x = np.array([(grid.count - 1) / (grid.of(i)[-1] - grid.of(i)[0]) for i in range(n)])
            if sparsity is None:
                origin = np.array([grid.of(i)[0] for i in range(n)])
        else:
            p_of_x = np.sqrt(np.diag(problem.hessian) / self.unit)
        if grid is None and np.max(reach * np.sqrt(np.diag(problem.hessian) / self.unit)) > MAX_RADIUS:
            raise ProblemError(
                "H is singular to the solvers' precision, so no finite big-M is valid; use solver 'bnb'"
            )
        step = 1 / p_of_x
        center = (w - origin) * p_of_x
        hessian = problem.hessian * np.outer(step, step) / self.unit
        d = self.diagonal * step**2 / self.unit

        exact = self._levels(reach)
        levels = [(exact[i] - origin[i]) * p_of_x[i] for i in range(len(exact))]
        if uniform:
            levels = [np.round(values) for values in levels]
        low = np.array([values[0] for values in levels]) if levels else center - reach * p_of_x
        high = np.array([values[-1] for values in levels]) if levels else center + reach * p_of_x
        wide_low, wide_high = (low, high) if sparsity is None else (np.minimum(low, 0), np.maximum(high, 0))
        p = self.variables(wide_low, wide_high, uniform)
        z = self.budgets()
        if sparsity is not None:
            for i in range(n):  # low z <= p <= high z
                self.row(0.0, np.inf, (p[i], 1.0), (z[sparsity.unit[i]], -low[i]))
                self.row(-np.inf, 0.0, (p[i], 1.0), (z[sparsity.unit[i]], -high[i]))

        linear = {int(p[i]): float(-2 * d[i] * center[i]) for i in range(n)}
        square, cones = np.zeros(0, np.int64), []
        choice: tuple[IntArray, ...] = ()
        values: tuple[FloatArray, ...] = ()
        if grid is not None and not uniform:
            choice, values = self._one_hot(p, z, exact, p_of_x)
            for i in range(n):  # d p^2 is linear in the choice: its convex hull over the levels
                for place, level in zip(choice[i], values[i] * p_of_x[i], strict=True):
                    linear[int(place)] = float(d[i] * level**2)
        elif d.any():
            square = self.variables(np.zeros(n), np.maximum(wide_low**2, wide_high**2), False)
            linear |= {int(square[i]): float(d[i]) for i in range(n)}
            if uniform:
                self._chords(p, z, square, levels)
            else:
                assert sparsity is not None
                cones = [(int(p[i]), int(square[i]), int(z[sparsity.unit[i]])) for i in range(n)]
        layout = Layout(problem, p_of_x, origin, z, square, choice, values)
        constant = float((d * center**2).sum())
        return self.finish(hessian - np.diag(d), center, linear, constant, cones, layout)

    def _levels(self, reach: FloatArray) -> list[FloatArray]:
        """Levels of each input within reach of w, no better point has others; and 0 where there is a pattern."""
        problem, result = self.problem, []
        grid, zero = problem.grid, [] if problem.sparsity is None else [0.0]
        for i in range(self.problem.n if grid is not None else 0):
            assert grid is not None
            distance = np.abs(grid.of(i) - problem.weight[i])
            result.append(np.union1d(grid.of(i)[distance <= max(reach[i], distance.min())], zero))
        return result

    def _one_hot(
        self, p: IntArray, z: IntArray, levels: list[FloatArray], p_of_x: FloatArray
    ) -> tuple[tuple[IntArray, ...], tuple[FloatArray, ...]]:
        """One binary per level: p_i = sum of level * b, sum b = 1 (0 is a level too where pruning is allowed)."""
        sparsity = self.problem.sparsity
        choice, values = [], []
        for i, own in enumerate(levels):
            places = self.variables(np.zeros(len(own)), np.ones(len(own)), True)
            self.row(1.0, 1.0, *((place, 1.0) for place in places))
            self.row(0.0, 0.0, (p[i], -1.0), *zip(places, own * p_of_x[i], strict=True))
            if sparsity is not None:  # a level other than 0 needs z = 1
                kept = places[own != 0]
                self.row(-np.inf, 0.0, (z[sparsity.unit[i]], -1.0), *((place, 1.0) for place in kept))
            choice.append(places)
            values.append(own)
        return tuple(choice), tuple(values)

    def _chords(self, p: IntArray, z: IntArray, square: IntArray, levels: list[FloatArray]) -> None:
        """s >= (a + b) p - a b z for neighbouring levels a < b: with the cone, the convex hull of (p, p^2, z).

        (p - a)(p - b) >= 0 at every level of the grid, and all of it 0 where z = 0. Without a pattern z = 1.
        """
        sparsity = self.problem.sparsity
        for i, values in enumerate(levels):
            if len(values) == 1:
                values = np.repeat(values, 2)  # the tangent at the only level
            for a, b in pairwise(values):
                if sparsity is None:
                    self.row(-a * b, np.inf, (square[i], 1.0), (p[i], -(a + b)))
                else:
                    terms = (square[i], 1.0), (p[i], -(a + b)), (z[sparsity.unit[i]], a * b)
                    self.row(0.0, np.inf, *terms)
