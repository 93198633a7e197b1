"""The default: exact search where it can end, the relaxation where it cannot, both in between."""

from __future__ import annotations

from typing import ClassVar

from pvq.bounds.problem import Problem

from .base import Solver
from .bnb import BranchAndBound
from .bnb.promising import Promising
from .bound import Bound
from .composite import Composite

EXACT = 72
"""Live inputs up to which the exact search alone is taken: it ends within seconds there."""

SEARCHED = 128
"""Live inputs up to which the search always follows the relaxation."""

LOOKED_AT = 192
"""Live inputs up to which it does on grids where it should end within the limit; a sample tells in .3 s."""


class Auto(Composite):
    """Chooses per row between `bnb` and `bound`; the result's `solver` says which of them gave the lower bound."""

    name = "auto"
    summary = "the default: bnb where it can end, bound for longer rows, both in between"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves = "optimum"

    def parts(self, problem: Problem) -> tuple[Solver, ...]:
        """`bnb`, `bound`, or `bound` and then `bnb`, by the number of live inputs."""
        exact, relaxation = BranchAndBound(), Bound()
        n = int(problem.gram.live.sum())
        if n <= EXACT or relaxation.why_unsupported(problem) is not None:
            return (exact,)
        if n <= SEARCHED:
            return relaxation, exact
        looked_at = n <= LOOKED_AT and problem.sparsity is None
        return (relaxation, Promising()) if looked_at else (relaxation,)
