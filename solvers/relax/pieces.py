"""The convex hull of a 2 x 2 quadratic with two indicators: what the perspective is for one input, for a pair.

For B positive definite, theta > 0 and x in R^2 (Atamtuerk and Gomez, "Rank-one convexification for sparse
regression", 2019; Han, Gomez and Atamtuerk, "2x2-convexifications for convex quadratic optimization with indicator
variables", 2020)

    phi(x) = min  x'Lambda^-1 x + theta^2 (l_1 + l_2 + 2 l_12),   Lambda = sum_S l_S [B_SS^-1],

over shares l >= 0 of the supports {}, {1}, {2}, {1, 2} that add up to 1. Its half gradient r is where the largest
of r_S'B_SS^-1 r_S - |S| theta^2 is attained by every S with l_S > 0. Solving those ties case by case gives

    r = K x + theta s,    theta (l_1 + l_2 + 2 l_12) = s'x + c theta

with K, s, c that are constant in each of ten pieces of the plane but one, {} with {1, 2}, where phi is a norm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import BORROWS, MATRIX, NUMBERS, VECTOR, WHOLE, apart, inner, named

PRICES = 30
"""Iterations for theta; about 3 are needed. Any theta is allowed: bounds do not rely on it."""

SETTLED = 1e-12
"""Relative change of a price, or excess of its budget, that is none."""

TIE = 1e-9
"""Budgets are integers; less than this is nothing left of one."""

NARROW = 0.1
"""The norm piece is curved like 1 / |x|; closer to 0 than this part of its width, its curvature there is used."""


class PairBlocks(NamedTuple):
    """D, made of 1 x 1 and 2 x 2 blocks, and the budgets: inputs 2 p and 2 p + 1 are a pair for p < pairs."""

    pairs: int
    d: FloatArray
    """(m,) its diagonal."""
    e: FloatArray
    """(m,) its entry at (2 p, 2 p + 1) for the first input of a pair, else 0."""
    group: IntArray
    """(m,) group of each input."""
    keep: IntArray
    """(groups,) budgets >= 1."""


class HullPieces(NamedTuple):
    """On which piece of the hulls a point lies, changed in place."""

    k: FloatArray
    """(m, 3) K_ii, K_12 (first input of a pair) and s_i."""
    shares: FloatArray
    """(m, 2) the share of each input, and l_12 (first input of a pair)."""
    left: FloatArray
    """(groups,) k_g - sum c."""
    linear: FloatArray
    """(groups,) sum s'x."""
    low: FloatArray
    """(groups,) between this and `high` lies the price that uses up the budget."""
    high: FloatArray
    """(groups,)."""


PAIR_BLOCKS = named([WHOLE, VECTOR, VECTOR, NUMBERS, NUMBERS], PairBlocks)
HULL_PIECES = named([MATRIX, MATRIX, *[VECTOR] * 4], HullPieces)
"""Their types in compiled code."""


@inner()
def no_pieces(m: int, groups: int) -> HullPieces:
    """Room for them."""
    left, linear, low, high = np.empty(groups), np.empty(groups), np.empty(groups), np.empty(groups)
    return HullPieces(np.zeros((m, 3)), np.zeros((m, 2)), left, linear, low, high)


@inner(**BORROWS)
def single(x: float, b: float, theta: float):  # type: ignore[no-untyped-def]
    """(K, s, c, share) of one input: the reverse Huber function."""
    if x == 0.0:
        return 0.0, 0.0, 0.0, 0.0
    root = np.sqrt(b)
    size = root * abs(x)
    if size < theta:
        return 0.0, root if x > 0.0 else -root, 0.0, size / theta
    return b, 0.0, 1.0, 1.0


