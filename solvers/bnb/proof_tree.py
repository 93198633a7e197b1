"""A lower bound for pruning with its proof: a tree whose leaves each have a relaxation of their own.

The search for masks (`masks`) throws its nodes away, and fixes units by reduced costs, which prove nothing of the
nodes that are left out. Here a child is bounded at once and stays a leaf until it is the least one and is split,
so that the leaves cover every mask at any time. Relaxation and branching are the same; it takes more nodes so.
"""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split, Tree
from pvq.bounds.verify.row import SAFETY, NotProven, split_bounds

from ..base import Clock, Options
from ..compile_time import working_seconds
from ..kernels.apart import entry
from ..kernels.sparing import ONE, assign
from .leaf_split import has_dependent, leaf_splits
from .masks import prepared, row_in_scale
from .node import ScaledRow, settle
from .node_bound import bound_of
from .pool import FREE, KEPT, PRUNED, Pool, new_pool, pop, push, release
from .recorded import recorded
from .tree import FIRST_ROUNDS, ROOT_ROUNDS, Work, branching_unit, inherit, opened, record, room_for

MAX_LEAVES = 1000
"""Leaves of a proof: at 64 inputs 1 MB of numbers, and a second to verify."""

CHUNK = 20
"""Leaves split between two looks at the clock."""

MORE = 20
"""Leaves beyond that number, where the last ones are below their parents."""

LONGER = 2.0
"""Times as long as the first leaf that others may take: some keep inputs, and the machine has other work."""

CLEARLY = 1 - 1e-8
"""The D of a proof is this much smaller than the tested one: room for the kept inputs and for rounding."""

LOWERED = 1e-6
"""A tree claims this much less than its leaves were bounded by, so that rounding is covered."""

TAKEN = (1.0, 0.5, 0.0)
"""Parts of a sweep, one after the other, for a leaf that is below the node it came from, as happens when all of it
goes too far. With .6 for all leaves proofs of 64 inputs have a fifth more of them."""


@entry()
def bound_leaf(
    row: ScaledRow,
    pool: Pool,
    unit: IntArray,
    slot: int,
    state: np.ndarray,
    work: Work,
    upper: float,
    target: float,
    rounds: int,
) -> None:
    """Make a leaf of a state: its bound, D and x, from those in the record `slot`, and the unit to branch on."""
    free_units = settle(row, state, work.left)
    node = opened(row, pool.partner[slot], state, free_units, work)
    known = max(pool.key[slot], 0.0)
    bound, choice = node.c, -1
    if free_units > 0:
        for part in TAKEN:
            inherit(row, pool, slot, state, node)
            missing = max(upper - known, 0.0)
            bound = bound_of(node.free, node.c, node.pairs, target, missing, rounds, True, False, part)
            if bound >= known:
                break
        choice = node.names[branching_unit(node.free, state, node.names)]
    new = push(pool, bound)
    assign(pool.state[new], state)
    unit[new] = choice
    record(pool, new, node)


@entry()
def split_leaves(row: ScaledRow, pool: Pool, unit: IntArray, upper: float, target: float, budget: int) -> bool:
    """Split the leaf with the least bound `budget` times; False as soon as that cannot or need not go on."""
    work = room_for(row)
    for _ in range(budget):
        slot = pool.heap[0]
        if pool.key[slot] >= target or unit[slot] < 0 or pool.size[1] < 3:
            return False
        pop(pool)
        for side in (KEPT, PRUNED):
            state = pool.state[slot].copy()
            state[unit[slot]] = side
            bound_leaf(row, pool, unit, slot, state, work, upper, target, ONE)
        release(pool, slot)
    return True


