"""The search for masks with its proof in the same time: a part goes to better points, the rest to a tree."""

from __future__ import annotations

from dataclasses import replace

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Clock, Options
from ..result import Outcome, Reason
from . import BranchAndBound

SEARCHED = 0.1
"""Part of the time for the search, which finds better points than the tree starts from. With a fifth or a third
lower ends of rows that share a budget are .01 to .02 of the upper ends lower, and these the same within .3 %."""


class Proving(BranchAndBound):
    """Prunes as `BranchAndBound`, but where weights are free a limit is for the search and its tree together.

    A search that is cut off has a bound without a proof otherwise, and the tree has about the same bound.
    """

    def __init__(self, leaves: int) -> None:
        self.leaves = leaves
        """Of a tree at most."""

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        if not problem.free_weights or options.time_limit is None:
            return super()._solve(problem, options, start)
        from .masks import solve_masks
        from .proof_tree import tree_of_row

        clock = Clock(options)
        found = solve_masks(problem, replace(options, time_limit=SEARCHED * options.time_limit), start)
        if found.x is None or clock.ended() is not None:
            return found
        upper = problem.certified(found.x).upper
        target = upper - problem.gap_tolerance(found.x, options.gap) / 2
        leaves = min(self.leaves, max(1, (options.node_limit or 2 * self.leaves) // 2))
        bound, tree, split = tree_of_row(problem, upper, target, leaves, clock)
        reason = found.reason if found.reason is Reason.FINISHED else clock.ended() or found.reason
        return replace(found, lower=max(found.lower, bound), reason=reason, proof=tree, elsewhere=split)
