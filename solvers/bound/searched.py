"""Lower bounds for quantized rows of middling size: the whole tree, up to the threshold that so many nodes reach.

Nothing below the threshold is left when the search ends, so it is a bound, whatever the optimum is. A sample says
beforehand where it may be (`bnb.tree_size`), so that one search is enough.
"""

from __future__ import annotations

import math

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration

from ..base import Clock, Options
from ..bnb.enumeration import prepare_grid
from ..bnb.plan import row_plan
from ..bnb.restated import Restated, restate
from ..bnb.tree_size import sampled_nodes
from ..bnb.walk import Walk
from ..relax.bounded import Bounded

LONGEST = 256
"""Inputs beyond which it is left out: a plan and its samples take longer than the relaxation."""

SHORTEST = 65
"""Inputs below which rows are searched to the end instead."""

NODES = 5_000_000
"""Nodes of the search, a tenth of a second; a verifier takes three."""

FIRST = 1 / 15
"""Part of them for the first pass, whose threshold samples look for: where they are far too small, little is
lost. Of 24 rows of 96 to 192 inputs at 2 and 4 bits 1/15 ends .006 higher than 1/40, in the mean of logarithms."""

STEP, SAMPLES, KEPT = 0.4, 2, 256
"""Of the logarithm of the threshold between samples, those that follow, and nodes of a level."""

STEEPER, STEEPEST = 1.25, 40.0
"""How much larger the power by which nodes grow is than between the last two passes, and what it is before."""

AIM, LAST = 0.5, 0.25
"""Part of the nodes left that the next pass should take, and part that the last may have taken for another."""

CHUNK = 100_000
"""Nodes between two looks at the clock."""


def prepare(problem: Problem) -> None:
    """What all rows of the Gram matrix share."""
    if SHORTEST <= problem.n <= LONGEST:
        prepare_grid(problem)


def bound_row(problem: Problem, x: FloatArray, upper: float, options: Options, clock: Clock) -> Bounded:
    """The highest threshold that a pass has proven; see `Bounded`."""
    if not SHORTEST <= problem.n <= LONGEST or clock.ended() is not None:
        return Bounded(0.0)
    plan, shrink = row_plan(problem, clock), 1 - options.gap / 2
    row = restate(problem, plan)
    end, best, nodes, lower = shrink * upper, upper, 0, 0.0
    threshold, power, before = _reached(row, end, FIRST * NODES), STEEPEST, (0.0, 0.0)
    while True:
        walk, done, left = Walk(row, shrink), False, NODES - nodes
        walk.take_root()
        while not done and walk.nodes < left and clock.ended() is None:
            done = walk.run(CHUNK, best, min(threshold, shrink * best))
            best = min(best, float(walk.bounds[0]))
        nodes += walk.nodes
        if not done:
            break
        lower = min(threshold, shrink * best)
        if lower < threshold or threshold >= end or walk.nodes > LAST * (NODES - nodes):
            break
        if 0 < before[1] < walk.nodes:
            power = STEEPER * math.log(walk.nodes / before[1]) / math.log(threshold / before[0])
        before = threshold, walk.nodes
        reach = (AIM * (NODES - nodes) / max(walk.nodes, 1)) ** (1 / min(max(power, 1.0), STEEPEST))
        threshold = min(threshold * reach, end)
    slack = row.slack(upper)
    if not lower > slack:
        return Bounded(0.0, nodes=nodes)
    return Bounded(lower - slack, Enumeration(plan.for_proofs, lower), nodes)


def _reached(row: Restated, end: float, nodes: float) -> float:
    """A threshold up to `end` that takes at most so many nodes, if samples are right, and not many fewer."""

    def size(at: float) -> float:
        return math.log(max(sampled_nodes(row, math.exp(at), KEPT), 1.0))

    aim, high = math.log(nodes), math.log(end)
    many = size(high)
    if many <= aim:
        return end
    low = high - STEP
    while (few := size(low)) > aim:
        high, many, low = low, few, low - STEP
    for _ in range(SAMPLES):  # log nodes are convex in the logarithm of the threshold: chords end below
        at = low + (high - low) * (aim - few) / (many - few)
        found = size(at)
        if found > aim:
            high, many = at, found
        else:
            low, few = at, found
    return math.exp(low)
