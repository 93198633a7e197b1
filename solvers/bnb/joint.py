"""Pruning and quantization together: enumeration, and where it is cut short the best of three relaxations."""

from __future__ import annotations

from dataclasses import replace

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Clock, Options
from ..result import Outcome, Status
from .enumeration import solve_grid
from .masks import solve_masks

SHARE = 0.4
"""Part of the time left that enumeration takes, then pruning alone; quantization alone has the rest."""


def solve_joint(problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
    """Enumerate; if that is cut short, raise its bound by those of the relaxations, all within the time limit.

    Leaving out the grid, or (where 0 is a level) the pattern, leaves a problem with a smaller optimum, whose own
    search has a lower bound at any time; `bound_row` has both constraints in one certificate.
    """
    clock = Clock(options)
    outcome = solve_grid(
        problem, replace(_within(options, clock, SHARE), report=options.report, prove=options.prove), start
    )
    if outcome.status is Status.OPTIMAL or options.stop.is_set() or outcome.x is None:
        return outcome
    sparsity = problem.sparsity
    assert sparsity is not None
    from ..bound.patterned import bound_row, dense  # compiled code of its own, which rows that end do not need

    found, proof = bound_row(problem, problem.error(outcome.x), clock)
    lowers = [outcome.lower, found]
    free = Problem(problem.weight, problem.gram, None, replace(sparsity, update=True))
    if sparsity.binding:
        lowers.append(solve_masks(free, _within(options, clock, SHARE), None).lower)
    without = dense(problem)
    if without is not None:
        lowers.append(solve_grid(without, _within(options, clock, 1.0), None).lower)
    lower = max(lowers)
    return replace(outcome, lower=lower, proof=proof if found >= lower else None)


def _within(options: Options, clock: Clock, share: float) -> Options:
    """Limits of one of the searches: a share of the time left; it reports nothing, being of another problem."""
    left = None if options.time_limit is None else max(0.0, share * clock.left)
    return replace(options, time_limit=left, report=None, prove=False)
