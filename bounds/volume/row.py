"""The row theorem: how unlikely an error below t is for random weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..gram import FloatArray, IntArray
from .tail import log_largest_density

ITERATIONS = 100
SHRINK = 0.999  # the smallest eigenvalue is rounded down by this, and by EPS below
EPS = 1e-9


@dataclass(frozen=True, eq=False)
class Spectrum:
    """H of a row in units of its scale, with its eigenvectors."""

    matrix: FloatArray
    """(n, n)."""
    values: FloatArray
    """(n,) eigenvalues, increasing, rounding-size ones set to 0."""
    vectors: FloatArray
    """(n, n)."""

    @classmethod
    def of(cls, matrix: FloatArray) -> Spectrum:
        """Of a positive semidefinite matrix."""
        values, vectors = np.linalg.eigh(matrix)
        # lowered by their rounding, to 0 where they are no more than that: M, and the level, get smaller
        rounding = len(values) * np.finfo(float).eps * values[-1]
        values = np.where(values > 4 * rounding, values - rounding, 0.0)
        return cls(matrix, values, vectors)


@dataclass(frozen=True, eq=False)
class Tilt:
    """One choice of (lambda, c) for one H: everything that does not depend on the row."""

    spectrum: Spectrum
    lam: float
    c: float

    @property
    def diagonal(self) -> FloatArray:
        """(n,) eigenvalues of M = lambda H + c I."""
        return self.lam * self.spectrum.values + self.c

    def log_correction(self, m: int) -> float:
        """log min(1, f / lambda) for m random inputs."""
        f = log_largest_density(self.spectrum.values[:m], self.lam, self.c)
        return min(0.0, f - math.log(self.lam))


def row_log_z(
    tilt: Tilt,
    known: IntArray,
    log_a: float,
    weight: FloatArray,
    levels: FloatArray,
    log_correction: float,
    inverse: FloatArray | None = None,
) -> float:
    """log Z of the row theorem: P(opt <= t | w_C) <= exp(lambda t + log Z).

    With C the known inputs, I the m others, M = lambda H + c I, P = (M^-1)_CC, B = P^-1 - c I, any u*, g = 2 B u*,
    d = rho diag B with rho <= the smallest eigenvalue of B scaled to unit diagonal, not negative:

        log Z = sum_I log A_i(c) + (m/2) log pi - 1/2 logdet M - 1/2 logdet P - u*'Bu*
                + sum_{i in C} log sum_{z in G} exp(-g_i v - d_i v^2) + log min(1, f / lambda),   v = w_i - z -
                u*_i

    Proof. E #{x : e(x) <= t | w_C} = sum over x_C of the integral of 1[e <= t] prod_I K_i(u_i) du_I, and
    K_i <= A_i(c) exp(-c u^2). 1[e <= t] <= exp(lambda (t - e)) leaves a Gaussian integral over u_I of
    exp(-u'Mu + c u_C'u_C), which is pi^(m/2) det(M_II)^(-1/2) exp(-u_C' B u_C), since the Schur complement of M_II
    is P^-1; and det M_II = det M det P (Jacobi). u'Bu = u*'Bu* + g'(u - u*) + (u - u*)'B(u - u*) for every u*, and
    the last term is at least sum d_i (u_i - u*_i)^2: the sum over x_C separates. Not to waste the tilt where e <
    t: the integral of exp(lambda (t - e)) over the part below t, against the tilted density of e, is at most f /
    lambda. In logarithms throughout: where u* is far from 0 exp(-u*'Bu*) underflows. The minimiser u* is not
    exact; any is valid.

    Parameters
    ----------
    known : (|C|,) inputs in C.
    log_a : sum over I of log A_i(c), `density.log_factor`.
    weight, levels : (n,), and (L,) or, where they differ, (|C|, L) of each known input, in units of the scale.
    log_correction : `Tilt.log_correction(m)`, of this m or a smaller one.
    inverse : M^-1 where it was computed before.
    """
    diagonal = tilt.diagonal
    if not diagonal.min() > 0:
        return math.inf
    m = len(weight) - len(known)
    result = log_a + m / 2 * math.log(math.pi) - 0.5 * float(np.log(diagonal).sum()) + log_correction
    if not len(known):
        return result
    if inverse is not None:
        p = inverse[np.ix_(known, known)]
    else:
        part = tilt.spectrum.vectors[known]
        p = (part / diagonal) @ part.T
    p = (p + p.T) / 2
    try:
        factor = scipy.linalg.cho_factor(p, lower=True)
    except np.linalg.LinAlgError:
        return math.inf
    result -= float(np.log(factor[0].diagonal()).sum())
    b = scipy.linalg.cho_solve(factor, np.eye(len(known)))
    b = (b + b.T) / 2 - tilt.c * np.eye(len(known))
    w = weight[known]
    u = _box_minimum(b, w - levels[..., -1], w - levels[..., 0])
    gradient = 2 * (b @ u)
    root = np.sqrt(np.maximum(b.diagonal(), 0.0))
    rho = 0.0
    if root.min() > 0:
        rho = max(0.0, SHRINK * float(np.linalg.eigvalsh(b / np.outer(root, root))[0]) - EPS)
    d = rho * root**2
    v = (w - u)[:, None] - levels
    exponents = -gradient[:, None] * v - d[:, None] * v * v
    top = exponents.max(axis=1)  # plain exp underflows where u* is far out
    terms = top + np.log(np.exp(exponents - top[:, None]).sum(axis=1))
    return result - float(u @ b @ u) + float(terms.sum())


def _box_minimum(b: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """About the minimiser of u'Bu over a box: accelerated projected gradient steps in the scaling of diag B."""
    root = np.sqrt(np.maximum(b.diagonal(), 1e-300))
    scaled = b / np.outer(root, root)
    low, high = low * root, high * root
    step = 1 / max(1e-12, float(np.abs(scaled).sum(axis=1).max()))
    u = np.clip(0.0, low, high)
    ahead, momentum = u, 1.0
    for _ in range(ITERATIONS):
        following = np.clip(ahead - step * (scaled @ ahead), low, high)
        if np.abs(following - u).max() <= 1e-9 * (1e-300 + np.abs(u).max()) and following is not u:
            u = following
            break
        after = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / after * (following - u)
        u, momentum = following, after
    return np.asarray(u / root)