@inner(**BORROWS)
def pair(x1: float, x2: float, b1: float, b2: float, e: float, theta: float):  # type: ignore[no-untyped-def]
    """(K11, K12, K22, s1, s2, c, l1, l2, l12) of two inputs, B = [[b1, e], [e, b2]]."""
    if x2 == 0.0:
        k, s, c, share = single(x1, b1, theta)
        return k, 0.0, 0.0, s, 0.0, c, share, 0.0, 0.0
    if x1 == 0.0:
        k, s, c, share = single(x2, b2, theta)
        return 0.0, 0.0, k, 0.0, s, c, 0.0, share, 0.0
    if theta <= 0.0:
        return b1, e, b2, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0
    # in units where B has diagonal 1 and x is not negative
    r1 = np.sqrt(b1) if x1 > 0.0 else -np.sqrt(b1)
    r2 = np.sqrt(b2) if x2 > 0.0 else -np.sqrt(b2)
    u1, u2 = r1 * x1, r2 * x2
    f = e / (r1 * r2)
    beta = np.sqrt(1.0 - f * f)
    step = theta / beta
    if f >= 0.0:
        total = u1 + u2
        if total <= theta:  # {}, {1}, {2}
            return 0.0, 0.0, 0.0, r1, r2, 0.0, u1 / theta, u2 / theta, 0.0
        corner = theta * (1.0 + f) / beta
        if total <= corner:  # {1}, {2}
            return b1, r1 * r2, b2, 0.0, 0.0, 1.0, u1 / total, u2 / total, 0.0
        if u1 >= step and u2 >= step:
            return b1, e, b2, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0
        both = (total - corner) / (2.0 * step - corner)
        l1, l2 = (u1 - both * step) / corner, (u2 - both * step) / corner
        if l1 >= 0.0 and l2 >= 0.0:  # {1}, {2}, {1, 2}
            ratio = corner / theta
            return 0.0, 0.0, 0.0, ratio * r1, ratio * r2, 1.0 - ratio * ratio, l1, l2, both
    else:
        norm = u1 * u1 + u2 * u2 + 2.0 * f * u1 * u2
        g1, g2 = u1 + f * u2, u2 + f * u1
        wide = norm >= 2.0 * theta * theta
        if wide and u1 >= step and u2 >= step:
            return b1, e, b2, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0
        large, small = max(u1, u2), min(u1, u2)
        both = small / step
        alone = (large - both * theta * (1.0 - f / beta)) / theta
        if (2.0 * max(g1, g2) ** 2 <= norm or alone < 0.0) and not wide:  # {}, {1, 2}
            root = np.sqrt(norm)
            share = root / (np.sqrt(2.0) * theta)
            h1, h2 = r1 * g1 / root, r2 * g2 / root
            flat = 1.0 / max(share, NARROW)
            return (
                flat * (b1 - h1 * h1),
                flat * (e - h1 * h2),
                flat * (b2 - h2 * h2),
                np.sqrt(2.0) * h1,
                np.sqrt(2.0) * h2,
                0.0,
                0.0,
                0.0,
                share,
            )
        if alone < 0.0:
            return b1, e, b2, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0
        if alone + both <= 1.0:  # {}, the larger, {1, 2}
            if u1 >= u2:
                return 0.0, 0.0, 0.0, r1, r2 * (f + beta), 0.0, alone, 0.0, both
            return 0.0, 0.0, 0.0, r1 * (f + beta), r2, 0.0, 0.0, alone, both
    # the larger, {1, 2}: the larger is kept, and the smaller has the reverse Huber function of what is left
    if u1 >= u2:
        a = e / b1
        both = min(1.0, u2 / step)
        return b1, e, a * e, 0.0, beta * r2, 1.0, 1.0 - both, 0.0, both
    a = e / b2
    both = min(1.0, u1 / step)
    return a * e, e, b2, beta * r1, 0.0, 1.0, 0.0, 1.0 - both, both


@apart(None, VECTOR, PAIR_BLOCKS, VECTOR, HULL_PIECES, **BORROWS)
def pieces_at(x: FloatArray, blocks: PairBlocks, theta: FloatArray, out: HullPieces) -> None:
    """Pieces of all inputs at the prices theta (groups,)."""
    d, e, group = blocks.d, blocks.e, blocks.group
    k, shares, left, linear = out.k, out.shares, out.left, out.linear
    for g in range(len(blocks.keep)):
        left[g] = blocks.keep[g]
        linear[g] = 0.0
    for i in range(0, 2 * blocks.pairs, 2):
        g = group[i]
        k1, k12, k2, s1, s2, c, l1, l2, l12 = pair(x[i], x[i + 1], d[i], d[i + 1], e[i], theta[g])
        k[i, 0], k[i, 1], k[i, 2] = k1, k12, s1
        k[i + 1, 0], k[i + 1, 1], k[i + 1, 2] = k2, 0.0, s2
        shares[i, 0], shares[i + 1, 0], shares[i, 1] = l1 + l12, l2 + l12, l12
        linear[g] += s1 * x[i] + s2 * x[i + 1]
        left[g] -= c
    for i in range(2 * blocks.pairs, len(x)):
        g = group[i]
        k1, s1, c, l1 = single(x[i], d[i], theta[g])
        k[i, 0], k[i, 1], k[i, 2] = k1, 0.0, s1
        shares[i, 0] = l1
        linear[g] += s1 * x[i]
        left[g] -= c


@apart(None, VECTOR, PAIR_BLOCKS, VECTOR, HULL_PIECES, **BORROWS)
def prices(x: FloatArray, blocks: PairBlocks, theta: FloatArray, out: HullPieces) -> None:
    """theta_g >= 0 at which the shares of every group add up to its budget (0 if they need less), and the pieces.

    Newton's iteration for theta sum_S |S| l_S = k theta, from the theta at hand. The sum of shares falls as theta
    rises, which brackets theta; a step that leaves the bracket is replaced by its middle.
    """
    d, group, left, linear, low, high = blocks.d, blocks.group, out.left, out.linear, out.low, out.high
    groups = len(blocks.keep)
    for g in range(groups):
        low[g], high[g] = 0.0, np.inf
        if theta[g] == 0.0:  # nothing leads away from 0
            for i in range(len(x)):
                if group[i] == g:
                    theta[g] += np.sqrt(d[i]) * abs(x[i])
    for _ in range(PRICES):
        pieces_at(x, blocks, theta, out)
        done = True
        for g in range(groups):
            old, over = theta[g], linear[g] - left[g] * theta[g]
            if over > 0.0:
                low[g] = max(low[g], old)
            else:
                high[g] = min(high[g], old)
            new = old
            if abs(over) > SETTLED * (linear[g] + old):
                new = linear[g] / left[g] if left[g] > TIE else np.inf
                if not low[g] <= new <= high[g] or new == np.inf:
                    new = 0.5 * (low[g] + high[g]) if high[g] < np.inf else 2.0 * old
            if abs(new - old) > SETTLED * new:
                theta[g] = new
                done = False
        if done:
            return
