"""Lower bounds for quantized rows that clip: v from the inputs that the range clamps, and no D.

With D = 0 inequality (1) of `pvq.bounds.proof` is e >= -v'Hv + sum_i min over its levels of 2 (Hv)_i (x_i - w_i),
which ends of the range reach. Where a few outlying weights are most of the error that is nearly all of it; blocks
below H, whose values are many times the error there and cancel, say next to nothing.
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split

from ..base import Clock, Options
from ..kernels.blas import inverse_if_positive
from ..points import nothing_below
from ..relax.bounded import Bounded
from .batch.clamped import clamped


def bound_row(problem: Problem, x: FloatArray, upper: float, options: Options, clock: Clock) -> Bounded:
    """The lower bound of a row; nothing where no weight is outside its range. See `Bounded`."""
    w, levels = problem.weight, problem.levels
    low, high = levels.levels[levels.group, 0], levels.levels[levels.group, -1]
    if not ((w < low) | (w > high)).any() or clock.ended() is not None:
        return Bounded(0.0)
    inverse = _inverse(problem.gram)
    if inverse is None:
        return Bounded(0.0)
    v = clamped(inverse, w, low, high)
    hv = problem.hessian @ v
    least = np.minimum(2.0 * hv * (low - w), 2.0 * hv * (high - w))
    # sums of n terms, three of them one in another
    size = float(np.abs(v) @ (np.abs(problem.hessian) @ (np.abs(v) + 2.0 * np.maximum(w - low, high - w))))
    lower = float(least.sum() - v @ hv) - 3 * (problem.n + 4) * np.finfo(np.float64).eps * size
    return Bounded(lower, Split(nothing_below(problem.gram), v)) if lower > 0.0 else Bounded(0.0)


def _inverse(gram: Gram) -> FloatArray | None:
    return gram.memo(_inverse, lambda: inverse_if_positive(gram.matrix.copy()))
