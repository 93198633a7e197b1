"""What methods share whose answer is one compensated sweep over the inputs: rows are swept together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem

from ..base import Options
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
        from .sweep import swept_rows

        gram = problems[0].gram
        order = self._order(gram)
        factor = self._factor(gram, order)
        points: list[FloatArray] = []
        while len(points) < len(problems):
            rows = _alike(problems[len(points) : len(points) + TOGETHER])
            w, grids = np.array([row.weight for row in rows]), [row.grid for row in rows]
            if order is None:
                points += list(swept_rows(w, factor, grids, rows[0].sparsity))
                continue
            x = np.empty_like(w)
            grids = [None if grid is None else grid.take(order) for grid in grids]
            x[:, order] = swept_rows(w[:, order], factor, grids)
            points += list(x)
        return points


def _alike(problems: Sequence[Problem]) -> Sequence[Problem]:
    """The first of the problems, up to one with other groups of inputs, levels or kept units."""
    for i, problem in enumerate(problems):
        if not (_same_groups(problem, problems[0]) and _same_pattern(problem, problems[0])):
            return problems[:i]
    return problems


def _same_groups(one: Problem, other: Problem) -> bool:
    a, b = one.grid, other.grid
    if a is b or a is None or b is None:
        return a is b
    return a.levels.shape == b.levels.shape and np.array_equal(a.group, b.group)


def _same_pattern(one: Problem, other: Problem) -> bool:
    a, b = one.sparsity, other.sparsity
    if a is b or a is None or b is None:
        return a is b
    parts = zip((a.unit, a.group, a.keep), (b.unit, b.group, b.keep), strict=True)
    return all(np.array_equal(mine, yours) for mine, yours in parts)
