"""Patterns whose kept inputs have given values, a grid or their weight: enumeration, or search over intervals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Proof
from pvq.bounds.sparsity import Sparsity

from ..base import Clock, Options
from ..result import Outcome, Reason
from .enumeration import prepare_grid, solve_grid
from .interval_search import NUMBERS, WANTED, IntervalSearch

FEW = 20_000
"""Nodes of the enumeration: a row that ends there has a proof that is one order and one threshold."""

RACED = 48
"""Inputs up to which enumeration has turns of its own: 1.6 million nodes for a row of the stem, 1.4 s."""

TURN, GROW, RATE = 4_000, 4, 50
"""Nodes of the search in its first turn, their growth, and nodes of the enumeration in the time of one of them."""

TINY = 5
"""Inputs of the row that is searched to compile everything."""


def prepare_values(problem: Problem) -> None:
    """Compile, and do the layer-wide work, before the clock of a row starts."""
    prepare_grid(problem)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TINY, 3 * TINY))
    grid = None if problem.grid is None else Grid(np.array([[-0.7, 0.0, 0.7]]), np.zeros(TINY, np.int64))
    row = Sparsity.row(TINY, 2, update=grid is not None)
    tiny = Problem(rng.normal(size=TINY), Gram.from_array(x @ x.T), grid, row)
    clock = Clock(Options(time_limit=None))
    search, _ = start_search(tiny, np.zeros(TINY), 0.0, 1e-6, clock)
    search.run(clock)
    search.tree()


def solve_values(
    problem: Problem, options: Options, start: FloatArray | None, proofs: int = 1, enough: float = math.inf
) -> Outcome:
    """Enumerate; what does not end at once is searched over intervals of values, see `interval_search`.

    Short rows go on with both in turns: where H is nearly singular, D is next to 0, and enumeration is better.

    proofs : how many such proofs a row may have, which share what one may be long.
    enough : no higher bound is needed.
    """
    clock = Clock(options)
    limit = math.inf if options.node_limit is None else options.node_limit
    outcome = solve_grid(problem, replace(options, node_limit=int(min(FEW, max(1, limit / 2)))), start)
    if outcome.reason is not Reason.NODES or outcome.x is None or clock.ended() is not None:
        return outcome
    numbers = (WANTED if options.prove else NUMBERS) // proofs
    search, found = start_search(problem, outcome.x, outcome.lower, options.gap, clock, numbers)
    search.enough = enough
    spent, turn = outcome.nodes, TURN if problem.n <= RACED else math.inf
    reason = search.run(clock, min(turn, limit - spent))
    while reason in (Reason.NODES, Reason.MEMORY) and search.nodes + spent < limit and problem.n <= RACED:
        most = int(min(RATE * turn, limit - spent - search.nodes))
        left = None if options.time_limit is None else max(0.0, clock.left)
        again = solve_grid(problem, replace(options, node_limit=most, time_limit=left), search.x)
        spent += again.nodes
        if again.reason is Reason.FINISHED or again.x is None:
            return replace(again, nodes=spent + search.nodes)
        search.take(again.x, again.lower)
        turn *= GROW
        reason = search.run(clock, min(turn, limit - spent))
    return replace(_outcome(search, found, reason), nodes=spent + search.nodes)


def start_search(
    problem: Problem, x: FloatArray, lower: float, gap: float, clock: Clock, numbers: int = NUMBERS
) -> tuple[IntervalSearch, float]:
    """A search from a known point and a known bound, and the bound that D and v of its root prove."""
    from ..relax import patterned  # which uses kernels of this package

    x = patterned.upper_point(problem, x)
    found, split = patterned.bound_by_split(problem, problem.certified(x).upper, clock)
    return IntervalSearch(problem, split, max(lower, found), x, 1 - gap / 2, numbers), found


def _outcome(search: IntervalSearch, found: float, reason: Reason) -> Outcome:
    """With its tree as the proof, or the root's certificate where nothing is better."""
    proof: Proof = search.proof if search.lower <= found else search.tree()
    return Outcome(search.x, max(0.0, search.lower), reason, proof=proof)
