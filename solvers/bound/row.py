"""One row through the relaxation that fits it."""

from __future__ import annotations

from collections.abc import Sequence

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Proof, Split

from ..base import Clock, Options
from ..bnb.interval_search import Search
from ..bnb.proof_tree import MAX_LEAVES
from ..relax import near_null, patterned, pruning
from ..result import Outcome, Reason
from . import branching, part_searched, quantization
from .beam import upper_point

NODES = 2 * MAX_LEAVES - 2
"""Nodes of the tree on top of a row with fixed weights: as many as make a proof."""


def prepare_rows(problems: Sequence[Problem]) -> None:
    """Layer-wide work for rows that share a Gram matrix and have no dead inputs."""
    if problems[0].method == "quant":
        quantization.layer_blocks(problems[0])
        part_searched.prepare(problems[0])
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
            quantization.layer_blocks(dense[0])


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
    lower: float = 0.0
    proof: Proof | None = None
    if direction is not None:
        lower, proof = near_null.bound_by_intervals(problem, upper, direction, clock)
    if direction is None or proof is None or direction.apart < near_null.FAR:
        below, relaxed = pruning.bound_row(pruning.Row.of(problem, upper), clock)
        if relaxed.bound > lower:
            lower, proof = relaxed.bound, Split(below, relaxed.point - problem.weight)
        tree = branching.branch(problem, x, upper, below, relaxed.point, options, clock)
        if tree is not None and tree[0] > lower:
            lower, proof = tree
    return Outcome(x, lower, _reason(clock), proof=proof)


def _quantized(problem: Problem, options: Options, clock: Clock, start: FloatArray | None) -> Outcome:
    x = upper_point(problem, start)
    upper = problem.certified(x).upper
    if upper <= 0.0:
        return Outcome(x, 0.0)
    value, blocks = quantization.bound_row(problem, upper, options, clock)
    lower, proof, nodes = part_searched.bound_row(problem, x, options, clock)
    nodes += value.nodes
    if proof is None or value.bound >= lower:
        return Outcome(x, max(0.0, value.bound), _reason(clock), nodes, proof=value.split(blocks))
    return Outcome(x, lower, _reason(clock), nodes, proof=proof)


def _patterned(problem: Problem, options: Options, clock: Clock, start: FloatArray | None) -> Outcome:
    x = patterned.upper_point(problem, start)
    upper = problem.certified(x).upper
    if upper <= 0.0:
        return Outcome(x, 0.0)
    lower, proof = patterned.bound_row(problem, upper, clock)
    if problem.grid is None and clock.ended() is None:
        return _grown(problem, x, lower, proof, options, clock)
    nodes, dense = 0, patterned.dense(problem)
    if dense is not None and clock.ended() is None:
        value, blocks = quantization.bound_row(dense, upper, options, clock)
        nodes = value.nodes
        if value.bound > lower:
            return Outcome(x, value.bound, _reason(clock), nodes, proof=value.split(blocks))
    return Outcome(x, lower, _reason(clock), nodes, proof=proof)


def _grown(problem: Problem, x: FloatArray, lower: float, split: Split, options: Options, clock: Clock) -> Outcome:
    """Fixed weights: a tree on top, whose leaves share D, so that it is its own proof."""
    search = Search(problem, split, lower, x, 1 - options.gap / 2)
    reason = search.run(clock, min(NODES, options.node_limit or NODES))
    tree = search.tree()
    if tree is None or not search.lower > lower:
        return Outcome(search.x, lower, _reason(clock), search.nodes, proof=split)
    if reason is Reason.NODES and options.node_limit is None:  # its own limit is all that it does
        reason = Reason.FINISHED
    return Outcome(search.x, search.lower, reason, search.nodes, proof=tree)
