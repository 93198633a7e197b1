"""The problem of one row: minimise e(x) = (w - x)' H (w - x) over a grid, a sparsity pattern, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack, lstsq

from .certified import Certified, certified_error, certified_errors
from .errors import ProblemError
from .gram import BoolArray, FloatArray, Gram, IntArray
from .grid import Grid
from .outward import tolerance
from .sparsity import Sparsity


@dataclass(frozen=True, eq=False)
class Problem:
    """minimise e(x) = (w - x)' H (w - x) over x in C.

    C is a product of grids (`grid` alone), a sparsity pattern (`sparsity` alone), or both: at most so many
    non-zeros, each on its grid (0 is always allowed there).
    """

    weight: FloatArray
    """(n,) the row w."""
    gram: Gram
    """H, (n, n)."""
    grid: Grid | None = None
    sparsity: Sparsity | None = None

    def __post_init__(self) -> None:
        weight = np.array(self.weight, dtype=np.float64)
        if weight.shape != (len(self.gram),):
            raise ProblemError(f"a row of {weight.shape} weights does not fit {len(self.gram)} inputs")
        if self.grid is None and self.sparsity is None:
            raise ProblemError("a problem needs a grid, a sparsity pattern, or both")
        if self.grid is not None and len(self.grid.group) != len(weight):
            raise ProblemError(f"the grid is for {len(self.grid.group)} inputs, the row has {len(weight)}")
        if self.sparsity is not None and len(self.sparsity.unit) != len(weight):
            raise ProblemError(f"the pattern is for {len(self.sparsity.unit)} inputs, the row has {len(weight)}")
        weight.setflags(write=False)
        object.__setattr__(self, "weight", weight)

    @property
    def n(self) -> int:
        """Number of inputs."""
        return len(self.weight)

    @property
    def hessian(self) -> FloatArray:
        """H as an array, (n, n)."""
        return self.gram.matrix

    @property
    def pattern(self) -> Sparsity:
        """The sparsity pattern, of a problem that has one."""
        if self.sparsity is None:
            raise ValueError("a problem without a sparsity pattern was asked for it")
        return self.sparsity

    @property
    def levels(self) -> Grid:
        """The grid, of a problem that has one."""
        if self.grid is None:
            raise ValueError("a problem without a grid was asked for it")
        return self.grid

    @property
    def method(self) -> str:
        """quant | prune | joint."""
        if self.sparsity is None:
            return "quant"
        return "prune" if self.grid is None else "joint"

    @property
    def free_weights(self) -> bool:
        """Whether kept inputs may take any value: a pattern without a grid or fixed weights."""
        return self.grid is None and self.sparsity is not None and self.sparsity.update

    @cached_property
    def reference(self) -> float:
        """r = w' H w, the error of the zero row and the reference of SQNR."""
        zero = np.zeros(self.n)
        return certified_error(self.gram, self.weight, zero, 0.0).value

    def error(self, x: FloatArray) -> float:
        """e(x) = (w - x)' H (w - x) in float64, quick: for comparing points, not for what is claimed of them."""
        return self.gram.error(self.weight - x)

    def certified(self, x: FloatArray) -> Certified:
        """e(x) with both ends of its rounding: what statuses, gaps and reports take."""
        return certified_error(self.gram, self.weight, x, self.reference)

    def doubt(self, error: Certified) -> float:
        """What float64 may have added to a lower bound that was not proven, for the error of a best known x.

        Searches over grids add squares of w - x up, which are as exact as e(x) itself. Free weights are eliminated
        from [H Hw; w'H w'Hw], which is backward stable: that is off by at most g t'|H|t, t = |w| + |x|.
        """
        return error.expanded if self.free_weights else error.rounding / 2

    def gap_tolerance(self, x: FloatArray, gap: float) -> float:
        """Width of an interval below e(x) at which the optimum counts as proven."""
        error = self.certified(x)
        return tolerance(error.upper, error.rounding, gap)

    def is_feasible(self, x: FloatArray) -> bool:
        """Whether x lies in C exactly (no tolerance: grid values are compared as float64 numbers)."""
        if x.shape != self.weight.shape or not np.isfinite(x).all():
            return False
        nonzero = x != 0
        if self.sparsity is not None and not self.sparsity.allows(nonzero):
            return False
        if self.grid is not None:
            on_grid = self.grid.nearest(x) == x
            return bool((on_grid | ~nonzero if self.sparsity is not None else on_grid).all())
        fixed = self.sparsity is not None and not self.sparsity.update
        return not fixed or bool((x[nonzero] == self.weight[nonzero]).all())

    def take(self, inputs: IntArray) -> Problem:
        """The sub-problem on a subset of the inputs, the others adding no error (they are dead) and being 0."""
        return Problem(
            self.weight[inputs],
            self.gram.take(inputs),
            self.grid and self.grid.take(inputs),
            self.sparsity and self.sparsity.take(inputs),
        )


def certified_rows(problems: Sequence[Problem], x: Sequence[FloatArray]) -> list[Certified]:
    """`Problem.certified` of a point of each row, by products of all rows; they share a Gram matrix.

    Raises
    ------
    ValueError
        They do not.
    """
    if any(problem.gram is not problems[0].gram for problem in problems):
        raise ValueError("errors of rows together are those of one Gram matrix")
    gram, w = problems[0].gram, np.array([problem.weight for problem in problems])
    unknown = [i for i, problem in enumerate(problems) if "reference" not in vars(problem)]
    if unknown:
        some = w[unknown]
        nothing = np.zeros(len(some))
        for i, found in zip(unknown, certified_errors(gram, some, np.zeros_like(some), nothing), strict=True):
            vars(problems[i])["reference"] = found.value
    return certified_errors(gram, w, np.array(x), np.array([problem.reference for problem in problems]))


def optimal_on_support(problem: Problem, mask: BoolArray) -> FloatArray:
    """x that minimises e over all x with support in `mask`: x_S = w_S + H_SS^-1 H_SR w_R, (n,)."""
    x = np.zeros(problem.n)
    kept, pruned = np.flatnonzero(mask), np.flatnonzero(~mask)
    if len(kept):
        h = problem.hessian
        block = h[np.ix_(kept, kept)]
        target = h[np.ix_(kept, pruned)] @ problem.weight[pruned]
        _, step, info = lapack.dposv(block, target)  # without the wrappers, which take ten times as long
        if info:  # dead or duplicated kept inputs: any least-squares solution is a minimiser
            step = lstsq(block, target)[0]
        x[kept] = problem.weight[kept] + step
    return x
