"""Weights of somebody's own against a layer's problem: do they satisfy it, and what is their error?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ProblemError
from .gram import BoolArray, FloatArray
from .layer_problem import LayerProblem
from .problem import Problem
from .recover import FULL, rounding


@dataclass(frozen=True, eq=False)
class Candidate:
    """Weights that were judged."""

    weights: FloatArray
    """(rows, n) as they were given, of the selected rows and inputs."""
    errors: FloatArray
    """(rows,) e(x) of them."""
    violation: str | None
    """The first constraint that they break, in one line; None if they satisfy all."""

    @property
    def feasible(self) -> bool:
        """Whether they satisfy the problem, up to the rounding of the type that they were stored in."""
        return self.violation is None


def selected(weights: FloatArray, out: int, n: int, rows: Sequence[int], inputs: range) -> FloatArray:
    """Some rows and inputs, of weights of the whole layer (out, n) or of just these.

    Raises
    ------
    ProblemError
        Neither shape, or entries that are not finite.
    """
    part = (len(rows), len(inputs))
    if weights.ndim > 2:  # a convolution: one row per output channel, in the order of its patches
        weights = weights.reshape(len(weights), -1)
    if weights.shape == (out, n):
        weights = weights[list(rows), inputs.start : inputs.stop]
    elif weights.shape != part:
        also = f" or {part} of its selected rows and inputs" if part != (out, n) else ""
        raise ProblemError(f"weights of shape {weights.shape} are not those of a layer of {(out, n)}{also}")
    if not np.isfinite(weights).all():
        raise ProblemError(f"the weights have {int((~np.isfinite(weights)).sum())} NaN or infinite entries")
    return np.ascontiguousarray(weights, dtype=np.float64)


def judge(problem: LayerProblem, weights: FloatArray, eps: float) -> Candidate:
    """Judge weights (rows, n).

    A weight is on the grid if it is a level up to the rounding of a type of resolution `eps` (1 and the next
    number differ by it), see `recover.rounding`; likewise kept weights that must not change. Zeros are exact.
    """
    violation = None
    used = 0
    errors = np.zeros(len(weights))
    for i, x in enumerate(weights):
        row = problem.row(i)
        errors[i] = row.error(x)
        if row.sparsity is not None:
            used += len(np.unique(row.sparsity.unit[x != 0]))
        broken = None if violation else _broken(row, x, eps)
        if broken:
            violation = f"row {problem.rows[i]}: {broken}"
    if violation is None and problem.budget is not None and used > problem.budget:
        violation = f"{used} units are kept, more than the {problem.budget} of all rows together"
    return Candidate(weights, errors, violation)


def _broken(row: Problem, x: FloatArray, eps: float) -> str | None:
    nonzero = x != 0
    if row.sparsity is not None and not row.sparsity.allows(nonzero):
        return f"{int(nonzero.sum())} weights are kept, more than the pattern allows, or others"
    if row.grid is not None:
        checked = nonzero if row.sparsity is not None else np.ones(row.n, dtype=bool)
        off = checked & ~_close(x, row.grid.nearest(x), eps, _least_gap(row))
        if off.any():
            far = np.abs(x - row.grid.nearest(x)) / _least_gap(row)
            return (
                f"{int(off.sum())} of {row.n} weights are not on the grid, by up to {far[off].max():.2g} of a step"
            )
    elif row.sparsity is not None and not row.sparsity.update:
        off = nonzero & ~_close(x, row.weight, eps, np.full(row.n, np.inf))
        if off.any():
            return f"{int(off.sum())} kept weights are not what they were"
    return None


def _least_gap(row: Problem) -> FloatArray:
    """(n,) smallest distance of two levels of each input."""
    gap: FloatArray = np.diff(row.levels.levels, axis=1).min(axis=1)[row.levels.group]
    return gap


def _close(x: FloatArray, level: FloatArray, eps: float, gap: FloatArray) -> BoolArray:
    """Whether two numbers are the same but for rounding, which must stay well below the distance of two levels."""
    return np.asarray(np.abs(x - level) <= np.minimum(rounding(level, eps), FULL * gap))
