"""Enumeration in a reduced basis, for ill-conditioned H on evenly spaced values.

With x = origin + step k and k = Z y, Z unimodular, the error is a quadratic form in the integers y whose matrix
Z'HZ (H in steps) is far better conditioned than H when Z comes from lattice reduction (Lenstra, Lenstra and
Lovasz, 1982). The price is the box 0 <= k <= top, which is no box in y: the bound of `search_lattice` keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.proof import Basis
from pvq.bounds.stages import stage

from ..kernels.apart import entry
from .factors import cholesky
from .factors import inverse as invert
from .plan import Plan, plan_in_order, vblast
from .restated import EPS, Restated, carry

DELTA = 0.99
"""How nearly a reduced basis cannot be improved by a swap."""
LONGEST = 256
"""Inputs beyond which a basis is not reduced: minutes, for rows whose search does not end in any basis."""

UNEVEN = 6.0
"""Ratio of the largest to the least pivot from which reduction is tried. With 30 two of 144 rows of 25 inputs took
more than 6e7 nodes; regular layers are at 1.4 to 3.6."""
EXACT = 1e-7
"""Rounding of conditional values of k that is tolerated, in steps; the box is widened by ten times as much."""


@entry(error_model="python")
def reduce_basis(r: FloatArray, z: IntArray, inverse: IntArray, limit: int) -> bool:
    """LLL reduction of the basis with upper factor R and columns z, in place; False if not done in `limit` swaps.

    R becomes that of the reduced basis, z is multiplied by the unimodular change, `inverse` is kept its inverse.
    """
    n = len(r)
    k, swaps = 1, 0
    while k < n:
        for j in range(k - 1, -1, -1):
            times = np.rint(r[j, k] / r[j, j])
            if times != 0.0:
                whole = np.int64(times)
                for i in range(j + 1):
                    r[i, k] -= times * r[i, j]
                for i in range(n):
                    z[i, k] -= whole * z[i, j]
                    inverse[j, i] += whole * inverse[k, i]
        if DELTA * r[k - 1, k - 1] ** 2 <= r[k - 1, k] ** 2 + r[k, k] ** 2:
            k += 1
            continue
        swaps += 1
        if swaps > limit:
            return False
        for i in range(n):
            r[i, k - 1], r[i, k] = r[i, k], r[i, k - 1]
            z[i, k - 1], z[i, k] = z[i, k], z[i, k - 1]
            inverse[k - 1, i], inverse[k, i] = inverse[k, i], inverse[k - 1, i]
        a, b = r[k - 1, k - 1], r[k, k - 1]
        length = np.hypot(a, b)
        c, s = a / length, b / length
        for j in range(k - 1, n):
            top, low = r[k - 1, j], r[k, j]
            r[k - 1, j] = c * top + s * low
            r[k, j] = c * low - s * top
        r[k, k - 1] = 0.0
        if r[k, k] < 0.0:
            for j in range(k, n):
                r[k, j] = -r[k, j]
        k = max(k - 1, 1)
    return True


@dataclass(frozen=True, eq=False)
class Lattice:
    """A reduced basis of one H in steps, and the plan of an enumeration in it."""

    basis: IntArray
    """(n, n) Z, columns in the order of the plan: k = Z y."""
    inverse: IntArray
    """(n, n) Z^-1."""
    plan: Plan
    """Of Z'HZ; its own order is already in `basis`."""
    move: FloatArray
    """(n, n) row i: by how much the conditional k move when y_i is decided one unit below its centre."""
    spread: FloatArray
    """(n + 1, n) row m: variance of k_j given the y decided; e rises by at least o^2 / spread where k_j is off its
    range by o."""
    rounding: FloatArray
    """(n, n) bound of the rounding of V'Z'HZV on top of the plan's residual."""

    @cached_property
    def for_proofs(self) -> Basis:
        """What a verifier needs to repeat a search."""
        return Basis(self.basis, self.inverse, self.plan.diagonal)


