"""One row through the relaxation that fits it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split

from ..base import Clock, Options
from ..result import Outcome, Status
from .pruning import Row, bound_row, shared, upper_point


def prepare_rows(problems: Sequence[Problem]) -> None:
    """Layer-wide work for rows that share a Gram matrix and have no dead inputs."""
    shared(problems)


def bound_of_row(problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
    """Lower bound, upper bound and proof of a row."""
    clock = Clock(options)
    layer = shared([problem])
    points = [upper_point(problem)] + ([start] if start is not None and problem.is_feasible(start) else [])
    x = min(points, key=problem.error)
    upper = problem.error(x)
    if upper <= 0.0:
        return Outcome(x, 0.0, Status.OPTIMAL)
    below, relaxed = bound_row(Row.of(problem, upper), layer, clock)
    status = Status.INTERRUPTED if options.stop.is_set() else Status.BOUND_ONLY
    proof = Split(below, relaxed.point - problem.weight)
    return Outcome(x, max(0.0, relaxed.bound), status, proof=proof if np.isfinite(relaxed.bound) else None)
