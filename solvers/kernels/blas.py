"""Inverses of matrices of a thousand inputs and more."""

from __future__ import annotations

import math
import time

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, Gram

from . import lapack

LONG = 256
"""Inputs from which an inverse takes a hundredth of a second and more."""


def inverse_if_positive(m: FloatArray) -> FloatArray | None:
    """m^-1, (n, n), in the place of m; None, and m is destroyed, where it is not positive definite."""
    if not (lapack.factor(m) and lapack.invert(m)):
        return None
    _mirror(m)
    return m if bool(np.isfinite(m).all()) else None


def is_positive(m: FloatArray) -> bool:
    """Whether m has a Cholesky factor in float64; m is destroyed."""
    return lapack.factor(m)


def fits(gram: Gram, inverses: float, left: float) -> bool:
    """Whether work that takes as long as so many inverses of H ends within `left` seconds; short rows' does."""
    if len(gram) < LONG or math.isinf(left):
        return True

    def measure() -> float:
        begin = time.perf_counter()
        inverse_if_positive(gram.matrix.copy())
        return time.perf_counter() - begin

    return inverses * gram.memo(fits, measure) < left


@njit(cache=True, nogil=True)
def _mirror(p: FloatArray) -> None:
    """The upper triangle below the diagonal, tile by tile."""
    n, tile = len(p), 64
    for top in range(0, n, tile):
        for left in range(0, top + tile, tile):
            for i in range(top, min(top + tile, n)):
                for j in range(left, min(left + tile, i)):
                    p[i, j] = p[j, i]
