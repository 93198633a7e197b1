"""The perspective relaxation of a whole row for a given diagonal, at any size: re-optimised pruning.

With H = Q + D, D = diag(d) > 0 and Q positive semidefinite, minimise over x and over z in [0, 1] with at most k_g
units in every group

    c - 2b'x + x'Qx + sum_i d_i x_i^2 / z_i,      b = Hw, c = w'Hw

(perspective; Frangioni & Gentile 2006, Guenluek & Linderoth 2010). Any x gives a lower bound of the row's error,

    c - x'Qx - sum_g (the k_g largest of sum_{i in u} r_i^2 / d_i),      r = b - Qx.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray

from ..kernels.cholesky import factor, solve
from ..kernels.sparing import ZERO, assign
from .node_perspective import Pattern, largest, water_fill

IDLE = 1e-7
"""Units with a smaller z are left out of the linear system: their x is then below 1e-7 of what it saves."""

RETURN = 1e-2
"""z of an idle unit that would save more than its budget costs: iteratively reweighted least squares cannot
bring back by itself what it has once made zero."""

LEAVING = (1e-2, 1e-5)
"""The same for Newton steps, in turn: what is about to leave would change its sign, but may be about to stay."""

CHECK = 3
"""Iterations between two evaluations of the bound."""

LENGTHS = (1.0, 0.4, 0.16)
"""Parts of a Newton step that are tried: the objective at them costs next to nothing."""

NEWTON = 12
"""Iterations in which Newton steps are tried: units about to come and go can make them cycle."""

RISE = 1e-2
"""Part of the precision by which a Newton step may raise the objective: at the optimum it is lower by rounding
only, and the bound, more sensitive, may rise much. 1e-3 and 1e-1 change the mean bound of ten rows by .003 at
most, in four patterns of 112 to 240 inputs."""

HELPS = 0.05
"""Part of the precision that a Newton step must gain to be followed by another at once; .01 and .25 change these
means by .001 at most."""

REST = 2
"""Reweighted systems after a Newton step that did not help."""


@njit(cache=True, nogil=True)
def objective_at(
    q: FloatArray,
    d: FloatArray,
    b: FloatArray,
    c: float,
    of: Pattern,
    x: FloatArray,
    qx: FloatArray,
    z: FloatArray,
    price: FloatArray,
) -> float:
    """The relaxation's objective at x and its best z; Qx, z and the price of a unit in every group are outputs."""
    unit, n, units = of.unit, len(x), len(of.group)
    y = np.zeros(units)
    for i in range(n):
        y[unit[i]] += d[i] * x[i] * x[i]
    for u in range(units):
        y[u] = np.sqrt(y[u])
    water_fill(y, units, of.group, of.keep, z, price)
    assign(qx, np.dot(q, x))
    total = c
    for i in range(n):
        total += x[i] * (qx[i] - 2.0 * b[i])
    for u in range(units):
        if z[u] > 0.0:
            total += y[u] * y[u] / z[u]
    return total


@njit(cache=True, nogil=True)
def solve_on_live(
    q: FloatArray,
    d: FloatArray,
    b: FloatArray,
    of: Pattern,
    x: FloatArray,
    z: FloatArray,
    newton: bool,
    least: float,
    out: FloatArray,
) -> bool:
    """The next x on the units with z > 0: (Q + D / z)^-1 b, or the minimiser for the signs and sets that x has.

    With units of one input, those kept in part cost (sum_i sqrt(d_i) |x_i|)^2 / kappa, kappa the budget that the
    wholly kept ones leave: a quadratic function as long as no sign and no set changes, hence one linear system.
    """
    unit, group, keep, n = of.unit, of.group, of.keep, len(x)
    live = np.empty(n, np.int64)
    count = ZERO
    for i in range(n):
        if z[unit[i]] > least and (not newton or x[i] != 0.0):
            live[count] = i
            count += 1
    a, rhs = np.empty((count, count)), np.empty(count)
    left = np.empty(len(keep))
    for g in range(len(keep)):
        left[g] = keep[g]
    slope = np.zeros(count)
    for s in range(count):
        i = live[s]
        if z[unit[i]] >= 1.0:
            left[group[unit[i]]] -= 1.0
        elif newton:
            slope[s] = np.sqrt(d[i]) * np.sign(x[i])
    for s in range(count):
        i = live[s]
        g = group[unit[i]]
        for t in range(count):
            a[s, t] = q[i, live[t]]
        if newton and z[unit[i]] < 1.0:
            for t in range(count):
                if slope[t] != 0.0 and group[unit[live[t]]] == g:
                    a[s, t] += slope[s] * slope[t] / left[g]
        else:
            a[s, s] += d[i] / z[unit[i]]
        rhs[s] = b[i]
    if not factor(a, len(a)):
        return False
    solve(a, count, rhs)
    out[:] = 0.0
    for s in range(count):
        if slope[s] * rhs[s] >= 0.0:
            out[live[s]] = rhs[s]
    return True


