"""Compiled loop of Klein's randomised nearest plane."""

from __future__ import annotations

import numpy as np
from numba import njit

NEGLIGIBLE = 40.0
"""A level this much less likely (e^-40) than the best is never drawn from 53-bit uniform numbers."""


@njit(cache=True, nogil=True)
def sample_points(weight, factor, levels, level_of, c, uniform):  # type: ignore[no-untyped-def]
    """(K, n) points; `uniform` (K, n) are the random numbers in [0, 1) that decide them."""
    samples, n = uniform.shape
    count = levels.shape[1]
    points = np.empty((samples, n))
    exponent = np.empty(count)
    for k in range(samples):
        w = weight.copy()
        for j in range(n):
            own = levels[level_of[j]]
            least = np.inf
            for l in range(count):
                exponent[l] = c * ((w[j] - own[l]) / factor[j, j]) ** 2
                least = min(least, exponent[l])
            total = 0.0
            for l in range(count):
                excess = exponent[l] - least
                exponent[l] = np.exp(-excess) if excess < NEGLIGIBLE else 0.0
                total += exponent[l]
            left = uniform[k, j] * total
            chosen = count - 1
            for l in range(count):
                left -= exponent[l]
                if left < 0:
                    chosen = l
                    break
            while exponent[chosen] == 0:  # rounding ran past the last likely level
                chosen -= 1
            points[k, j] = own[chosen]
            step = (w[j] - own[chosen]) / factor[j, j]
            for i in range(j + 1, n):
                w[i] -= step * factor[j, i]
    return points
