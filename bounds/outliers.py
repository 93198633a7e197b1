"""What a few outlying weights cost that set the scale of all."""

from __future__ import annotations

import math

import numpy as np

from .gram import FloatArray
from .grid import nearest_index
from .layer_problem import LayerProblem
from .ranges import LayerGrid, fit_grid

WORTH_DB = 3.0
"""dB of rounding error from which one scale for all is said to cost something."""
ROWS = 256
"""Rows that are looked at, evenly spaced."""


def outliers_db(problem: LayerProblem, weight: FloatArray) -> float | None:
    """dB by which one scale for all rounds worse than a scale for each row; None below `WORTH_DB`.

    Compares sum (w - round(w))^2, the error of the plain weights whatever H is, at the problem's scale with that
    at the best scale of each row.

    Parameters
    ----------
    weight : (out, in) of the whole layer.
    """
    setting, grid = problem.setting, problem.grid
    if grid is None or setting.granularity != "tensor" or setting.range not in ("mse", "minmax", "gram"):
        return None
    rows = np.unique(np.linspace(0, len(weight) - 1, ROWS).astype(int))
    part = np.asarray(weight[rows], dtype=np.float64)
    each = fit_grid(part, grid.codebook, "channel")
    together, apart = _rounding(part, grid), _rounding(part, each)
    cost = 10 * math.log10(together / apart) if together > 0 and apart > 0 else 0.0
    return cost if cost >= WORTH_DB else None


def _rounding(weight: FloatArray, grid: LayerGrid) -> float:
    """Sum of squared distances to the nearest levels."""
    ratio = weight / grid.scale + grid.zero
    levels = grid.codebook.levels[nearest_index(grid.codebook.levels, ratio.ravel())].reshape(ratio.shape)
    return float((((ratio - levels) * grid.scale) ** 2).sum())
