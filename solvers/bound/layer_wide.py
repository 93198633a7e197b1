"""Lower bounds of all rows of a layer with one D: milliseconds a row, no search of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split

from ..base import Clock, Options, Solver, fallback_point
from ..result import Outcome
from ..tiny import TINY, tiny_rows

CHUNK = 64
"""Rows of a chunk: products are of full speed, and a verdict may come after any of them."""


class LayerWide(Solver):
    """The batch of `rows`, also where rows are short: for comparisons, where most rows need a rough bound only.

    H - D is positive semidefinite whatever is pruned or rounded, so that one D bounds every row. Where there is no
    batch (units of several inputs, a singular H) pruned rows have the diagonal that was fitted to the first
    sparsity of the layer, and quantized ones no bound.
    """

    name = "bound"
    summary = "one D for all rows of a layer"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune"})
    no_update = False
    proves = "bound"

    def __init__(self, points: bool = True, own: bool = True) -> None:
        """How much pruned rows take.

        Parameters
        ----------
        points : else they keep the weights that they start from; swaps take most of the time of a long row.
        own : else rows with a near-null direction have the layer's D alone, in a fifth of the time.
        """
        self.points, self.own = points, own

    def _prepare(self, problems: Sequence[Problem]) -> None:
        from .rows import fits_batch, prepare_batch

        self.compile(problems[0])
        if not (fits_batch(problems[0]) and prepare_batch(problems)) and problems[0].sparsity is not None:
            self._layer(problems)

    def compile(self, problem: Problem) -> None:
        """What rows like this one take, and their proofs, on rows of three inputs: no row waits for it."""
        if problem.n > TINY:
            for tiny in tiny_rows(problem):
                if self.why_unsupported(tiny) is None:
                    self.solve_rows([tiny], Options(time_limit=None), [None])

    def together(self, problem: Problem) -> int:
        """As many rows as a chunk has, where there is a batch for them."""
        from .rows import fits_batch

        return CHUNK if fits_batch(problem) else 1

    def _solve_rows(
        self, problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
    ) -> list[Outcome] | None:
        from .rows import bound_batch

        return bound_batch(problems, options, starts, self.points, self.own)

    def _layer(self, problems: Sequence[Problem]) -> Below:
        from ..relax.pruning import shared

        sparsity = problems[0].pattern
        pattern = sparsity.unit.tobytes(), sparsity.group.tobytes()
        return problems[0].gram.memo(LayerWide._layer, lambda: shared(problems), *pattern)

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        from ..relax.pruning import PrunedRow, bound_by_diagonal
        from .rows import bound_batch

        together = bound_batch([problem], options, [start], self.points, self.own)
        if together is not None:
            return together[0]
        x = fallback_point(problem) if start is None else start
        upper = problem.certified(x).upper
        if upper <= 0.0 or problem.sparsity is None:
            return Outcome(x, 0.0)
        at_once = Clock(replace(options, time_limit=0.0))  # the row's own ascent is left out
        below, relaxed = bound_by_diagonal(PrunedRow.of(problem, upper), at_once, self._layer([problem]))
        if not relaxed.bound > 0.0:
            return Outcome(x, 0.0)
        return Outcome(x, relaxed.bound, proof=Split(below, relaxed.point - problem.weight))
