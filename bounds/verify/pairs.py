"""Pairs of inputs in a `Split`: the least of u'Du + 2 g'u for a 2 x 2 block D, whichever of the two are kept.

With pruned inputs at u = -w the minimum is a function f_S of the kept ones S. What a pair saves by |S| = 0, 1, 2
is replaced by its concave hull, whose two increments, the larger first, are as good as the savings of two inputs:

    f_0 = w'Dw - 2 g'w,   f_1 = d_2 w_2^2 - 2 g_2 w_2 - (g_1 - e w_2)^2 / d_1,   f_12 = -g'D^-1 g.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ..gram import FloatArray
from ..proof import Below
from .psd import TINY, U


def pair_terms(
    below: Below, d: FloatArray, w: FloatArray, g: FloatArray, radius: FloatArray, margin: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """f_0, rounded down, and the two increments of every pair, rounded up, (pairs,) each; infinite if useless.

    Parameters
    ----------
    d : (n,) diagonal of D.   w : (n,) weights.
    g, radius : (n,) g, and how far it may be from the exact one.
    """
    i, k = below.pairs.T
    # f is linear in (d, e, g): a power of two brings products of three of them to a size that float64 has
    power = np.frexp(np.maximum(d[i], d[k]))[1]
    di, dk, e, gi, gk, ri, rk = np.ldexp((d[i], d[k], below.across, g[i], g[k], radius[i], radius[k]), -power)
    wi, wk, slack = w[i], w[k], margin * 32 * U  # each expression below has fewer than 30 roundings
    nothing = di * wi**2 + dk * wk**2 + 2 * e * wi * wk - 2 * (gi * wi + gk * wk)
    size = np.abs(di) * wi**2 + np.abs(dk) * wk**2 + 2 * np.abs(e * wi * wk)
    size = size + 2 * (np.abs(gi * wi) + np.abs(gk * wk))
    nothing = nothing - slack * size - 2 * (ri * np.abs(wi) + rk * np.abs(wk)) * (1 + slack) - TINY
    alone = np.minimum(_alone(di, dk, e, wk, gi, gk, ri, rk, slack), _alone(dk, di, e, wi, gk, gi, rk, ri, slack))
    determinant = di * dk - e * e
    determinant = determinant - slack * (np.abs(di * dk) + e * e) - TINY
    square = dk * gi**2 - 2 * e * gi * gk + di * gk**2
    square = square + 2 * (np.abs(dk * gi - e * gk) * ri + np.abs(di * gk - e * gi) * rk)
    square = square + dk * ri**2 + 2 * np.abs(e) * ri * rk + di * rk**2
    # the differences in it cancel, so that each product counts with its size
    sizes = dk * (np.abs(gi) + ri) ** 2 + 2 * np.abs(e) * (np.abs(gi) + ri) * (np.abs(gk) + rk)
    square = np.maximum(square, 0.0) + slack * (sizes + di * (np.abs(gk) + rk) ** 2) + TINY
    definite = (di > 0) & (dk > 0) & (determinant > 0)
    together = np.where(definite, -square / determinant * (1 + slack) - TINY, -np.inf)
    one, two = np.nextafter(nothing - alone, np.inf), np.nextafter(nothing - together, np.inf)
    first = np.maximum(np.maximum(one, two / 2), 0.0)
    second = np.maximum(np.nextafter(two - first, np.inf), 0.0)
    return np.ldexp(nothing, power) - TINY, np.ldexp(first, power) + TINY, np.ldexp(second, power) + TINY


def _alone(
    d: FloatArray,
    other: FloatArray,
    e: FloatArray,
    w: FloatArray,
    g: FloatArray,
    of_other: FloatArray,
    r: FloatArray,
    s: FloatArray,
    slack: float,
) -> FloatArray:
    """f_S where one input is kept and the other, whose d, w, g and radius are given after its own, is not."""
    line = 2 * np.abs(of_other * w)
    pruned = other * w**2 - 2 * of_other * w
    pruned = pruned - slack * (np.abs(other) * w**2 + line) - 2 * s * np.abs(w) * (1 + slack) - TINY
    most = np.abs(g - e * w) + slack * (np.abs(g) + np.abs(e * w)) + r
    # most * (most / d): the square alone may underflow
    vertex = most * np.divide(most, d, out=np.full(len(d), np.inf), where=d > 0)
    return np.asarray(pruned - vertex * (1 + slack) - slack * np.abs(pruned) - TINY)


def exact_pair(
    di: Fraction, dk: Fraction, e: Fraction, wi: Fraction, wk: Fraction, gi: Fraction, gk: Fraction
) -> tuple[Fraction, tuple[Fraction, Fraction] | None]:
    """f_0 and the two increments in rational arithmetic; None for infinite ones, as D is not positive definite."""
    determinant = di * dk - e * e
    nothing = di * wi**2 + dk * wk**2 + 2 * e * wi * wk - 2 * (gi * wi + gk * wk)
    if di <= 0 or determinant <= 0:
        return nothing, None
    alone = min(
        dk * wk**2 - 2 * gk * wk - (gi - e * wk) ** 2 / di, di * wi**2 - 2 * gi * wi - (gk - e * wi) ** 2 / dk
    )
    two = nothing + (dk * gi**2 - 2 * e * gi * gk + di * gk**2) / determinant
    first = max(nothing - alone, two / 2)
    return nothing, (first, two - first)
