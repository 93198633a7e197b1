"""Larger 2 x 2 blocks: coordinate ascent on <G, D> + mu log det(A - D), and which inputs to pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import MATRIX, NUMBERS, REAL, TRUTH, VECTOR, WHOLE, apart, inner, named
from ..kernels.sparing import ZERO, constant, nones
from ..kernels.tiles import ROWS, subtract_product
from .node_perspective import LEAST_SHARE
from .pieces import PAIR_BLOCKS, HullPieces, PairBlocks, no_pieces, prices
from .savings import CORRELATED

SHORTER, TRIALS = 0.5, 5
"""Factor on a step that leaves the positive definite blocks, and lengths tried; then the diagonal alone moves.
With two lengths the bounds of ten rows of 112 inputs at 75 % are .010 lower."""

INSIDE = 1.0 + 1e-9
"""A block whose diagonal is at its limit stays this much inside of the positive definite ones."""


class Gradient(NamedTuple):
    """G, the gradient in D of what is maximised, changed in place."""

    weights: FloatArray
    """(m,) its diagonal."""
    cross: FloatArray
    """(m,) its entry of a pair at the first input."""


GRADIENT = named([VECTOR] * 2, Gradient)
"""Its type in compiled code."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def spread(x: FloatArray, blocks: PairBlocks, theta: FloatArray, at: HullPieces, out: Gradient) -> None:
    """Gradient of the relaxation's value in D: sum_S l_S y_S y_S' - x x' of each block, y_S = D_SS^-1 r_S."""
    pairs, d, e, group = blocks.pairs, blocks.d, blocks.e, blocks.group
    k, shares, weights, cross = at.k, at.shares, out.weights, out.cross
    for i in range(0, 2 * pairs, 2):
        j = i + 1
        price = theta[group[i]]
        r1 = k[i, 0] * x[i] + k[i, 1] * x[j] + price * k[i, 2]
        r2 = k[i, 1] * x[i] + k[j, 0] * x[j] + price * k[j, 2]
        determinant = d[i] * d[j] - e[i] * e[i]
        y1, y2 = (d[j] * r1 - e[i] * r2) / determinant, (d[i] * r2 - e[i] * r1) / determinant
        both = shares[i, 1]
        one, two = max(shares[i, 0] - both, 0.0), max(shares[j, 0] - both, 0.0)
        weights[i] = max(one * (r1 / d[i]) ** 2 + both * y1 * y1 - x[i] * x[i], 0.0)
        weights[j] = max(two * (r2 / d[j]) ** 2 + both * y2 * y2 - x[j] * x[j], 0.0)
        cross[i] = both * y1 * y2 - x[i] * x[j]
    for i in range(2 * pairs, len(x)):
        share = shares[i, 0]
        weights[i] = x[i] * x[i] * (1.0 / share - 1.0) if share > LEAST_SHARE else 0.0


@apart(TRUTH, MATRIX, PAIR_BLOCKS, VECTOR, REAL, REAL, VECTOR)
def sweep(
    p: FloatArray, blocks: PairBlocks, x: FloatArray, even: float, barrier: float, least: FloatArray
) -> bool:
    """One sweep of D along its gradient at the relaxation's point x, in place; False if there is none.

    Parameters
    ----------
    p : (m, m) (A - D)^-1, its lower triangle; overwritten.
    even : weight of every input on top of its own, as a part of the mean gradient.
    barrier : mu as a part of the mean of <G_i, D_i>.
    least : (m,) smallest d.
    """
    d, e, group, m, groups = blocks.d, blocks.e, blocks.group, len(x), len(blocks.keep)
    theta, at = np.zeros(groups), no_pieces(m, groups)
    gradient = Gradient(np.empty(m), np.zeros(m))
    weights, cross = gradient.weights, gradient.cross
    for s in range(m):
        theta[group[s]] += np.sqrt(d[s]) * abs(x[s])
    prices(x, blocks, theta, at)
    spread(x, blocks, theta, at, gradient)
    mean = 0.0
    for s in range(m):
        mean += weights[s]
    mean /= m
    if not mean > 0.0:
        return False
    worth = 0.0
    for s in range(m):
        weights[s] += even * mean
        worth += (weights[s] * d[s] + 2.0 * cross[s] * e[s]) / m
    ascend_pairs(p, blocks, gradient, barrier * worth, least)
    return True


