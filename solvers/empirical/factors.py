"""Damped factors and inverses of H, computed once per layer."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from scipy.linalg import cholesky, lapack

DAMPING = 0.01
"""lambda / mean(diag H) of GPTQ (Frantar et al. 2022, Cholesky reformulation) and SparseGPT (`percdamp`)."""
CONDITION = 1e10
"""Largest condition number that is inverted undamped: n updates of H^-1 in float64 keep some 5 digits there."""


def damped(gram: Gram, damping: float = DAMPING) -> FloatArray:
    """H + damping * mean(diag H) I, (n, n); the mean is over the live inputs."""
    h = gram.matrix
    return h + damping * float(np.diag(h).mean()) * np.eye(len(h))


def inverse_factor(gram: Gram, damping: float = DAMPING, order: IntArray | None = None) -> FloatArray:
    """Upper triangular U with U'U = (H + lambda I)^-1, inputs taken in `order`, (n, n).

    H is not inverted: with P the reversal of the inputs, P H P = L L' gives H = R R' with R = P L P upper
    triangular, and U = R^-1.
    """
    key = damping, None if order is None else order.tobytes()
    return gram.memo(inverse_factor, lambda: _inverse_factor(_ordered(damped(gram, damping), order)), *key)


def undamped_inverse_factor(gram: Gram) -> FloatArray:
    """`inverse_factor` of H itself, lifted as little as `regularised` says."""
    return gram.memo(undamped_inverse_factor, lambda: _inverse_factor(regularised(gram)))


def regularised(gram: Gram) -> FloatArray:
    """H + tau I with the smallest tau >= 0 for which the condition number is at most `CONDITION`, (n, n)."""

    def lift() -> FloatArray:
        eigenvalues = np.linalg.eigvalsh(gram.matrix)
        tau = max(0.0, float(eigenvalues[-1]) / CONDITION - float(eigenvalues[0]))
        return gram.matrix + tau * np.eye(len(gram))

    return gram.memo(regularised, lift)


def inverse_of(gram: Gram) -> FloatArray:
    """Exactly symmetric inverse of `regularised` H, (n, n)."""

    def invert() -> FloatArray:
        u = undamped_inverse_factor(gram)
        product = u.T @ u
        return (product + product.T) / 2

    return gram.memo(inverse_of, invert)


def _ordered(matrix: FloatArray, order: IntArray | None) -> FloatArray:
    return matrix if order is None else matrix[np.ix_(order, order)]


def _inverse_factor(matrix: FloatArray) -> FloatArray:
    lower = cholesky(matrix[::-1, ::-1], lower=True)
    inverse, _ = lapack.dtrtri(np.ascontiguousarray(lower[::-1, ::-1]).T, lower=1)  # (R')^-1 = U', by columns
    return np.asarray(inverse.T)
