"""A pruned long row with a diagonal of its own, a few sweeps from that of its layer."""

from __future__ import annotations

from dataclasses import replace

from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below, Split

from ...base import Clock
from ...kernels.digits import shortened
from ...limits import Pace
from ...result import Outcome, Reason
from .diagonal import Course, nearer
from .exchanges import exchanged
from .pruned import PrunedLayer, swapped
from .relaxation import relax

FROM_NEAR = Course((0.5, 0.14), sweeps=4, first=40, steps=15)
"""The layer's D is near already; three sweeps give .99 of what fifteen do. At 2048 inputs and 75 % four give as
much as five, for half a second less; three are .05 below Newton's steps at 48 inputs."""

STEPS = 60
"""Steps of the relaxation at the row's own D; 20 give .006 of the upper end less."""


def with_own_diagonal(problem: Problem, layer: PrunedLayer, found: Outcome, clock: Clock) -> Outcome:
    """What is found of a row with a D of its own, where that is better; as it is where there is no time.

    A sweep takes an inverse and as much again. Swaps follow, from the better one of two points.
    """
    pace = Pace(clock)
    if pace.ended() or found.x is None or layer.intervals is not None:
        return found
    w, cut = problem.weight[None], False

    def ended() -> bool:
        nonlocal cut
        cut = cut or pace.ended()
        return cut

    at = nearer(layer.hessian, layer.at.d, w, layer.groups, ended, FROM_NEAR)
    if at is None:
        return found
    relaxed = relax(at, w, layer.groups, STEPS)
    residual = (w[0] - relaxed.x[0]) @ layer.hessian + at.d * relaxed.x[0]
    x = swapped(problem, layer, problem.hessian @ problem.weight, residual * residual / at.d, clock)
    x = min((found.x, x), key=problem.error)
    x = optimal_on_support(problem, exchanged(problem, x != 0.0, layer.groups, clock))
    if problem.error(x) < problem.error(found.x):
        found = replace(found, x=x)
    if cut or clock.ended() is not None:  # with more time it would go on: the rounds of a budget ask
        found = replace(found, reason=clock.ended() or Reason.TIME)
    bound = float(relaxed.bound[0])
    if not bound > found.lower:
        return found
    return replace(found, lower=bound, proof=Split(Below(at.d), shortened(relaxed.x[0] - problem.weight)))