def reduced(hessian: FloatArray, step: FloatArray) -> Lattice | None:
    """Reduce H in units of `step` (n,); None where float64 cannot."""
    stage("reduced basis")
    n = len(hessian)
    # in the longest numbers there are, so that one rounding is left
    long = hessian.astype(np.longdouble) * np.outer(step, step)
    h = long.astype(np.float64)
    first = np.argsort(h.diagonal(), kind="stable")
    inverse = np.eye(n, dtype=np.int64)[first]
    z = np.array(inverse.T, order="C")  # a copy: both change
    root = cholesky(np.ascontiguousarray(h[np.ix_(first, first)]))
    if not reduce_basis(np.triu(root), z, inverse, 200 * n * n):
        return None
    if max(np.abs(z).max(), np.abs(inverse).max()) > 2**20 or (z @ inverse != np.eye(n, dtype=np.int64)).any():
        return None
    exact = z.T @ long @ z
    new = np.asarray((exact + exact.T) / 2, dtype=np.float64)
    order = vblast(invert(new))
    z, inverse = np.ascontiguousarray(z[:, order]), np.ascontiguousarray(inverse[order])
    plan = plan_in_order(new, order, np.longdouble)
    v = np.abs(np.eye(n) - plan.slope.T)
    size = np.abs(z) @ v
    small = (2 * n + 6) * float(np.finfo(np.longdouble).eps)
    rounding = EPS * (v.T @ np.abs(plan.hessian) @ v) + small * (size.T @ np.abs(h) @ size)
    if plan.pivot.min() <= 0.0:
        return None
    if not np.linalg.norm((plan.residual + rounding) / np.sqrt(np.outer(plan.pivot, plan.pivot))) <= 0.5:
        return None  # see `Restated.slack`
    move = plan.slope @ z.T - z.T
    spread = np.vstack([np.zeros(n), np.cumsum(move**2 / plan.pivot[:, None], axis=0)])
    return Lattice(z, inverse, plan, np.ascontiguousarray(move), spread, rounding)


def row_lattice(row: Restated) -> Lattice | None:
    """The reduced basis for a row, shared by all rows with its steps; None where it does not pay or cannot be.

    It pays where the variances of the decisions, 1 / pivot, differ much: with reduction all are nearly equal.
    """
    if row.top == 0 or len(row.step) > LONGEST or row.plan.pivot.max() < UNEVEN * row.plan.pivot.min():
        return None
    step = np.empty(len(row.step))
    step[row.plan.order] = row.step / row.step.max()
    gram = row.problem.gram
    return gram.memo(reduced, lambda: reduced(gram.matrix, step), step.tobytes())


class LatticeWalk:
    """The depth-first search of one row in a reduced basis."""

    def __init__(self, row: Restated, lattice: Lattice, shrink: float) -> None:
        n = len(row.weight)
        self.row, self.lattice, self.shrink = row, lattice, shrink
        inputs = np.empty(n)
        inputs[row.plan.order] = row.weight
        self.target = lattice.inverse @ inputs
        self._unit = float(row.step.max()) ** 2  # the basis is in units of the largest step
        self._found = np.full(n, -1, np.int64)
        self.bounds = np.array([np.inf, np.inf])
        """[error of the best leaf, threshold]."""
        self._where = np.array([n, n, 0, 0])
        self._centres, self._boxed = np.zeros((n + 1, n)), np.zeros((n + 1, n))
        self._centres[n], self._boxed[n] = self.target, inputs
        self._partial = np.zeros(n + 1)
        self._zigzag = np.zeros((2, n + 1))
        near = np.rint(self.target[n - 1])
        self._zigzag[:, n] = near, near + 1

    def run(self, budget: int, upper: float, threshold: float) -> bool:
        """Search on for a number of nodes, pruning at the threshold; True if the search is done."""
        self.bounds[:] = upper / self._unit, threshold / self._unit
        plan, lattice = self.lattice.plan, self.lattice
        search_lattice(
            budget,
            self._where,
            self.bounds,
            (self._centres, self._boxed, self._partial, self._zigzag),
            self._found,
            (plan.pivot, plan.slope, plan.diagonal, lattice.move, lattice.spread),
            self.row.top,
            self.shrink,
        )
        self.bounds *= self._unit
        return bool(self._where[3])

    @property
    def nodes(self) -> int:
        """Nodes visited so far."""
        return int(self._where[2])

    @property
    def picks(self) -> IntArray:
        """(n,) the best leaf found here, in the order of the row's plan."""
        return self._found[self.row.plan.order]

    def slack(self, upper: float) -> float:
        """How much float64 may have raised the bound of a cut node; infinite if the box cannot be told apart.

        As `Restated.slack`, for the matrix Z'HZ: its own rounding and that of the target Z^-1 w come on top.
        """
        lattice, row, n = self.lattice, self.row, len(self.target)
        plan = lattice.plan
        upper /= self._unit
        delta = np.sqrt(2 * upper / plan.pivot)
        factor = float(delta @ (plan.residual + lattice.rounding) @ delta)
        inputs = self._boxed[n]
        step, origin = np.empty(n), np.empty(n)
        step[row.plan.order], origin[row.plan.order] = row.step, row.origin
        carried = EPS * (np.abs(lattice.inverse) @ ((n + 6) * np.abs(inputs) + 4 * np.abs(origin) / step))
        widest = np.abs(lattice.basis) @ carried + n * EPS * (np.abs(inputs) + np.abs(lattice.move).T @ delta)
        summed = carry(plan.pivot, plan.slope, np.ones(n), delta, np.abs(self.target), carried)
        # `carried` has grown to the rounding of the centres themselves
        widest += np.abs(lattice.move).T @ carried
        if not widest.max() < EXACT:
            return np.inf
        rounding = 2 * float(np.sqrt(2 * upper * summed)) + summed + 4 * n * EPS * upper
        moved = row.deviation * float(np.sqrt(np.diag(row.plan.hessian)).sum())
        return (factor + rounding) * self._unit + 2 * moved * float(np.sqrt(upper * self._unit)) + moved**2


