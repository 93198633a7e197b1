"""Patterns whose kept inputs have given values, a grid or their weight: enumeration, or search over intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Proof
from pvq.bounds.sparsity import Sparsity

from ..base import Clock, Options
from ..result import Outcome, Status
from .enumeration import prepare_grid, solve_grid

FEW = 20_000
"""Nodes of the enumeration: a row that ends there has a proof that is one order and one threshold."""

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
    search_intervals(tiny, np.zeros(TINY), 0.0, Options(time_limit=None, prove=True))


def solve_values(problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
    """Enumerate; what does not end at once is searched over intervals of values, see `interval_search`."""
    clock = Clock(options)
    most = FEW if options.node_limit is None else min(FEW, max(1, options.node_limit // 2))
    outcome = solve_grid(problem, replace(options, node_limit=most), start)
    ended = outcome.status is not Status.NODE_LIMIT or outcome.x is None
    if ended or clock.ended() is not None:
        return outcome
    left = None if options.time_limit is None else max(0.0, clock.left)
    nodes = None if options.node_limit is None else max(1, options.node_limit - outcome.nodes)
    assert outcome.x is not None
    found = search_intervals(
        problem, outcome.x, outcome.lower, replace(options, time_limit=left, node_limit=nodes)
    )
    return replace(found, nodes=outcome.nodes + found.nodes)


def search_intervals(problem: Problem, x: FloatArray, lower: float, options: Options) -> Outcome:
    """The search over intervals, from a known point and a known bound; a tree of few leaves is the proof."""
    from ..bound import patterned  # which uses kernels of this package
    from .interval_search import Search

    clock = Clock(options)
    x = patterned.upper_point(problem, x)
    found, split = patterned.bound_row(problem, problem.error(x), clock)
    search = Search(problem, split, max(lower, found), x, 1 - options.gap / 2)
    status = search.run(options, clock)
    proof: Proof | None = search.tree() if options.prove else None
    if proof is None and search.lower <= found:
        proof = split
    return Outcome(search.x, max(0.0, search.lower), status, search.nodes, proof=proof)
