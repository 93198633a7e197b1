"""The order in which inputs are decided, by products of matrices: for long rows, and for the volume model."""

from __future__ import annotations

import numpy as np

from .gram import FloatArray, IntArray

TOGETHER = 256
"""Inputs that are decided before the inverse of the others is brought up to date, and those decided leave it."""


def vblast_order(inverse: FloatArray) -> IntArray:
    """(n,) inputs by position, the last decided first: always the one of least variance given those undecided.

    Wolniansky et al., "V-BLAST", 1998.

    Parameters
    ----------
    inverse : (n, n) H^-1.
    """
    p, inputs, order = inverse, np.arange(len(inverse)), []
    while len(inputs):
        m = min(TOGETHER, len(inputs))
        variance, left = np.diag(p).copy(), np.ones(len(inputs), dtype=bool)
        columns, factors = np.empty((m, len(inputs))), np.empty((m, len(inputs)))
        for k in range(m):
            best = int(np.argmin(np.where(left, variance, np.inf)))
            left[best] = False
            order.append(inputs[best])
            columns[k] = p[best] - factors[:k, best] @ columns[:k]
            factors[k] = columns[k] / columns[k, best]
            variance -= factors[k] * columns[k]
        p = p[np.ix_(left, left)] - factors[:, left].T @ columns[:, left]
        inputs = inputs[left]
    return np.array(order[::-1], np.int64)