@entry(error_model="python")
def search_lattice(budget, where, bounds, state, best, plan, top, shrink):  # type: ignore[no-untyped-def]
    """Depth-first search over the integers y, as `search_even` without limits on y, but 0 <= k = Zy <= top.

    A node is also cut where the error so far plus the largest o_j^2 / spread_j reaches the threshold: o_j is how
    far the conditional k_j lies off its range, and no choice of the undecided y brings it back for less.

    Parameters
    ----------
    budget, where, bounds, shrink : as for `search_even`.
    state : centres of y (n + 1, n), conditional k (n + 1, n), partial (n + 1,), zigzag (2, n + 1).
    best : (n,) k of the best leaf.
    plan : pivot, slope, diagonal of the reduced matrix; move and spread of `Lattice`.
    """
    pivot, slope, diagonal, along, spread = plan
    centres, boxed, partial, zigzag = state
    n = len(pivot)
    m, root = where[0], where[1]
    end = where[2] + budget
    wide = 10 * EXACT
    while where[2] < end:
        i = m - 1
        centre = centres[m, i]
        below, above = centre - zigzag[0, m], zigzag[1, m] - centre
        difference = below if below <= above else -above
        cost = partial[m] + pivot[i] * difference * difference
        if not cost < bounds[1]:
            if m == root:
                where[3] = 1
                break
            m += 1
            continue
        if below <= above:
            zigzag[0, m] -= 1.0
        else:
            zigzag[1, m] += 1.0
        where[2] += 1
        off = 0.0
        for j in range(n):
            k = boxed[m, j] + along[i, j] * difference
            boxed[i, j] = k
            outside = max(-k, k - top) - wide
            if outside > 0.0:
                off = max(off, outside * outside / (spread[i, j] * (1 + 1e-6) + 1e-300))
        if cost + off >= bounds[1]:
            continue
        if i == 0:
            bounds[0], bounds[1] = cost, shrink * cost
            for j in range(n):
                best[j] = np.int64(np.rint(boxed[0, j]))
            continue
        ahead = cost
        for j in range(i):
            s = centres[m, j] + slope[i, j] * difference
            centres[i, j] = s
            distance = s - np.rint(s)
            ahead += diagonal[i, j] * distance * distance
        if ahead >= bounds[1]:
            continue
        partial[i] = cost
        m = i
        near = np.rint(centres[m, m - 1])
        zigzag[0, m], zigzag[1, m] = near, near + 1.0
    where[0] = m
