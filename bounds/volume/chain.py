"""The chain: a lower level for the median of the optimum, one pivot at a time."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from ..gram import FloatArray

POINTS = 1200


def sphere_level(pivots: FloatArray) -> float:
    """GH = det(H)^(1/n) V_n^(-2/n), where the expected number of grid points of spacing 1 is one.

    V_n = pi^(n/2) / Gamma(n/2 + 1) is the volume of the unit ball.
    """
    n = len(pivots)
    log_ball = n / 2 * np.log(np.pi) - gammaln(n / 2 + 1)
    return float(np.exp(np.log(pivots).mean() - 2 / n * log_ball))


def chain(pivots: FloatArray, kappa: float, end: float, points: int = POINTS) -> tuple[FloatArray, FloatArray]:
    """(points + 1,) levels t and F(t) >= P(opt <= t), for spacing 1 and K_i <= kappa.

    F_0 = 1, F_k(t) = min(1, kappa integral F_{k-1}(t - d_k y^2) dy), k through the pivots d of H in any order of
    elimination, the input eliminated first (decided last) first.

    Proof by induction over inputs, uniformly in the shift of the first k coordinates (only independence is used):
    a point with e <= t has a last coordinate x_k with d_k y^2 <= t, y its distance to the centre, and the others
    then have error <= t - d_k y^2; the expected number of such x_k with y in dy is at most kappa dy, and a
    probability is at most 1. Discretised upwards: F_k on a cell is its value at the right end, and the mass of d_k
    y^2 in a cell, 2 (sqrt(b / d) - sqrt(a / d)), moves to the left end. Direct convolution: a Fourier one loses
    small values.
    """
    t = np.linspace(0.0, end, points + 1)
    f = np.ones(points + 1)
    for d in pivots:
        mass = kappa * 2 * np.diff(np.sqrt(t / d))
        # F at t_j: y^2 d in [t_i, t_i+1) counts as t_i, so sum over i < j; the cell [t_j, ...) does not fit
        f = np.concatenate([[0.0], np.minimum(1.0, np.convolve(mass, f[1:])[:points])])
    return t, f


def median_level(pivots: FloatArray, kappa: float = 1.0) -> float:
    """Largest level of the mesh with F <= 1/2: at most the median of the optimum, for spacing 1.

    That holds for kappa >= A(0) of every input, and only then; a smaller one gives a level that is no bound.
    """
    end = 3 * sphere_level(pivots)
    t, f = chain(pivots, kappa, end)
    below = np.flatnonzero(f <= 0.5)
    return float(t[below[-1]])
