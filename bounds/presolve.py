"""Take dead inputs out of a row before a solver sees it, and put them back into its answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .gram import FloatArray, IntArray
from .problem import Problem


@dataclass(frozen=True, eq=False)
class Presolved:
    """A row without its dead inputs; its errors are those of the original row."""

    original: Problem
    problem: Problem | None
    """None if every input is dead."""
    live: IntArray
    """Indices of the inputs that `problem` has."""

    def lift(self, x: FloatArray) -> FloatArray:
        """An x of the reduced row as an x of the original: dead inputs take the value that costs nothing.

        That is 0 where a sparsity pattern holds (so they never use its budget) and the nearest level on a grid.
        """
        original = self.original
        if original.sparsity is None and original.grid is not None:
            full = original.grid.nearest(original.weight)
        else:
            full = np.zeros(original.n)
        full[self.live] = x
        return full

    def lift_or_none(self, x: FloatArray | None) -> FloatArray | None:
        """The same for what may be no point of the reduced row: None then."""
        return None if x is None or x.shape != self.live.shape else self.lift(x)


def presolve(problem: Problem) -> Presolved:
    """Remove the dead inputs (zero rows of H); budgets are kept as they are, since a dead input can be pruned."""
    live = np.flatnonzero(problem.gram.live).astype(np.int64)
    if len(live) == problem.n:
        return Presolved(problem, problem, live)
    return Presolved(problem, problem.take(live) if len(live) else None, live)
