"""Lower bounds of many rows at one diagonal, for all sparsities of a layer: milliseconds a row, no search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split

from ..base import Clock, Options, Solver, fallback_point
from ..result import Outcome


class SharedDiagonal(Solver):
    """The relaxation of `bound` at the diagonal that was fitted to the first sparsity of a layer.

    H - D is positive semidefinite whatever is pruned, so one D bounds every row at every sparsity. The point it is
    given is its upper end. For comparisons, where rows are many and most need a rough bound only.
    """

    name = "bound"
    summary = "one diagonal for all rows and sparsities of a layer"
    methods: ClassVar[frozenset[str]] = frozenset({"prune"})
    no_update = False
    proves = "bound"

    def _prepare(self, problems: Sequence[Problem]) -> None:
        self._layer(problems)

    def _layer(self, problems: Sequence[Problem]):  # type: ignore[no-untyped-def]
        from ..relax.pruning import shared

        sparsity = problems[0].pattern
        pattern = sparsity.unit.tobytes(), sparsity.group.tobytes()
        return problems[0].gram.memo(SharedDiagonal._layer, lambda: shared(problems), *pattern)

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        from ..relax.pruning import PrunedRow, bound_by_diagonal

        x = fallback_point(problem) if start is None else start
        upper = problem.certified(x).upper
        if upper <= 0.0:
            return Outcome(x, 0.0)
        at_once = Clock(replace(options, time_limit=0.0))  # the row's own ascent is left out
        below, relaxed = bound_by_diagonal(PrunedRow.of(problem, upper), at_once, self._layer([problem]))
        if not relaxed.bound > 0.0:
            return Outcome(x, 0.0)
        return Outcome(x, relaxed.bound, proof=Split(below, relaxed.point - problem.weight))
