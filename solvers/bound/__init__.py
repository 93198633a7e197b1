"""Certified intervals for rows of any size: a relaxation's lower bound and a polished upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity

from ..base import Options, Solver
from ..result import Outcome

TINY = Problem(np.array([1.0, 0.5, 0.25]), Gram.from_array(np.eye(3) + 0.5), None, Sparsity.row(3, 1))


class Bound(Solver):
    """The relaxation bounds of a row: no search, so any size; ends when it stops gaining or at the time limit."""

    name = "bound"
    summary = "our relaxation: a certified interval for rows of any size"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune"})
    no_update = False
    proves = "bound"

    def _prepare(self, problems: Sequence[Problem]) -> None:
        from .row import prepare_rows

        prepare_rows(problems)
        if len(problems[0].gram) > len(TINY.gram):  # compiles what the rows need, the verifier included
            self.solve(TINY)

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        # Imported here: the compiled kernels take a second to load, `pvq solvers` does not need them.
        from .row import bound_of_row

        return bound_of_row(problem, options, start)
