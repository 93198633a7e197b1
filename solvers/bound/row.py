"""One row through the relaxation that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split

from ..base import Clock, Options
from ..bnb.beam import upper_point
from ..bnb.interval_search import IntervalSearch
from ..bnb.proof_tree import MAX_LEAVES
from ..relax import near_null, patterned, pruning
from ..relax.bounded import Bounded
from ..result import Outcome, Reason
from . import branching, clipped, own_blocks, quantization, searched
from .layer_wide import LayerWide

SHORT = 40
"""Pruned rows of at most so many inputs have a tree on top whatever the intervals said: it may end them."""

NODES = 2 * MAX_LEAVES - 2
"""Nodes of the tree on top of a row with fixed weights: as many as make a proof."""


def prepare_rows(problems: Sequence[Problem]) -> None:
    """Layer-wide work for rows that share a Gram matrix and have no dead inputs."""
    if problems[0].method == "quant":
        if quantization.prepare(problems[0]) is not None:
            LayerWide().compile(problems[0])
        searched.prepare(problems[0])
        return
    pruning.start_of(problems[0].gram)
    if problems[0].free_weights:
        branching.prepare(problems[0])
        direction = near_null.near_null(problems[0].gram)
        if direction is not None:
            pruning.start_of(direction.stiff)
    else:
        dense = [row for row in map(patterned.dense, problems) if row is not None]
        if dense:
            quantization.prepare(dense[0])


def bound_of_row(problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
    """Lower bound, upper bound and proof of a row."""
    clock = Clock(options)
    if problem.method == "quant":
        return _quantized(problem, options, clock, start)
    return (_pruned if problem.free_weights else _patterned)(problem, options, clock, start)


def _reason(clock: Clock) -> Reason:
    return clock.ended() or Reason.FINISHED


def _pruned(problem: Problem, options: Options, clock: Clock, start: FloatArray | None) -> Outcome:
    points = [pruning.upper_point(problem)]
    if start is not None and problem.is_feasible(start):
        points.append(start)
    x = min(points, key=problem.error)
    upper = problem.certified(x).upper
    if upper <= 0.0:
        return Outcome(x, 0.0)
    direction = near_null.near_null(problem.gram)
    best, split = Bounded(0.0), None
    if direction is not None:
        best = near_null.bound_by_intervals(problem, upper, direction, clock)
    if direction is None or best.lower <= 0.0 or direction.apart < near_null.FAR or problem.n <= SHORT:
        below, relaxed = pruning.bound_by_pairs(pruning.PrunedRow.of(problem, upper), clock)
        split = Split(below, relaxed.point - problem.weight)
        alone = Bounded(relaxed.bound, split)
        tree = branching.branch(problem, x, upper, below, relaxed.point, options, clock)
        best = max(best, alone, tree, key=_lower)
    return Outcome(x, best.lower, _reason(clock), proof=best.proof, elsewhere=split)


def _lower(bounded: Bounded) -> float:
    return bounded.lower


def _quantized(problem: Problem, options: Options, clock: Clock, start: FloatArray | None) -> Outcome:
    x = upper_point(problem, start)
    upper = problem.certified(x).upper
    if upper <= 0.0:
        return Outcome(x, 0.0)
    blocks = own_blocks if options.effort == "high" else quantization
    relaxations = blocks, searched, clipped
    bounds = [relaxation.bound_row(problem, x, upper, options, clock) for relaxation in relaxations]
    best, nodes = max(bounds, key=_lower), sum(bounded.nodes for bounded in bounds)
    ceiling = max((bounded.ceiling for bounded in bounds if bounded.ceiling is not None), default=None)
    # of blocks: where another bound is above, it says nothing
    info: dict[str, Any] = {} if ceiling is None or ceiling <= best.lower else {"ceiling": ceiling}
    places = [bounded.device for bounded in bounds if bounded.device is not None]
    if places:
        info["device"] = places[0]
    return Outcome(x, max(0.0, best.lower), _reason(clock), nodes, info, best.proof)


def _patterned(problem: Problem, options: Options, clock: Clock, start: FloatArray | None) -> Outcome:
    x = patterned.upper_point(problem, start)
    upper = problem.certified(x).upper
    if upper <= 0.0:
        return Outcome(x, 0.0)
    lower, split = patterned.bound_by_split(problem, upper, clock)
    if problem.grid is None and clock.ended() is None:
        return _grown(problem, x, lower, split, options, clock)
    best, dense = Bounded(lower, split), patterned.dense(problem)
    if dense is not None and clock.ended() is None:
        best = max(best, quantization.bound_row(dense, x, upper, options, clock), key=_lower)
    return Outcome(x, best.lower, _reason(clock), best.nodes, proof=best.proof)


def _grown(problem: Problem, x: FloatArray, lower: float, split: Split, options: Options, clock: Clock) -> Outcome:
    """Fixed weights: a tree on top, whose leaves share D, so that it is its own proof."""
    search = IntervalSearch(problem, split, lower, x, 1 - options.gap / 2, MAX_LEAVES * problem.n)
    reason = search.run(clock, min(NODES, options.node_limit or NODES))
    if not search.lower > lower:
        return Outcome(search.x, lower, _reason(clock), search.nodes, proof=split)
    if reason is Reason.NODES and options.node_limit is None:  # its own limit is all that it does
        reason = Reason.FINISHED
    return Outcome(search.x, search.lower, reason, search.nodes, proof=search.tree(), elsewhere=split)
