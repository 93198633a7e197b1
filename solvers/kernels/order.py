"""Sorting, which in numba's own form takes a second to compile for every type of array, and again in callers."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray

from .apart import NUMBERS, VECTOR, apart


@apart(None, VECTOR)
def sort(values: FloatArray) -> None:
    """A vector in place, the least first: numba's own, compiled where it is called and only then."""
    values.sort()


@apart(None, VECTOR, NUMBERS)
def ascending(key: FloatArray, order: IntArray) -> None:
    """order = the places of a vector, the least first, equals as they stand, out: runs of 1, 2, 4, ... merged."""
    n, width = len(key), 1
    merged = np.empty(n, np.int64)
    for i in range(n):
        order[i] = i
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for place in range(low, high):
                if i < middle and (j >= high or key[order[i]] <= key[order[j]]):
                    merged[place] = order[i]
                    i += 1
                else:
                    merged[place] = order[j]
                    j += 1
        for i in range(n):
            order[i] = merged[i]
        width *= 2
