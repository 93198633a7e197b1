"""What a solver's answer is worth: its error recomputed from x, and its bound held against all feasible points.

Any feasible x, whoever found it, proves that the optimum is at most e(x). So a lower bound above the least e(x) of
all solvers (and of the library) is wrong, and nobody needs to know the optimum to say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from pvq.bounds.certified import FLOOR
from pvq.bounds.problem import Problem
from pvq.solvers.result import Fault, Status

from .runner import Run
from .tasks import Task

WRONG = 1e-6
"""Share of a feasible error by which a bound must exceed it to be called wrong: the gap asked of solvers. Bounds
of outside solvers hold to their tolerances only, which is what `numerical` says."""

SAME = 1e-9
"""Share by which a solver's own account of e(x) may differ from ours: rounding of sums of n^2 terms."""

SOLVED = Status.OPTIMAL.value
REFUSED = frozenset({"unsupported", "licence", "missing", "unknown", "instance"})
"""Not tried: no failure and no time-out."""


def checked(run: Run, problem: Problem, task: Task) -> Run:
    """The run with its upper end recomputed from x, and its outcome corrected where it claims too much."""
    if run.x is None or run.lower is None or run.upper is None:
        return run
    x = np.array(run.x)
    if not problem.is_feasible(x):
        return replace(run, outcome="wrong", why="its x violates the constraints", upper=None)
    upper = problem.certified(x).upper
    floor = FLOOR * problem.reference
    if abs(run.upper - upper) > SAME * upper + floor:
        why = f"says that e(x) is {run.upper:.9g}, it is {upper:.9g}"
        return replace(run, outcome="wrong", why=why, upper=upper)
    run = replace(run, upper=upper)
    if run.outcome == Status.FAILED.value:
        why = str((run.info or {}).get("why", ""))
        return replace(run, outcome="wrong" if run.fault == Fault.BOUND.value else run.outcome, why=why)
    if run.lower > upper * (1 + WRONG) + floor:
        return replace(run, outcome="wrong", why=f"bound {run.lower:.9g} above its own e(x) {upper:.9g}")
    if run.outcome == SOLVED:
        if upper - run.lower > problem.gap_tolerance(x, task.limits.gap) * (1 + SAME) + floor:
            return replace(
                run, outcome="wrong", why=f"claims optimality at lower {run.lower:.9g}, e(x) {upper:.9g}"
            )
        if run.seconds is not None and run.seconds > task.limits.time_limit:
            return replace(run, outcome=Status.TIME_LIMIT.value, why=f"solved, but in {run.seconds:.3g} s")
    ahead = (run.info or {}).get("nodes_ahead")
    if run.outcome == Status.TIME_LIMIT.value and ahead is not None:
        return replace(run, why=f"after {run.nodes or 0:.2g} nodes, about {ahead:.2g} more to the end (modelled)")
    return run


def best_uppers(runs: Iterable[Run], known: Mapping[str, float] | None = None) -> dict[str, float]:
    """The least recomputed e(x) of each instance, and of the library where that is less."""
    best = dict(known or {})
    for run in runs:
        if run.x is not None and run.upper is not None:
            best[run.instance] = min(run.upper, best.get(run.instance, run.upper))
    return best


def crossed(runs: Iterable[Run], best: Mapping[str, float], references: Mapping[str, float]) -> list[Run]:
    """The runs, those called wrong whose bound exceeds a feasible error that anybody found."""
    judged = []
    for run in runs:
        upper = best.get(run.instance)
        if run.lower is not None and upper is not None and run.outcome != "wrong":
            floor = FLOOR * references[run.instance]
            if run.lower > upper * (1 + WRONG) + floor:
                why = f"bound {run.lower:.9g} is above a feasible e(x) {upper:.9g}"
                run = replace(run, outcome="wrong", why=why)
        judged.append(run)
    return judged
