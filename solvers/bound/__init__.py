"""Certified intervals for rows of any size: a relaxation's lower bound and a polished upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Options, Solver
from ..result import Outcome
from ..tiny import TINY, tiny_rows


class Bound(Solver):
    """The relaxation bounds of a row: no search, so any size; ends when it stops gaining or at the time limit."""

    name = "bound"
    summary = "our relaxation: a certified interval for rows of any size"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves = "bound"

    def _prepare(self, problems: Sequence[Problem]) -> None:
        from .layer_wide import LayerWide
        from .row import prepare_rows
        from .rows import prepare_together

        if prepare_together(problems):
            LayerWide().compile(problems[0])
            return
        prepare_rows(problems)
        if len(problems[0].gram) > TINY:
            for tiny in tiny_rows(problems[0]):
                self.solve(tiny, Options(time_limit=None))  # compiling alone may take longer than a limit

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        # Imported here: the compiled kernels take a second to load, `pvq solvers` does not need them.
        from .row import bound_of_row
        from .rows import bound_alone

        long = bound_alone(problem, options, start)
        return bound_of_row(problem, options, start) if long is None else long

    def together(self, problem: Problem) -> int:
        """Long rows are bounded in chunks."""
        from .rows import CHUNK, can_be_together

        return CHUNK if can_be_together(problem) else 1

    def _solve_rows(
        self, problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
    ) -> list[Outcome] | None:
        from .rows import bound_together

        return bound_together(problems, options, starts)
