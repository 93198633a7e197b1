"""AdaRound: learn whether each weight is rounded up or down, on the layer-wise objective, without torch."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem

from ..base import Clock, Options
from .heuristic import Heuristic

ITERATIONS = 1000
CHUNK = 100
"""Iterations between two looks at the clock."""


class AdaRound(Heuristic):
    """Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020.

    Minimise e(x) + lambda sum_i (1 - |2 h(V_i) - 1|^beta) over V, x_i = floor_i + (ceil_i - floor_i) h(V_i), with
    the rectified sigmoid h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1) and Adam; beta falls from 20 to 2 and the
    regulariser starts after a fifth of the iterations. In the end h(V) >= 1/2 rounds up. Weights outside the grid
    take its last level.

    Different from the published settings, because the gradient here is exact and not from mini-batches: 1000
    iterations at learning rate 0.05 instead of 10000 at 0.01; and lambda = 10 e(RTN) / n instead of 0.01, which
    depends on the units of the outputs.
    """

    name = "adaround"
    summary = "AdaRound on the layer-wise objective"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .adaround_steps import adam_steps

        grid = problem.levels
        clock = Clock(options)
        rounded = grid.nearest(problem.weight)
        error = problem.error(rounded)
        low, high = neighbours(grid, problem.weight)
        free = high > low
        if error == 0 or not free.any():
            return rounded
        share = (problem.weight[free] - low[free]) / (high[free] - low[free])
        v = np.zeros(problem.n)
        v[free] = np.log((share + 0.1) / (1.1 - share))  # h(v) = share: the start is w itself
        momentum, square = np.zeros(problem.n), np.zeros(problem.n)
        # the objective in units of e(RTN) / n
        weight, h, unit = problem.weight, problem.hessian, error / problem.n
        for first in range(0, ITERATIONS, CHUNK):
            decided = adam_steps(h, weight, low, high, unit, v, momentum, square, first, first + CHUNK, ITERATIONS)
            if decided or clock.ended():
                break
        return np.where(v >= 0, high, low)


def neighbours(grid: Grid, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The levels at and below, and above each weight, (n,) each; both are the last level outside the grid."""
    low, high = np.empty(len(weight)), np.empty(len(weight))
    for g, levels in enumerate(grid.levels):
        of_group = grid.group == g
        above = np.searchsorted(levels, weight[of_group], side="right")
        low[of_group] = levels[np.maximum(above - 1, 0)]
        high[of_group] = levels[np.minimum(above, len(levels) - 1)]
    return low, high