def grow(
    problem: Problem, start: Below, x: FloatArray, upper: float, target: float, leaves: int, clock: Clock
) -> tuple[float, Tree]:
    """A tree that is grown until its bound reaches a target, it has so many leaves, or time ends.

    Parameters
    ----------
    problem : a row without dead inputs, with re-optimised kept weights.
    start : D of the first node, H - D positive definite.
    x : (n,) a point of the relaxation at it.
    upper : error of a feasible point.
    clock : when the tree has to be verified; what that takes, and the splits of the leaves, is left of its time.

    Returns
    -------
    Its bound, before it is verified, and the tree. Where inputs are dependent leaves are verified at once, and one
    that proves less than its relaxation says is split again.
    """
    row, scale, size = row_in_scale(problem), prepared(problem.gram).scale, float(np.abs(problem.weight).max())
    error = scale * size * size
    pool = new_pool(leaves + MORE + 4, len(row.group), problem.n, np.float64)
    unit = np.full(len(pool.key), -1)
    first = push(pool, 0.0)
    pool.state[first], pool.x[first], pool.d[first] = FREE, x / size, start.d / scale
    pool.partner[first], pool.e[first] = -1, 0.0
    for one, other in (start.pairs.T, start.pairs.T[::-1]):
        pool.partner[first, one], pool.e[first, one] = other, start.across / scale
    for rounds in (FIRST_ROUNDS, ROOT_ROUNDS):  # the first pairs what has no partner
        slot = pop(pool)
        state = pool.state[slot].copy()
        bound_leaf(row, pool, unit, slot, state, room_for(row), upper / error, target / error, rounds)
        release(pool, slot)
    each = _seconds_of_leaf(problem, pool, scale, size)
    known: dict[int, tuple[bytes, Split, float]] = {}
    failing, before, reached = leaves, 0, pool.key[pool.heap[0]]
    while True:
        while clock.left > each * (pool.size[0] + CHUNK) and clock.ended() is None and pool.size[0] < leaves:
            budget = min(CHUNK, leaves - int(pool.size[0]))
            if not split_leaves(row, pool, unit, upper / error, target / error, budget):
                break
            reached = max(reached, pool.key[pool.heap[0]])
        for _ in range(MORE):  # else a single leaf that has just been made may be far below all others
            if pool.key[pool.heap[0]] >= reached or clock.ended() is not None:
                break
            split_leaves(row, pool, unit, upper / error, target / error, ONE)
        slots = np.sort(pool.heap[: pool.size[0]])
        bound = float(pool.key[slots].min()) * error
        for slot in slots.tolist():
            state = pool.state[slot]
            if slot not in known or known[slot][0] != state.tobytes():
                split = _split(problem, pool, slot, scale, size)
                known[slot] = state.tobytes(), *_proven(problem, split, state, min(bound, target), clock)
        proven = np.array([known[slot][2] for slot in slots])
        less = proven < min(bound, target)
        pool.key[slots[less]] = proven[less] / error
        pool.heap[: len(slots)] = slots[np.argsort(pool.key[slots], kind="stable")]
        count = int(less.sum())
        if clock.ended() is not None or bound < target or not 0 < count <= min(2 * failing, leaves - len(slots)):
            break
        if len(slots) == before:  # what has decided everything and is not proven cannot be split
            break
        failing, before = min(failing, count), len(slots)
    code = recorded(pool.state[slots])
    assert code is not None  # every branch has made both of its leaves
    return min(bound, float(proven.min())), Tree(code, tuple(known[slot][1] for slot in slots.tolist()))


def proof_of_optimum(
    problem: Problem, upper: float, lower: float, clock: Clock | None = None
) -> tuple[float, Tree]:
    """A tree that proves `lower`, a little below the optimum `upper`, or else as much as leaves and time allow.

    clock : when the tree has to be verified; without one it takes the time that it needs.
    """
    layer = prepared(problem.gram)
    start = Below(layer.d * (1 - 1e-6) * layer.scale)
    clock = Clock(Options(time_limit=None)) if clock is None else clock
    return grow(problem, start, problem.weight, upper, lower, MAX_LEAVES, clock)


def tree_of_row(
    problem: Problem, upper: float, target: float, leaves: int, clock: Clock
) -> tuple[float, Tree, Split]:
    """What is grown from the row's relaxation in the time there is: its bound, the tree, and its first split."""
    from ..relax.pruning import PrunedRow, bound_by_pairs

    below, relaxed = bound_by_pairs(PrunedRow.of(problem, upper), clock)
    bound, tree = grow(problem, below, relaxed.point, upper, target, leaves, clock)
    bound = min(bound, upper) * (1 - LOWERED) if math.isfinite(bound) else 0.0
    return bound, tree, Split(below, relaxed.point - problem.weight)


def _seconds_of_leaf(problem: Problem, pool: Pool, scale: float, size: float) -> float:
    """Seconds that a leaf takes to be made and verified, from those of the first: its second split may do."""
    slot, took = int(pool.heap[0]), math.inf
    state = pool.state[slot]
    for _ in range(2):  # what all leaves share is made the first time
        begin = working_seconds()
        splits = leaf_splits(problem, _split(problem, pool, slot, scale, size), state[problem.pattern.unit])
        for candidate in islice(splits, 2):
            _bound(problem, candidate, state)
        took = min(took, working_seconds() - begin)
    return LONGER * took


def _split(problem: Problem, pool: Pool, slot: int, scale: float, size: float) -> Split:
    """D and v of a leaf's free inputs; -w at pruned ones."""
    w, state = problem.weight, pool.state[slot][problem.pattern.unit]
    free = np.flatnonzero(state == FREE)
    first = free[(pool.partner[slot, free] > free) & (pool.e[slot, free] != 0.0)]
    pairs = np.stack([first, pool.partner[slot, first]], axis=1)
    across = CLEARLY * scale * pool.e[slot, first]
    d, v = np.zeros(len(w)), np.where(state == PRUNED, -w, 0.0)
    d[free] = CLEARLY * scale * pool.d[slot, free]
    v[free] = size * pool.x[slot, free] - w[free]
    return Split(Below(d, (), pairs, across), v)


def _proven(problem: Problem, split: Split, state: np.ndarray, least: float, clock: Clock) -> tuple[Split, float]:
    """What proves the least of a leaf, (units,) state, or else most, and that.

    Where no input is dependent there is one way, which is taken at its word.
    """
    candidates = leaf_splits(problem, split, state[problem.pattern.unit])
    best = next(candidates)
    if not has_dependent(problem.gram):
        return best, math.inf
    most = _bound(problem, best, state)
    for candidate in candidates:
        if most >= least or clock.ended() is not None:
            break
        bound = _bound(problem, candidate, state)
        if bound > most:
            best, most = candidate, bound
    return best, most


def _bound(problem: Problem, split: Split, state: np.ndarray) -> float:
    try:
        with np.errstate(all="ignore"):
            return split_bounds(problem, split, state[None], SAFETY)[0]
    except NotProven:
        return -math.inf
