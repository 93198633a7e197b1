"""Inputs that are nearly, but not exactly, linear combinations of a few others."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import Gram

NULL = 1e-11
"""A direction of the scaled H (diagonal 1) that is less is nearly null: its last digits are rounding."""

PART = 1e-5
"""A part of a direction that is less leaves a remainder below `NULL`, a square, where it is left out."""

NOISE = 1e-12
"""Parts of eigenvectors, and differences of entries, that are less are rounding."""


def near_dependent(gram: Gram) -> bool:
    """Whether weights of 1e5 and more on a few inputs may pay: u'Hu next to 0 while Hu is not.

    For u of the null space Hu is 0 as well, and nothing is gained along it. But let inputs 1 and 2 differ by 1e-7
    of noise, as copies in float32 do: u = (1, -1, 0, ...) has u'Hu = 1e-14 and Hu = 1e-7, and x = w + 1e7 u makes
    up for pruned inputs. A relaxation that gives up 1e-13 of x^2 does not hold there. (Of 3,000 made rows with
    such a pair, 4 had a bound above the optimum, by up to 55 %.) Such u are looked for in pairs, and in directions
    of eigenvalues next to 0, which have parts that are small but more than rounding.
    """

    def look() -> bool:
        live = gram.live
        if not live.any():
            return False
        h = gram.matrix[np.ix_(live, live)]
        size = np.sqrt(h.diagonal())
        h = h / size / size[:, None]
        values, vectors = np.linalg.eigh(h)
        null = vectors[:, values < NULL]
        if not null.size:
            return False
        part = np.sqrt((null**2).sum(axis=1))
        if ((part > NOISE) & (part < PART)).any():
            return True
        first, second = np.nonzero(np.triu(1 - np.abs(h) < NULL, 1))
        apart = np.abs(h[first] - np.sign(h[first, second])[:, None] * h[second])
        return bool((apart > NOISE).any())

    return gram.memo(near_dependent, look)
