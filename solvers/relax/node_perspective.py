"""The perspective relaxation with diagonal D: minimise c - 2b'x + x'Qx + sum_g (k-support norm of sqrt(d) x)^2.

A node's free inputs have the error c - 2b'x + x'(Q + D)x. With z_u in [0, 1] for every unit u, d_i x_i^2 may be
replaced by d_i x_i^2 / z_u (perspective; Frangioni & Gentile 2006, Guenluek & Linderoth 2010). Minimising over z
with sum_{u in g} z_u <= k_g gives, for y_u = sqrt(sum_{i in u} d_i x_i^2), water-filling: z_u = min(1, y_u / s_g).
Any x gives a lower bound, because x'Qx >= 2v'Qx - v'Qv separates by unit:

    e >= c - v'Qv - sum_g (the k_g largest of sum_{i in u} r_i^2 / d_i),   r = b - Qv.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.sparsity import Sparsity

from ..kernels.apart import MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart, inner, named
from ..kernels.cholesky import UNIT_ROUNDOFF, factor, solve
from ..kernels.sparing import ZERO, assign
from .follow import follow

ROUNDING = 4 * UNIT_ROUNDOFF
"""Rounding of a bound relative to the size of its terms. The worst case of a sum of n terms is n times this; its
errors have random signs, so that a small multiple covers what happens, and bounds of this engine are numerical."""


RETURN = 0.05
"""Share of an idle unit that comes back; .01 and .25 take 3 and 12 nodes of 13,142 less (blocks of four)."""

LEAST_SHARE = 1e-9
"""Units with a smaller share stay at 0 in a step."""

ALIVE = 1e-14
"""Part of itself that is added to the diagonal of a system, which keeps its factor alive where Q is singular."""


class Quadratic(NamedTuple):
    """c - 2b'x + x'Qx: what D leaves of the error of m free inputs."""

    q: FloatArray
    """(m, m) Q = A - D."""
    b: FloatArray
    c: float
    loss: FloatArray
    """(m,) Q + diag(loss) is known to be positive semidefinite; 0 for regular nodes."""


class Pattern(NamedTuple):
    """What is kept or pruned as one."""

    unit: IntArray
    """(m,) unit of each input."""
    group: IntArray
    """(units,) group of each unit."""
    keep: IntArray
    """(groups,) budgets."""


def pattern_of(pattern: Sparsity) -> Pattern:
    """Those of a whole row."""
    return Pattern(pattern.unit, pattern.group, pattern.keep)


class Aim(NamedTuple):
    """When a relaxation has done enough."""

    iterations: int
    """Largest number of points evaluated."""
    target: float
    """The bound need not be higher."""
    precision: float
    """Objective - bound that is small enough."""


class NodePoint(NamedTuple):
    """The point of a relaxation, changed in place."""

    x: FloatArray
    """(m,) start, then the best iterate."""
    z: FloatArray
    """(units,) share of each unit there."""
    saving: FloatArray
    """(units,) what keeping it alone saves there."""


QUADRATIC = named([MATRIX, VECTOR, REAL, VECTOR], Quadratic)
PATTERN = named([NUMBERS] * 3, Pattern)
AIM = named([WHOLE, REAL, REAL], Aim)
NODE_POINT = named([VECTOR] * 3, NodePoint)
"""Their types in compiled code."""


@apart(None, VECTOR, WHOLE, NUMBERS, NUMBERS, VECTOR, VECTOR)
def water_fill(y: FloatArray, count: int, group: IntArray, keep: IntArray, z: FloatArray, s: FloatArray) -> None:
    """z_u = min(1, y_u / s_g) with sum z = k_g in every group; s_g = 0 where at most k_g of the y are positive.

    Every unit with y_u >= (sum of unsaturated y) / (budget left) is saturated; repeated until none is added.
    """
    groups = len(keep)
    total = np.zeros(groups)
    left = np.empty(groups)
    for g in range(groups):
        left[g] = keep[g]
    for u in range(count):
        z[u] = 0.0
        total[group[u]] += y[u]
    changed = True
    while changed:
        changed = False
        for g in range(groups):
            s[g] = total[g] / left[g] if left[g] > 0 and total[g] > 0.0 else 0.0
        for u in range(count):
            g = group[u]
            if z[u] == 0.0 and y[u] > 0.0 and left[g] > 0 and y[u] >= s[g]:
                z[u] = 1.0
                left[g] -= 1
                total[g] = max(0.0, total[g] - y[u])
                changed = True
    # recomputed, since the differences above cancel
    for g in range(groups):
        total[g] = 0.0
    for u in range(count):
        if z[u] == 0.0:
            total[group[u]] += y[u]
    for g in range(groups):
        s[g] = total[g] / left[g] if left[g] > 0 else 0.0
    for u in range(count):
        g = group[u]
        if z[u] == 0.0 and s[g] > 0.0:
            z[u] = min(1.0, y[u] / s[g])


@apart(REAL, VECTOR, WHOLE, NUMBERS, NUMBERS, VECTOR, VECTOR)
def largest(
    values: FloatArray, count: int, group: IntArray, keep: IntArray, last: FloatArray, first: FloatArray
) -> float:
    """Sum over groups of the k_g largest values; last[g], first[g]: the k_g-th and the (k_g + 1)-th largest.

    `last` is the least of all where a group has no more than k_g values, `first` is then 0.
    """
    total = 0.0
    begin = np.zeros(len(keep) + 1, np.int64)
    for u in range(count):
        begin[group[u] + 1] += 1
    for g in range(len(keep)):
        begin[g + 1] += begin[g]
    end, ordered = np.empty(len(keep), np.int64), np.empty(count)
    for g in range(len(keep)):
        end[g] = begin[g]
    for u in range(count):
        g = group[u]
        ordered[end[g]] = values[u]
        end[g] += 1
    for g in range(len(keep)):
        last[g], first[g] = 0.0, 0.0
        middle = min(begin[g] + keep[g], end[g])
        select(ordered, begin[g], middle, end[g])
        if middle > begin[g]:
            least, kept = ordered[begin[g]], 0.0
            for u in range(begin[g], middle):
                least = min(least, ordered[u])
                kept += ordered[u]
            last[g] = least
            total += kept
        if middle < end[g]:
            most = ordered[middle]
            for u in range(middle, end[g]):
                most = max(most, ordered[u])
            first[g] = most
    return total


@inner()
def select(values: FloatArray, low: int, middle: int, high: int) -> None:
    """Reorder values[low:high] so that none in [low:middle] is less than any in [middle:high] (quickselect)."""
    while low < middle < high and high - low > 1:
        # the median of three as the pivot, kept in front
        centre = (low + high) // 2
        one, two, three = values[low], values[centre], values[high - 1]
        at = low
        if (one > two) == (two > three):
            at = centre
        elif (one > three) == (three > two):
            at = high - 1
        pivot = values[at]
        values[at] = values[low]
        values[low] = pivot
        place = low
        for j in range(low + 1, high):
            value = values[j]
            if value > pivot:
                place += 1
                values[j] = values[place]
                values[place] = value
        values[low] = values[place]
        values[place] = pivot
        if place >= middle:
            high = place
        else:
            low = place + 1


@apart(REAL, QUADRATIC, VECTOR, PATTERN, AIM, NODE_POINT, MATRIX)
def relax(rest: Quadratic, d: FloatArray, of: Pattern, aim: Aim, out: NodePoint, work: FloatArray) -> float:
    """Solve the relaxation for fixed D and return the best lower bound; `out` is of that iterate.

    IRLS, x = (Q + D / z)^-1 b with z from water-filling, never raises the objective. Units of one input have the
    faster `relax_pairs`.

    Parameters
    ----------
    rest : what D leaves.
    d : (m,) > 0.
    of : units, groups with budgets >= 1.
    aim : when it ends.
    out : x is the start.
    work : (m, m) working space.
    """
    q, b, c, loss = rest.q, rest.b, rest.c, rest.loss
    unit, group, keep = of.unit, of.group, of.keep
    x, z, saving = out.x, out.z, out.saving
    m, units = len(b), len(group)
    follow(q, b, d, x)
    groups = len(keep)
    y, zt = np.empty(units), np.empty(units)
    st = np.empty(groups)
    xt, rt, savet = x.copy(), np.empty(m), np.empty(units)
    active, rhs = np.empty(m, np.int64), np.empty(m)
    last, first = np.empty(groups), np.empty(groups)
    best, lowest = -np.inf, np.inf
    for iteration in range(aim.iterations + 1):
        # objective and bound at xt
        quadratic, linear, size, lost = 0.0, 0.0, 0.0, 0.0
        for i in range(m):
            rt[i] = b[i]
        for j in range(m):
            if xt[j] != 0.0:
                f = xt[j]
                for i in range(m):
                    rt[i] -= q[j, i] * f
        for u in range(units):
            y[u] = 0.0
            savet[u] = 0.0
        for i in range(m):
            quadratic += xt[i] * (b[i] - rt[i])
            linear += xt[i] * b[i]
            size += np.sqrt(q[i, i] + d[i]) * abs(xt[i])
            lost += 2.0 * loss[i] * xt[i] * xt[i]
            y[unit[i]] += d[i] * xt[i] * xt[i]
        for i in range(m):
            # |Q_ij| <= sqrt(A_ii A_jj): what rounding may hide in r_i counts, since a tiny d_i magnifies it
            hidden = ROUNDING * (abs(b[i]) + np.sqrt(q[i, i] + d[i]) * size)
            savet[unit[i]] += (abs(rt[i]) + hidden) ** 2 / d[i]
        for u in range(units):
            y[u] = np.sqrt(y[u])
        water_fill(y, units, group, keep, zt, st)
        norm = 0.0
        for u in range(units):
            if zt[u] > 0.0:
                norm += y[u] * y[u] / zt[u]
        objective = c - 2.0 * linear + quadratic + norm
        bound = c - quadratic - largest(savet, units, group, keep, last, first)
        # loss (x - v)^2 <= 2 loss (x^2 + v^2); the part of x, of the row's own size, is below every tolerance
        bound -= lost + ROUNDING * (abs(c) + size * size)
        if not np.isfinite(bound):
            bound = -np.inf
        if bound > best or iteration == 0:
            best = max(best, bound)
            assign(x, xt)
            assign(z, zt)
            assign(saving, savet)
        if not objective < lowest:
            break
        lowest = objective
        if best >= aim.target or lowest - best <= aim.precision or iteration == aim.iterations:
            break
        count = ZERO
        for i in range(m):
            u = unit[i]
            if zt[u] == 0.0 and savet[u] > st[group[u]] ** 2:
                zt[u] = RETURN  # an idle unit that would save more than the price of its budget comes back
            if zt[u] > LEAST_SHARE:
                active[count] = i
                count += 1
        for a in range(count):
            i = active[a]
            for t in range(a, count):
                work[a, t] = q[i, active[t]]
            rhs[a] = b[i]
            work[a, a] += d[i] / zt[unit[i]]
            work[a, a] *= 1.0 + ALIVE  # any x is allowed
        if not factor(work, count):
            break
        solve(work, count, rhs)
        xt[:] = 0.0
        for a in range(count):
            xt[active[a]] = rhs[a]
        follow(q, b, d, xt)
    return best
