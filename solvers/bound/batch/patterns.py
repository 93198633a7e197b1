"""Budgets of single inputs, for compiled code: the groups side by side, whatever inputs they have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.sparsity import Sparsity


class Groups(NamedTuple):
    """Inputs by group."""

    inputs: IntArray
    """(n,) inputs, those of group g at start[g] : start[g + 1]."""
    start: IntArray
    """(groups + 1,)."""
    keep: IntArray
    """(groups,) inputs of each group that may be kept, at most its size."""


def groups_of(sparsity: Sparsity) -> Groups:
    """The groups of a pattern whose units are single inputs."""
    of_input = sparsity.group[sparsity.unit]
    size = np.bincount(of_input, minlength=len(sparsity.keep))
    start = np.concatenate(([0], np.cumsum(size)))
    return Groups(np.argsort(of_input, kind="stable"), start, np.minimum(sparsity.keep, size))


@njit(cache=True, nogil=True)
def largest_sums(savings: FloatArray, groups: Groups) -> FloatArray:
    """(rows,) what the `keep` largest savings of every group add up to; savings (rows, n)."""
    total = np.zeros(len(savings))
    for r in range(len(savings)):
        for g in range(len(groups.keep)):
            keep, size = groups.keep[g], groups.start[g + 1] - groups.start[g]
            mine = np.empty(size)
            for j in range(size):
                mine[j] = savings[r, groups.inputs[groups.start[g] + j]]
            if keep == 0:
                continue
            if keep < size:
                mine = np.partition(mine, size - keep)[size - keep :]
            total[r] += mine.sum()
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def fill(size: FloatArray, keep: float, rest: float) -> FloatArray:
    """(m,) z = clip(size * t - rest, 0, 1), t such that sum z = keep: water-filling of one group; size >= 0."""
    m, largest, some = len(size), 0.0, 0
    for i in range(m):
        largest = max(largest, size[i])
        some += size[i] > 0.0
    if keep >= some:  # the others gain nothing, whatever they get
        rest_of = (keep - some) / (m - some) if m > some else 0.0
        return np.where(size > 0.0, 1.0, rest_of)
    if keep == 0.0:
        return np.zeros(m)
    low, high = rest / largest, 2.0 * (1.0 + rest) / largest
    while _filled(size, high, rest)[0] < keep and np.isfinite(2.0 * high):
        low, high = high, 2.0 * high
    t = high
    for _ in range(80):
        t = 0.5 * (low + high)
        total, slope = _filled(size, t, rest)
        if total > keep:
            high = t
        else:
            low = t
        if slope > 0.0:  # exact where the set of those in between stays as it is
            newton = t + (keep - total) / slope
            if low <= newton <= high:
                t = newton
                total = _filled(size, t, rest)[0]
                if abs(total - keep) <= 1e-9 * keep:
                    break
                if total > keep:
                    high = t
                else:
                    low = t
    z = np.empty(m)
    for i in range(m):
        z[i] = min(max(size[i] * t - rest, 0.0), 1.0)
    return z


@njit(cache=True, nogil=True, error_model="numpy")
def _filled(size: FloatArray, t: float, rest: float) -> tuple[float, float]:
    """sum clip(size * t - rest, 0, 1) and its slope in t."""
    total = slope = 0.0
    for i in range(len(size)):
        z = size[i] * t - rest
        if z >= 1.0:
            total += 1.0
        elif z > 0.0:
            total += z
            slope += size[i]
    return total, slope
