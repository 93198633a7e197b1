"""Our exact engine: enumeration on the Cholesky factor for grids, best-first search over masks for pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Options, Solver
from ..result import Outcome, Status

ENUMERATED = 24
"""Joint rows of at most so many inputs are enumerated in no time; relaxations of others are compiled before."""


class BranchAndBound(Solver):
    """Exact search for every grid and pattern; on a limit, the best bound of its open nodes."""

    name = "bnb"
    summary = "our branch and bound: exact for grids, k-sparsity, N:M, blocks and both together"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves = "optimum"

    def _prepare(self, problems: Sequence[Problem]) -> None:
        problem = problems[0]
        if problem.grid is None and problem.sparsity is not None and problem.sparsity.update:
            from .masks import prepare_masks

            prepare_masks(problem)
        else:
            from .enumeration import prepare_grid

            prepare_grid(problem)
        if problem.grid is not None and problem.sparsity is not None and problem.n > ENUMERATED:
            from .masks import prepare_masks

            prepare_masks(problem)
            prepare_grid(replace(problem, sparsity=None))

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        # Imported here: the compiled kernels take a second to load, `pvq solvers` does not need them.
        if problem.grid is None and problem.sparsity is not None and problem.sparsity.update:
            from .masks import solve_masks

            outcome = solve_masks(problem, options, start)
            return _with_proof(problem, options, outcome) if options.prove else outcome
        if problem.grid is not None and problem.sparsity is not None:
            from .joint import solve_joint

            return solve_joint(problem, options, start)
        from .enumeration import solve_grid

        return solve_grid(problem, options, start)


def _with_proof(problem: Problem, options: Options, outcome: Outcome) -> Outcome:
    """The outcome with a tree that proves it, if it is the optimum and was found in few nodes."""
    from .proof_tree import MAX_LEAVES, proof_of_optimum

    if (
        outcome.x is None
        or outcome.status is not Status.OPTIMAL
        or outcome.nodes > MAX_LEAVES
        or options.stop.is_set()
    ):
        return outcome
    upper = problem.error(outcome.x)
    lower = upper - problem.gap_tolerance(upper, options.gap) / 2
    return replace(outcome, proof=proof_of_optimum(problem, lower)) if lower > 0 else outcome
