"""A proof that costs nothing where H is singular but for its shift: e(x) >= d |w - x|^2 for some d > 0.

The shift lifts the least eigenvalue of H to n eps times the largest, so H - d I is positive semidefinite for a d
a little below that. With D = d I and v = 0 every input has d u_i^2: of a grid the nearest level, of a pattern the
smallest weights. Bounds of relaxations end there as well, but they are differences of numbers of the size of
w'Hw, whose rounding is larger: nothing is left of them.
"""

from __future__ import annotations

import itertools

import numpy as np
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split

PARTS = (0.8, 0.5, 0.25)
"""Of the least eigenvalue that d may be: a factorisation leaves room for its own rounding."""

STEPS = 30
"""Of the power iteration for the largest eigenvalue; one that is found too small makes d smaller, not wrong."""


def flat_proof(problem: Problem) -> Split | None:
    """D = d I and v = 0 for a row without dead inputs; None where H has no shift that proves any."""
    gram = problem.gram
    if not gram.shift > 0:
        return None
    below = gram.memo(flat_proof, lambda: _multiple(gram))
    return None if below is None else Split(below, np.zeros(problem.n))


def _multiple(gram: Gram) -> Below | None:
    """d I, the same object for all rows; what it proves is what the verifier leaves of d."""
    from pvq.bounds.verify.row import SAFETY, shift_to_psd  # compiled kernels: not for `pvq solvers`

    n = len(gram)
    size = float(gram.matrix.diagonal().max())
    scaled = gram.matrix / size  # squares of the entries of H may leave the range of float64
    v = scaled[:, np.argmax(scaled.diagonal())]
    for _ in range(STEPS):
        v = scaled @ (v / np.linalg.norm(v))
    least = n * np.finfo(np.float64).eps * size * float(np.linalg.norm(v))
    nothing = np.zeros(n, dtype=bool)
    best: Below | None = None
    most = 0.0
    for part, smaller in itertools.pairwise((*PARTS, 0.0)):
        below = Below(np.full(n, part * least))
        left = part * least - float(shift_to_psd(gram, below, nothing, SAFETY).max())
        if left > most:
            best, most = below, left
        if most >= smaller * least:  # the next one cannot be better
            break
    return best