@njit(cache=True, nogil=True)
def relax(
    q: FloatArray,
    d: FloatArray,
    b: FloatArray,
    c: float,
    of: Pattern,
    iterations: int,
    precision: float,
    x: FloatArray,
    z: FloatArray,
    best: FloatArray,
) -> tuple[float, float]:
    """Reweighted least squares (z by water-filling, x = (Q + D / z)^-1 b), and Newton steps where they help.

    The former never raise the objective but converge linearly, the latter end once signs and sets are right.

    Parameters
    ----------
    q : (n, n) Q = H - D.   d : (n,) > 0.   b : (n,).   c : constant.
    of : units and budgets.
    iterations : linear systems solved at most.
    precision : stop when objective - bound is below this part of the objective.
    x : (n,) start, then the last iterate.   z : (units,) out, of that iterate.
    best : (n,) out, the x of the best bound.

    Returns
    -------
    Best lower bound (-inf if none) and lowest objective, which is not below the relaxation's optimum.
    """
    unit, group, keep = of.unit, of.group, of.keep
    n, units = len(x), len(group)
    price, last, first = np.empty(len(keep)), np.empty(len(keep)), np.empty(len(keep))
    saving, qx, trial, new_qx, new_z = np.empty(units), np.empty(n), np.empty(n), np.empty(n), np.empty(units)
    bound, rest = -np.inf, REST
    value = objective_at(q, d, b, c, of, x, qx, z, price)
    for u in range(units):
        z[u] = max(z[u], RETURN)  # a start from another D may have zeros in the wrong places
    attempts = 0
    for iteration in range(iterations):
        moved, progress = False, 0.0
        if units == n and rest == 0 and iteration < NEWTON:
            if solve_on_live(q, d, b, of, x, z, True, LEAVING[attempts % 2], trial):
                for length in LENGTHS:
                    point = x + length * (trial - x)
                    found = objective_at(q, d, b, c, of, point, new_qx, new_z, price)
                    if found < value + RISE * precision * abs(value):
                        moved, progress = True, value - found
                        assign(x, point)
                        assign(z, new_z)
                        assign(qx, new_qx)
                        value = found
                        break
            attempts += 1
            rest = 0 if progress > HELPS * precision * abs(value) else REST
        if not moved:
            rest = max(rest - 1, 0)
            if not solve_on_live(q, d, b, of, x, z, False, IDLE, trial):
                break
            assign(x, trial)
            value = objective_at(q, d, b, c, of, x, qx, z, price)
        if moved or iteration % CHECK == CHECK - 1 or iteration == iterations - 1:
            saving[:] = 0.0
            quadratic = 0.0
            for i in range(n):
                residual = b[i] - qx[i]
                saving[unit[i]] += residual * residual / d[i]
                quadratic += x[i] * qx[i]
            found = c - quadratic - largest(saving, units, group, keep, last, first)
            if found > bound:
                bound = found
                assign(best, x)
            if value - bound <= precision * abs(value):
                break
            for u in range(units):
                if z[u] < RETURN and saving[u] > price[group[u]] ** 2:
                    z[u] = RETURN
                    rest = REST  # it has no sign yet
    return bound, value
