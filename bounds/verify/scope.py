"""The lower bound of rows that share a budget, from lower bounds of each row at some of its own budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .psd import gamma


def shared_lower(curves: Sequence[Mapping[int, float]], budget: int) -> float:
    """min over allocations (k_r) with sum k_r <= budget of the sum of the rows' bounds, rounded down.

    A row's optimum falls with its budget, so a bound at k holds for every smaller budget. A row has to pay k + 1
    units to leave the bound at k behind, and has 0 beyond the last one. The minimum over these steps is found by
    dynamic programming over rows and units.

    Parameters
    ----------
    curves : for each row, lower bounds >= 0 by budget.
    """
    best = np.zeros(budget + 1)
    for curve in curves:
        budgets = sorted(curve)
        steps = [0, *(k + 1 for k in budgets)]
        values = [max((curve[k] for k in budgets[i:]), default=0.0) for i in range(len(steps))]
        new = np.full(budget + 1, math.inf)
        for cost, value in zip(steps, values, strict=True):
            if cost <= budget:
                new[cost:] = np.minimum(new[cost:], best[: budget + 1 - cost] + value)
        best = new
    return float(best[budget]) * (1 - gamma(len(curves) + 4))
