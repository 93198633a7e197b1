"""Compiled iterations of ALPS."""

from __future__ import annotations

import numpy as np
from numba import njit

from .select import best_mask

RHO = 0.1
ITERATIONS, BETWEEN_UPDATES = 300, 3


@njit(cache=True, nogil=True)
def admm(values, vectors, b, unit, group, keep):  # type: ignore[no-untyped-def]
    """Mask of the least sum over rows of (x - b)' G (x - b), G = vectors diag(values) vectors', under a pattern.

    (G + rho I)^-1 is applied through the eigenvectors, so that rho may change for free. b, unit and the mask have
    rows * n entries, row after row, so that a pattern may span the rows.
    """
    shape = len(b) // len(values), len(values)
    first_mask = best_mask(b * b, unit, group, keep)
    kept = first_mask.sum()
    target = values * (b.reshape(shape) @ vectors)
    x, z, v = b.copy(), np.where(first_mask, b, 0.0), np.zeros(len(b))
    mask, previous = first_mask, first_mask
    rho, started = RHO, False
    for iteration in range(1, ITERATIONS + 1):
        x = (((target + (rho * z - v).reshape(shape) @ vectors) / (values + rho)) @ vectors.T).ravel()
        z = x + v / rho
        mask = best_mask(z * z, unit, group, keep)
        z = np.where(mask, z, 0.0)
        v += rho * (x - z)
        if iteration % BETWEEN_UPDATES:
            continue
        changed = (mask != previous).sum()
        previous = mask
        if changed > 0.005 * kept:
            rho *= 1.3 if changed > 0.1 * kept else 1.2
            started = True
        elif started:
            if changed == 0:
                break
            rho *= 1.1
        else:
            rho /= 5
            if changed > 0:
                z, v = np.where(first_mask, b, 0.0), np.zeros(len(b))
    return best_mask(x * x, unit, group, keep)
