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
from pvq.bounds.cholesky import factor_blocks, solve
from pvq.bounds.gram import FloatArray, IntArray

from ..bnb.perspective import largest, water_fill

IDLE = 1e-7
"""Units with a smaller z are left out of the linear system: their x is then below 1e-7 of what it saves."""

RETURN = 1e-2
"""z of an idle unit that would save more than its budget costs: iteratively reweighted least squares cannot
bring back by itself what it has once made zero."""

CHECK = 3
"""Iterations between two evaluations of the bound."""


@njit(cache=True, nogil=True)
def relax(
    q: FloatArray,
    d: FloatArray,
    b: FloatArray,
    c: float,
    unit: IntArray,
    group: IntArray,
    keep: IntArray,
    iterations: int,
    precision: float,
    x: FloatArray,
    z: FloatArray,
    best: FloatArray,
) -> tuple[float, float]:
    """Iteratively reweighted least squares: z by water-filling, x = (Q + D / z)^-1 b on the units with z > 0.

    Parameters
    ----------
    q : (n, n) Q = H - D.   d : (n,) > 0.   b : (n,).   c : constant.
    unit : (n,) unit of each input.   group : (units,).   keep : (groups,) budgets.
    iterations : linear systems solved at most.
    precision : stop when objective - bound is below it.
    x : (n,) start, then the last iterate.   z : (units,) out, of that iterate.
    best : (n,) out, the x of the best bound.

    Returns
    -------
    Best lower bound (-inf if none) and lowest objective, which is not below the relaxation's optimum.
    """
    n, units = len(x), len(group)
    y, saving = np.empty(units), np.empty(units)
    price, last, first = np.empty(len(keep)), np.empty(len(keep)), np.empty(len(keep))
    active = np.empty(n, np.int64)
    bound, objective = -np.inf, np.inf
    for iteration in range(iterations + 1):
        y[:] = 0.0
        for i in range(n):
            y[unit[i]] += d[i] * x[i] * x[i]
        for u in range(units):
            y[u] = np.sqrt(y[u])
        water_fill(y, units, group, keep, z, price)
        if iteration == 0:
            for u in range(units):
                z[u] = max(z[u], RETURN)  # a start from another D may have zeros in the wrong places
        elif iteration % CHECK == 0 or iteration == iterations:
            qx = np.dot(q, x)
            norm = 0.0
            for u in range(units):
                if z[u] > 0.0:
                    norm += y[u] * y[u] / z[u]
            saving[:] = 0.0
            quadratic, linear = 0.0, 0.0
            for i in range(n):
                residual = b[i] - qx[i]
                saving[unit[i]] += residual * residual / d[i]
                quadratic += x[i] * qx[i]
                linear += x[i] * b[i]
            value = c - quadratic - largest(saving, units, group, keep, last, first)
            if value > bound:
                bound = value
                best[:] = x
            objective = min(objective, c - 2.0 * linear + quadratic + norm)
            if objective - bound <= precision or iteration == iterations:
                break
            for u in range(units):
                if z[u] < RETURN and saving[u] > price[group[u]] ** 2:
                    z[u] = RETURN
        count = 0
        for i in range(n):
            if z[unit[i]] > IDLE:
                active[count] = i
                count += 1
        a, rhs = np.empty((count, count)), np.empty(count)
        for s in range(count):
            i = active[s]
            for t in range(count):
                a[s, t] = q[i, active[t]]
            a[s, s] += d[i] / z[unit[i]]
            rhs[s] = b[i]
        if not factor_blocks(a):
            break
        solve(a, count, rhs)
        x[:] = 0.0
        for s in range(count):
            x[active[s]] = rhs[s]
    return bound, objective
