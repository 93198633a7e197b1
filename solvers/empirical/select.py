"""Compiled counterparts of `Grid.nearest` and `Sparsity.best_mask`, for the kernels of this package."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def nearest(levels, value):  # type: ignore[no-untyped-def]
    """Level nearest to a value, ties to the lower one, as `Grid.nearest`."""
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if value <= (levels[middle] + levels[middle + 1]) / 2:
            high = middle
        else:
            low = middle + 1
    return levels[low]


@njit(cache=True, nogil=True)
def best_mask(score, unit, group, keep):  # type: ignore[no-untyped-def]
    """(n,) mask of the units with the largest summed score in each group, ties to the lower index."""
    total = np.zeros(len(group))
    for i in range(len(unit)):
        total[unit[i]] += score[i]
    left = keep.copy()
    chosen = np.zeros(len(group), np.bool_)
    for u in np.argsort(-total, kind="mergesort"):
        if left[group[u]] > 0:
            chosen[u] = True
            left[group[u]] -= 1
    mask = np.zeros(len(unit), np.bool_)
    for i in range(len(unit)):
        mask[i] = chosen[unit[i]]
    return mask
