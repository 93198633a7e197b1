"""Our exact engine: enumeration for grids, best-first search over masks for pruning, over values for both.

The map of this folder, entries first:
    enumeration       grids: the order of attempts; `plan`, `factors` prepare, `restated` counts a row in steps,
                      `frontier`, `walk`, `even`, `uneven`, `vectors` search, `lattice` in a reduced basis;
                      `tree_size` samples a tree, `order_search` compares orders by that, `promising` leaves rows
                      that it says are too long, `repeated` asks the verifier where rounding takes too much
    blocks            many short rows with one matrix
    masks             pruning with free weights: `tree` is the search, `node` a node, `node_bound` its bound by
                      `pvq.solvers.relax`, `rounding` its upper end, `pool` the open nodes
    values            grids under a pattern, fixed weights: `interval_search` and `intervals`, or enumeration
    proof_tree        a proof of a pruning optimum; `proving` has both, search and proof, within one limit
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Clock, Options, Solver
from ..limits import LAST, latest
from ..result import Outcome, Reason
from ..tiny import TINY, tiny_rows


class BranchAndBound(Solver):
    """Exact search for every grid and pattern; on a limit, the best bound of its open nodes."""

    name = "bnb"
    summary = "our branch and bound: exact for grids, k-sparsity, N:M, blocks and both together"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves = "optimum"

    def _prepare(self, problems: Sequence[Problem]) -> None:
        problem = problems[0]
        if problem.n > TINY:
            _compile(tiny_rows(problem)[0], prove=False)
        if problem.sparsity is None:
            from .enumeration import prepare_grid

            prepare_grid(problem)
        elif problem.free_weights:
            from .masks import prepare_masks

            prepare_masks(problem)
        else:
            from .values import prepare_values

            prepare_values(problem)

    def _prepare_proof(self, problem: Problem) -> None:
        if problem.n > TINY:
            tiny = tiny_rows(problem)[0]
            kind = None if tiny.sparsity is None else tiny.sparsity.kind
            problem.gram.memo(_compile, lambda: _compile(tiny, prove=True), tiny.method, kind)

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        # Imported here: the compiled kernels take a second to load, `pvq solvers` does not need them.
        if problem.sparsity is None:
            from .enumeration import solve_grid

            return solve_grid(problem, options, start)
        if problem.free_weights:
            from .masks import solve_masks

            end = latest(options, LAST)
            outcome = solve_masks(problem, options, start)
            return _with_proof(problem, options, outcome, end) if options.prove else outcome
        from .values import solve_values

        return solve_values(problem, options, start)


def _compile(tiny: Problem, prove: bool) -> bool:
    """Solve a row that takes no time, with all that prepares and checks it."""
    from pvq.bounds.compiling import compiling

    with compiling():
        BranchAndBound().solve(tiny, Options(time_limit=None, prove=prove))
    return True


def _with_proof(problem: Problem, options: Options, outcome: Outcome, end: Clock) -> Outcome:
    """The outcome with a tree that proves it, or as much of it as a tree can in time.

    end : when the proof has to be verified.
    """
    from .proof_tree import proof_of_optimum

    if outcome.x is None or outcome.proof is not None or options.stop.is_set():
        return outcome
    upper, lower = problem.certified(outcome.x).upper, outcome.lower
    if outcome.reason is Reason.FINISHED or lower == 0.0:  # else cut off: what it has found is enough
        lower = upper - problem.gap_tolerance(outcome.x, options.gap) / 2
    if not (lower > 0 and end.left > 0):
        return outcome
    return replace(outcome, proof=proof_of_optimum(problem, upper, lower, end)[1])
