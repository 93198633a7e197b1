"""What keeping inputs saves in the bound of a node with 2 x 2 blocks, and what forcing one of them adds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import FloatArray

from ..kernels.apart import BORROWS, VECTOR, apart, inner, named
from .pieces import PAIR_BLOCKS, PairBlocks

CORRELATED = 0.64
"""Largest e^2 / (d_1 d_2) of a pair: near 1 the relaxation is hard to solve, and .999 needs more nodes as well."""

SAVED = 1 + 1e-12
"""Covers the rounding of a pair's saving r'B^-1 r, whose determinant loses a digit."""

EXACT = 1 - 1e-5
"""Part of what a step along Q^-1 e_i gains that counts: what is left out is more than the rounding of P_ii."""


class Savings(NamedTuple):
    """What keeping inputs saves, changed in place."""

    own: FloatArray
    """(m,) r_i^2 / d_i: by itself."""
    both: FloatArray
    """(m,) r_p'D_p^-1 r_p at the first input of a pair: with the other one, else 0."""
    increments: FloatArray
    """(m,) of the concave hulls."""


SAVINGS = named([VECTOR] * 3, Savings)
"""Their type in compiled code."""


@inner()
def no_savings(m: int) -> Savings:
    """Room for them."""
    return Savings(np.empty(m), np.zeros(m), np.empty(m))


@apart(None, PAIR_BLOCKS, VECTOR, VECTOR, SAVINGS, **BORROWS)
def savings(blocks: PairBlocks, r: FloatArray, hidden: FloatArray, out: Savings) -> None:
    """Savings at the residuals r, each rounded up: hidden (m,) is what rounding may hide in them."""
    d, e, own, both, increments = blocks.d, blocks.e, out.own, out.both, out.increments
    for i in range(len(d)):
        value = abs(r[i]) + hidden[i]
        own[i] = value * value / d[i]
        increments[i] = own[i]
    for i in range(0, 2 * blocks.pairs, 2):
        j = i + 1
        determinant = d[i] * d[j] - e[i] * e[i]
        value = (d[j] * r[i] * r[i] - 2.0 * e[i] * r[i] * r[j] + d[i] * r[j] * r[j]) / determinant
        spread = abs(e[i])
        unsure = (
            d[j] * hidden[i] ** 2 + 2.0 * spread * hidden[i] * hidden[j] + d[i] * hidden[j] ** 2
        ) / determinant
        value = SAVED * (np.sqrt(max(value, 0.0)) + np.sqrt(unsure)) ** 2
        alone = max(own[i], own[j])
        if not value >= alone:
            value = alone if value < alone else np.inf  # rounding, or not a number
        both[i] = value
        increments[i] = max(alone, 0.5 * value)
        increments[j] = value - increments[i]


@inner(**BORROWS)
def losses(
    blocks: PairBlocks,
    saved: Savings,
    last: FloatArray,
    first: FloatArray,
    v: FloatArray,
    r: FloatArray,
    spread: FloatArray,
    inside: FloatArray,
    outside: FloatArray,
) -> None:
    """By how much the bound rises if input i must be kept (inside) or pruned (outside), out.

    With any price p of a unit, the savings are at most sum max_S (f_S - |S| p) + k p; the k-th and the (k + 1)-th
    largest increment, last and first, are both best prices, and the better of the two is taken. A step of t along
    Q^-1 e_i changes r_i alone, see `dual_steps`: where i is pruned, r_i saves nothing and the best one is worth
    v_i^2 / P_ii; where it is kept, r_i always does.

    Parameters
    ----------
    blocks : D.
    saved : savings at r.
    last : (groups,).
    first : (groups,).
    v : (m,) point of the bound.
    r : (m,) b - Qv.
    spread : (m,) P_ii, the diagonal of Q^-1; 0 where it is not known.
    """
    d, e, own, both, group, m = blocks.d, blocks.e, saved.own, saved.both, blocks.group, len(saved.own)
    for i in range(m):
        inside[i] = 0.0
        outside[i] = 0.0
    for turn in range(2):
        for i in range(m):
            price = last[group[i]] if turn == 0 else first[group[i]]
            curve = 1.0 / d[i]
            slope, bent = r[i] * curve, curve
            one, two, all_ = own[i] - price, 0.0, -np.inf
            if i < 2 * blocks.pairs:
                j, cross = i ^ 1, e[i & -2]
                f = 1.0 / (d[i] * d[j] - cross * cross)
                slope, bent = (d[j] * r[i] - cross * r[j]) * f, d[j] * f
                two, all_ = max(0.0, own[j] - price), both[i & -2] - 2.0 * price
            kept = max(one, all_)
            best = max(two, kept)
            gain, freed = 0.0, 0.0
            if spread[i] > 0.0:
                freed = EXACT * v[i] * v[i] / spread[i]
                for way in range(2):
                    t = r[i] * curve - v[i] if way == 0 else slope - v[i]
                    t /= spread[i] + (curve if way == 0 else bent)
                    moved = max(one - t * (2.0 * r[i] * curve - t * curve), all_ - t * (2.0 * slope - t * bent))
                    gain = max(gain, EXACT * (kept - moved - t * (2.0 * v[i] + t * spread[i])))
            inside[i] = max(inside[i], best - kept + gain)
            outside[i] = max(outside[i], best - two + freed)
