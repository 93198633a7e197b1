"""The largest density of the tilted error: what an exponential tilt leaves to gain."""

from __future__ import annotations

import math

import numpy as np

from ..gram import FloatArray

POINTS = 1200
NEGLIGIBLE = 1e-6


def log_largest_density(h: FloatArray, lam: float, c: float) -> float:
    """log f, f >= the largest density of q = sum_j a_j g_j^2 / 2, g_j independent standard normal, shifted or not.

    a_j = h_j / (lam h_j + c). f = (1/pi) [integral_0^T prod_j (1 + t^2 a_j^2)^(-1/4) dt + T^(1 - k/2) / (k/2 - 1)
    prod_j a_j^(-1/2)] over k positive a_j; infinite if k <= 2.

    Proof. A density is at most (1/2pi) integral |phi(t)| dt. The characteristic function of a_j g^2 / 2 has
    modulus (1 + t^2 a_j^2)^(-1/4); a shift of g only lowers it. The integrand decreases, so sums over left
    endpoints are above the integral up to T, and beyond T each factor is at most (t a_j)^(-1/2). Factors left out
    are at most 1: any subset of the a_j bounds from above, so those that are negligible, whose tail would be all,
    are left out.

    Parameters
    ----------
    h : eigenvalues of H, the m smallest where m inputs are random (interlacing), or any subset of these.
    """
    a = h[h > 0] / (lam * h[h > 0] + c)
    if len(a):
        a = a[a > NEGLIGIBLE * a.max()]
    k = len(a)
    if k <= 2:
        return math.inf
    # far enough that the tail is a part in e^30 of the first piece, or T = 1e12 / a
    unit = 1 / np.sqrt((a * a).sum())
    t = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, POINTS)]) * unit
    log_values = np.zeros(len(t))
    for part in np.array_split(a, -(-k // 64)):
        log_values -= 0.25 * np.log1p((t[:, None] * part) ** 2).sum(axis=1)
    pieces = np.exp(log_values[:-1]) * np.diff(t)
    log_tail = (1 - k / 2) * np.log(t[1:]) - math.log(k / 2 - 1) - 0.5 * np.log(a).sum()
    totals = np.cumsum(pieces) + np.exp(np.minimum(log_tail, 700.0))  # any T is valid: take the best
    return float(np.log(totals.min() / math.pi))
