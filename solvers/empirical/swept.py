"""What methods share whose answer is one compensated sweep over the inputs: rows are swept together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem

from ..base import Options, kind_of
from .heuristic import Heuristic

TOGETHER = 64
"""Rows of a sweep: of 2048 inputs, 1 MB that stays in a core's cache."""


class Swept(Heuristic):
    """A `Heuristic` that says with which factor, and in which order, the inputs are swept."""

    @abstractmethod
    def _factor(self, gram: Gram, order: IntArray | None) -> FloatArray:
        """(n, n) upper triangular U with U'U the inverse of H, damped as the method has it, inputs in `order`."""

    def _order(self, gram: Gram) -> IntArray | None:
        """(n,) the inputs in the order of the sweep; None for their own."""
        return None

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        return self._points([problem], options)[0]

    def _points(self, problems: Sequence[Problem], options: Options) -> list[FloatArray]:
        gram = problems[0].gram
        order = self._order(gram)
        factor = self._factor(gram, order)
        points: list[FloatArray] = []
        for _, alike in groupby(problems, key=_kind):
            rows = list(alike)
            for first in range(0, len(rows), TOGETHER):
                points += _swept(rows[first : first + TOGETHER], factor, order)
        return points


def _kind(problem: Problem) -> object:
    """What rows have in common that are swept together."""
    return kind_of(problem), None if problem.sparsity is None else problem.sparsity.keep.tobytes()


def _swept(rows: Sequence[Problem], factor: FloatArray, order: IntArray | None) -> list[FloatArray]:
    from .sweep import swept_rows

    w, grids = np.array([row.weight for row in rows]), [row.grid for row in rows]
    if order is None:
        return list(swept_rows(w, factor, grids, rows[0].sparsity))
    x = np.empty_like(w)
    x[:, order] = swept_rows(w[:, order], factor, [None if grid is None else grid.take(order) for grid in grids])
    return list(x)