@apart(None, MATRIX, PAIR_BLOCKS, GRADIENT, REAL, VECTOR)
def ascend_pairs(p: FloatArray, blocks: PairBlocks, gradient: Gradient, mu: float, least: FloatArray) -> None:
    """One sweep of block coordinate ascent on sum <G_p, D_p> + mu log det(A - D), in place, last block first.

    With P = (A - D)^-1 the best step of a block is P_pp^-1 - mu G_p^-1. Only the lower triangle of P is read, and
    a row of it is brought up to date when its block's turn comes: a block's step adds K of its entries there and a
    multiple of its own rows, which stay as they are from then on.
    """
    m, pairs, weights = len(least), blocks.pairs, gradient.weights
    steps = np.empty((m, m))  # row i: the multiple of row i of P that the rows before it have to lose
    for lo in range((m - 1) // ROWS * ROWS, -1, -ROWS):
        i = hi = min(lo + ROWS, m)
        if hi < m:
            subtract_product(p, lo, ZERO, hi, steps, lo, p, hi, m)
        while i > lo:
            end = i
            if i > 2 * pairs:
                i -= 1
                k = step_of_one(p, blocks.d, i, weights, mu, least)
                for row in range(i):
                    steps[i, row] = -k * p[i, row]
            else:
                i -= 2
                k1, k12, k2 = step_of_pair(p, blocks, i, gradient, mu, least)
                for row in range(i):
                    steps[i, row] = -(k1 * p[i, row] + k12 * p[i + 1, row])
                    steps[i + 1, row] = -(k12 * p[i, row] + k2 * p[i + 1, row])
            for row in range(lo, i):
                for q in range(i, end):
                    f = steps[q, row]
                    for s in range(row + 1):
                        p[row, s] -= f * p[q, s]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def step_of_one(p: FloatArray, d: FloatArray, i: int, weights: FloatArray, mu: float, least: FloatArray) -> float:
    """Best step of an input that is alone; K, 0 if there is none."""
    t = 1.0 / p[i, i] - mu / weights[i]
    t = max(t, least[i] - d[i])
    if not np.isfinite(t):
        return 0.0
    d[i] += t
    return t / (1.0 - t * p[i, i])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def step_of_pair(
    p: FloatArray, blocks: PairBlocks, i: int, gradient: Gradient, mu: float, least: FloatArray
) -> tuple[float, float, float]:
    """Best step T of the pair (i, i + 1) within positive definite blocks; K = (I - T P)^-1 T, 0 without a step."""
    d, e, weights, cross = blocks.d, blocks.e, gradient.weights, gradient.cross
    j = i + 1
    p1, p12, p2 = p[i, i], p[j, i], p[j, j]
    g1, g12, g2 = weights[i], cross[i], weights[j]
    det_p, det_g = p1 * p2 - p12 * p12, g1 * g2 - g12 * g12
    t1, t12, t2 = p2 / det_p - mu * g2 / det_g, -p12 / det_p + mu * g12 / det_g, p1 / det_p - mu * g1 / det_g
    inside = False
    if np.isfinite(t1 + t12 + t2) and det_p > 0.0 and det_g > 0.0:
        for _ in range(TRIALS):
            n1, n2, n12 = d[i] + t1, d[j] + t2, e[i] + t12
            inside = n1 >= least[i] and n2 >= least[j] and n12 * n12 <= CORRELATED * n1 * n2
            if inside:
                break
            t1, t12, t2 = SHORTER * t1, SHORTER * t12, SHORTER * t2
    if not inside:
        t12 = 0.0
        t1 = 1.0 / p1 - mu / g1
        t1 = max(t1, max(least[i], e[i] * e[i] / (CORRELATED * d[j]) * INSIDE) - d[i])
        after = p2 + t1 * p12 * p12 / (1.0 - t1 * p1)
        t2 = 1.0 / after - mu / g2
        t2 = max(t2, max(least[j], e[i] * e[i] / (CORRELATED * (d[i] + t1)) * INSIDE) - d[j])
        if not np.isfinite(t1 + t2):
            return 0.0, 0.0, 0.0
    a11, a12 = 1.0 - (t1 * p1 + t12 * p12), -(t1 * p12 + t12 * p2)
    a21, a22 = -(t12 * p1 + t2 * p12), 1.0 - (t12 * p12 + t2 * p2)
    det_a = a11 * a22 - a12 * a21
    if not det_a > 0.0:
        return 0.0, 0.0, 0.0
    d[i] += t1
    d[j] += t2
    e[i] += t12
    return (a22 * t1 - a12 * t12) / det_a, (a22 * t12 - a12 * t2) / det_a, (a11 * t2 - a21 * t12) / det_a


@apart(None, MATRIX, WHOLE, NUMBERS, NUMBERS, python=True)
def match(p: FloatArray, begin: int, group: IntArray, partner: IntArray) -> None:
    """Pair inputs from `begin` on, of the same group, greedily by |P_ij| / sqrt(P_ii P_jj); partner is out.

    P = (A - D)^-1 is dominated by the direction in which A - D is nearly singular, where D is stuck: there an
    off-diagonal entry lets the diagonal grow.
    """
    n = len(group)
    best, other = constant(n, 0.0), nones(n)
    for i in range(begin, n):
        best[i], other[i] = _closest(p, i, begin, group, partner)
    while True:
        first = -1
        for i in range(begin, n):
            if partner[i] < 0 and other[i] >= 0 and (first < 0 or best[i] > best[first]):
                first = i
        if first < 0:
            return
        second = other[first]
        partner[first], partner[second] = second, first
        for i in range(begin, n):
            if partner[i] < 0 and (other[i] == first or other[i] == second):
                best[i], other[i] = _closest(p, i, begin, group, partner)


@inner()
def _closest(p: FloatArray, i: int, begin: int, group: IntArray, partner: IntArray) -> tuple[float, int]:
    """The input that i would be paired with, -1 if there is none, and P_ij^2 / (P_ii P_jj)."""
    most, other = 0.0, -1
    if partner[i] < 0:
        for j in range(begin, len(group)):
            if j != i and partner[j] < 0 and group[j] == group[i]:
                between = p[max(i, j), min(i, j)]
                value = between * between / (p[i, i] * p[j, j])
                if value > most:
                    most, other = value, j
    return most, other
