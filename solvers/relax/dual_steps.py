"""Coordinate steps on the dual of a node's relaxation, which raise the bound of a point for little.

The bound at v is c - v'Qv - max sum_p r_S'D_SS^-1 r_S with r = b - Qv, see `pairs`. With P = Q^-1 a step of t
along P e_i changes r_i by -t and no other residual, and v'Qv by 2 t v_i + t^2 P_ii. At a fixed price theta^2 for
each input that is kept, the maximum is a sum over pairs, so that the best t is where

    2 t v_i + t^2 P_ii + max(f_0, f_1 - 2 t s_1 + t^2 c_1, f_2 - 2 t s_2 + t^2 c_2)

is least: f_0 without i, f_1 with i alone, f_2 with its pair as well. Inputs that are kept in part lie where two of
the three are equal, where such steps stop by themselves; steps on x have to know the pieces for that.
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

from ..kernels.apart import BORROWS, MATRIX, VECTOR, WHOLE, apart, inner
from .pieces import PAIR_BLOCKS, PairBlocks


@inner(**BORROWS)
def _larger(f0: float, f1: float, s1: float, c1: float, f2: float, s2: float, c2: float, t: float):  # type: ignore[no-untyped-def]
    """(value, f, s, c) of the quadratic f - 2 t s + t^2 c that is the largest at t."""
    value1, value2 = f1 - t * (2.0 * s1 - t * c1), f2 - t * (2.0 * s2 - t * c2)
    if f0 >= value1 and f0 >= value2:
        return f0, f0, 0.0, 0.0
    if value1 >= value2:
        return value1, f1, s1, c1
    return value2, f2, s2, c2


@inner(**BORROWS)
def best_step(
    v: float, p: float, f0: float, f1: float, s1: float, c1: float, f2: float, s2: float, c2: float
) -> float:
    """The t above; where all three quadratics matter perhaps another one, which is no worse than 0.

    Any t is allowed: it is a step to another point, which has a bound of its own.
    """
    now, f, s, c = _larger(f0, f1, s1, c1, f2, s2, c2, 0.0)
    t = (s - v) / (p + c)
    value, g, k, h = _larger(f0, f1, s1, c1, f2, s2, c2, t)
    if f - t * (2.0 * s - t * c) >= value:
        return t
    # g is larger where the step with f is best: the best one is that with g, if g is larger there, or between the
    # two where f and g meet
    other = (k - v) / (p + h)
    if g - other * (2.0 * k - other * h) < f - other * (2.0 * s - other * c):
        height, slope, curve = f - g, s - k, c - h
        root = np.sqrt(max(slope * slope - curve * height, 0.0))
        root = slope + root if slope >= 0.0 else slope - root
        meet = height / root if root != 0.0 else t
        if not (meet - t) * (other - meet) >= 0.0:
            meet = root / curve if curve != 0.0 else t
        other = meet
    value, g, k, h = _larger(f0, f1, s1, c1, f2, s2, c2, other)
    return other if other * (2.0 * v + other * p) + value <= now else 0.0


@apart(None, MATRIX, PAIR_BLOCKS, VECTOR, VECTOR, VECTOR, WHOLE, **BORROWS)
def dual_steps(
    p: FloatArray, blocks: PairBlocks, theta: FloatArray, v: FloatArray, r: FloatArray, passes: int
) -> None:
    """A step of every input, `passes` times, in place.

    Parameters
    ----------
    p : (m, m) Q^-1.
    theta : (groups,) prices.
    v : (m,).
    r : (m,) b - Qv; rounding makes it less so with every step.
    """
    d, e, group, pairs, m = blocks.d, blocks.e, blocks.group, blocks.pairs, len(v)
    for _ in range(passes):
        for i in range(m):
            price = theta[group[i]] * theta[group[i]]
            curve = 1.0 / d[i]
            alone = r[i] * r[i] * curve - price
            if i < 2 * pairs:
                j = i ^ 1
                cross, other = e[i & -2], r[j] / d[j]
                f = 1.0 / (d[i] * d[j] - cross * cross)
                slope = (d[j] * r[i] - cross * r[j]) * f
                both = other * r[j] + (r[i] - cross * other) * slope - 2.0 * price
                without = max(0.0, other * r[j] - price)
                t = best_step(v[i], p[i, i], without, alone, r[i] * curve, curve, both, slope, d[j] * f)
            else:
                t = best_step(v[i], p[i, i], 0.0, alone, r[i] * curve, curve, -np.inf, 0.0, curve)
            if t != 0.0:
                r[i] -= t
                for s in range(m):
                    v[s] += t * p[i, s]
