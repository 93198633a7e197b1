"""Diagonals for relaxations of whole layers: where to start, and rounds of ascent that cannot run away."""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.diagonal import ascend_within
from pvq.bounds.gram import FloatArray

FLOOR = 2e-4
"""Least d_i, as a part of the starting one: an input may become idle in one relaxation and matter in the next."""

INSIDE = 1e-6
"""D is shrunk by this much where a strictly positive definite H - D is needed."""


@njit(cache=True, nogil=True)
def positive_inverse(h: FloatArray, d: FloatArray) -> tuple[bool, FloatArray]:
    """(H - diag(d))^-1, False if that matrix is not positive definite in float64."""
    m = h.copy()
    for i in range(len(d)):
        m[i, i] -= d[i]
    try:
        np.linalg.cholesky(m)
        p = np.linalg.inv(m)
    except Exception:
        return False, m
    return bool(np.isfinite(p).all()), np.ascontiguousarray(p)


@njit(cache=True, nogil=True)
def starting_diagonal(h: FloatArray) -> tuple[FloatArray, FloatArray]:
    """d = t / (H^-1)_ii, half as large as positive definiteness allows, and the floor below which no d_i falls.

    1 / (H^-1)_ii is the largest d_i on its own, so this gives every input the same share of what it could have.
    """
    n = len(h)
    # singular to working precision: the inverse of a shifted H has the right pattern, D itself is tested later
    shift = 0.0
    ok, p = positive_inverse(h, np.zeros(n))
    while not ok:
        shift = max(10.0 * shift, 1e-15)
        ok, p = positive_inverse(h, -shift * np.diag(h))
    alone = np.empty(n)
    for i in range(n):
        alone[i] = 1.0 / max(p[i, i], 1e-300)
    root = np.sqrt(alone)
    vector = np.ones(n)
    largest = 1.0
    for _ in range(50):  # power iteration: the largest eigenvalue of diag(root) H^-1 diag(root)
        vector = root * np.dot(p, root * vector)
        largest = np.sqrt(np.dot(vector, vector))
        vector /= largest
    d = 0.5 * alone / max(largest, 1.0)
    while not positive_inverse(h, d)[0]:
        d *= 0.5
        if d.max() < 1e-200:
            break
    return d, FLOOR * d


@njit(cache=True, nogil=True)
def ascent_round(
    h: FloatArray, d: FloatArray, weights: FloatArray, barrier: float, trust: float, floor: FloatArray
) -> FloatArray:
    """One sweep of ascent on weights'd with d_i kept within [trust d_i, d_i / trust]; returns the new d.

    The weights are the gradient of a bound at d, which is concave but not linear in d: without the trust region
    the sweep empties one input for another and jams at the boundary of the cone.

    Parameters
    ----------
    barrier : weight of log det(H - D) as a part of the mean of weights * d.
    """
    shrink = INSIDE
    ok, p = positive_inverse(h, d * (1.0 - shrink))
    while not ok and shrink < 0.5:
        shrink *= 10.0
        ok, p = positive_inverse(h, d * (1.0 - shrink))
    if not ok:
        return d.copy()
    new = d * (1.0 - shrink)
    mean = np.sum(weights * new) / len(d)
    if not mean > 0.0:
        return new
    ascend_within(p, new, weights, barrier * mean, np.maximum(trust * new, floor), np.maximum(new / trust, floor))
    return np.maximum(new, floor)
