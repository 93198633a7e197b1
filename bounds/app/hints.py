"""What a person might type instead: said in one line where a result asks for it."""

from __future__ import annotations

import math

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.grid import nearest_index
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.ranges import LayerGrid, fit_grid

WORTH_DB = 3.0
"""dB of rounding error from which one scale for all is said to cost something."""
ROWS = 256
"""Rows that are looked at, evenly spaced."""


def outlier_hint(problem: LayerProblem, weight: FloatArray) -> str | None:
    """One line where a few outlying weights set the scale of all: what a scale per channel would save.

    Compares sum (w - round(w))^2 at the problem's scale with that at the best scale of each row.

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
    if cost < WORTH_DB:
        return None
    return (
        f"A few large weights set the scale of all: rounding errors are {cost:.1f} dB larger than with a scale "
        "for each row. Try --granularity channel."
    )


def _rounding(weight: FloatArray, grid: LayerGrid) -> float:
    """Sum of squared distances to the nearest levels."""
    ratio = weight / grid.scale + grid.zero
    levels = grid.codebook.levels[nearest_index(grid.codebook.levels, ratio.ravel())].reshape(ratio.shape)
    return float((((ratio - levels) * grid.scale) ** 2).sum())
