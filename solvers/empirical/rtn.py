"""Round to nearest: the baseline that ignores H."""

from __future__ import annotations

from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Options
from .heuristic import Heuristic


class RoundToNearest(Heuristic):
    """x_i = the level nearest to w_i (clipped to the grid)."""

    name = "rtn"
    summary = "round to nearest"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        return problem.levels.nearest(problem.weight)
