"""The minimum of (t - x)' D_b (t - x) over the box of a block: where a search begins, and what holds inputs down.

A target outside of its box costs something whatever is decided, often a hundred times what rounding does, and v'Mv
takes as much off again. So a search goes below a part of what is *above* this minimum, and decides first the
inputs that the box itself holds at an end.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray

SWEEPS, STILL = 60, 1e-3
"""Sweeps at most, and the part of a step that inputs move in the last one: orders and thresholds need no more."""


@njit(cache=True, nogil=True, error_model="numpy")
def box_minimum(m: int, matrix: FloatArray, t: FloatArray, grid: FloatArray, out: FloatArray) -> float:
    """The least value that coordinate descent from t meets, which may be above the minimum; 0 where t is inside.

    Parameters
    ----------
    grid : (SIZE, L) levels, ascending.
    out : (SIZE,) written: by how many mean steps each input would leave its box, were it free alone.
    """
    last, inside = grid.shape[1] - 1, True
    for j in range(m):
        out[j] = 0.0
        inside = inside and grid[j, 0] <= t[j] <= grid[j, last]
    if inside:
        return 0.0
    x, gradient = np.empty(m), np.zeros(m)
    for j in range(m):
        x[j] = min(max(t[j], grid[j, 0]), grid[j, last])
    for i in range(m):
        for j in range(m):
            gradient[i] += matrix[i, j] * (x[j] - t[j])
    for _ in range(SWEEPS):
        moved = 0.0
        for i in range(m):
            low, high = grid[i, 0], grid[i, last]
            if not high > low:
                continue
            to = min(max(x[i] - gradient[i] / matrix[i, i], low), high)
            by = to - x[i]
            if by != 0.0:
                x[i] = to
                moved = max(moved, abs(by) * last / (high - low))
                for j in range(m):
                    gradient[j] += by * matrix[j, i]
        if moved < STILL:
            break
    value = 0.0
    for i in range(m):
        low, high = grid[i, 0], grid[i, last]
        value += gradient[i] * (x[i] - t[i])
        if high > low and ((x[i] == low and gradient[i] > 0.0) or (x[i] == high and gradient[i] < 0.0)):
            out[i] = abs(gradient[i]) / matrix[i, i] * last / (high - low)
    return value
