"""The grids of a chunk of rows, for compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray


class Levels(NamedTuple):
    """The grids of a chunk of rows, by position."""

    values: FloatArray
    """(rows or 1, groups, L) ascending."""
    per_step: FloatArray
    """(rows or 1, groups) 1 / step where the levels are even, 0 where they are not."""
    group: IntArray
    """(n,) group of each position."""


@njit(cache=True, nogil=True, error_model="numpy")
def nearest(row: FloatArray, per_step: float, c: float) -> int:
    """Index of the level nearest to c."""
    last = len(row) - 1
    if per_step > 0.0:
        return int(min(max(np.rint((c - row[0]) * per_step), 0.0), float(last)))
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if row[middle] <= c:
            low = middle
        else:
            high = middle
    return high if row[high] - c < c - row[low] else low
