"""The best diagonal of the perspective relaxation: Newton steps along the central path of its semidefinite form.

    maximise over d   mean over rows of f(d) / upper  +  (mu / n) (log det(H - D) + EVEN sum_i log d_i)

where f(d) is the relaxation's optimum (see `row_perspective`): concave, because it is a minimum of functions that
are linear in d, and twice differentiable while the same units are kept whole (z = 1), in part or not at all. With
phi(x, d) = sum_g (sum_u y_u)^2 / kappa_g, y_u^2 = sum_{i in u} d_i x_i^2, over the units kept in part,
implicit differentiation of its optimality condition gives

    f' = x_i^2 (1 / z_i - 1),      f'' = phi_dd - phi_xd' (2 S)^-1 phi_xd,      S = Q + phi_xx / 2.

At a maximiser, mean f / upper is at most (1 + EVEN) mu below its largest value (Boyd & Vandenberghe 2004, 11.2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.sparsity import Sparsity

from ..base import Clock
from ..kernels.cholesky import factor, inverse, solve
from ..kernels.sparing import assign, assign_matrix
from ..limits import Pace
from .node_perspective import Pattern, pattern_of
from .row_perspective import IDLE, relax

EVEN = 0.1
"""Weight of log d_i against log det: what is idle now keeps a d_i with which it can come back."""

REACH = 0.7
"""Steps end at this part of the way to the boundary of the cone; nearer to it, later steps jam there."""

SYSTEMS = 8
"""Linear systems per relaxation, whose start is the last one's point moved along with d."""

PRECISION = 1e-3
"""Relative gap at which a relaxation ends, and the relative loss that a step may cause by that."""

HALVINGS = 4
"""of a step that loses more than that."""

FIRST, LAST = 1.0, 0.01
"""mu at the start, where most rows are near the path, and at the end, in parts of the best f / upper so far."""

LEAST = 1e-9
"""f / upper that is not told from 0."""

ENOUGH = 2e-3
"""What three steps must gain, of the best f / upper so far."""

NEAR = 0.3
"""mu below which steps that gain less than `ENOUGH` end the ascent."""

FALL, FALL_PART, RISE = 0.3, 0.6, 1.5
"""Factors on mu after a whole step, after one of `GOOD` of it at least, and after one of `POOR` at most; between
these it stays. Of ten rows of 112 inputs at 75 % the mean bound is .013 lower with falls of .2, and .010 lower
with rises of 2.5; .5, parts of .4 and .9, and no rise change it by .0025 at most, there and in three patterns."""

GOOD, POOR = 0.3, 0.1
"""See `FALL`."""

TRIES, BACK = 30, 0.65
"""Times that a step is shortened, and by what, until H - D is positive definite: 30 of them are 2e-6 of it."""

ROUNDS, LONG, FEW = 16, 800, 7
"""Newton steps at most, and for rows of more than `LONG` inputs: most rows need 8 to 12, the last few gain .01."""


class Rows(NamedTuple):
    """Rows that share one D, and the weight of each."""

    h: FloatArray
    """(n, n)."""
    b: FloatArray
    """(rows, n)."""
    c: FloatArray
    """(rows,)."""
    upper: FloatArray
    """(rows,) errors of feasible points, positive: rows count by f / upper."""
    of: Pattern


def ascend(
    h: FloatArray,
    weight: FloatArray,
    upper: FloatArray,
    sparsity: Sparsity,
    start: FloatArray,
    clock: Clock | None = None,
) -> tuple[FloatArray, FloatArray, bool]:
    """The best diagonal for some rows together.

    Parameters
    ----------
    h : (n, n).
    weight : (rows, n).
    upper : (rows,) errors of feasible points, positive: rows count by f / upper.
    start : (n,) positive, H - diag(start) well inside the cone.
    clock : ends the ascent early; None lets it end by itself.

    Returns
    -------
    d (n,), the rows' points at it (rows, n), and whether it ended by itself.
    """
    b = weight @ h
    rows = Rows(h, b, np.einsum("ij,ij->i", weight, b), upper, pattern_of(sparsity))
    d, x, z = start.copy(), weight.copy(), np.zeros((len(weight), sparsity.units))
    mean = relax_all(rows, d, x, z)
    best, best_d, best_x, mu = mean, d.copy(), x.copy(), FIRST
    history = [mean, mean, mean]
    pace = None if clock is None else Pace(clock)
    for _ in range(ROUNDS if len(h) <= LONG else FEW):
        if pace is not None and pace.ended():
            return best_d, best_x, False
        mean, length = newton_step(rows, d, x, z, mean, mu, max(best, LEAST))
        history.append(max(best, mean))
        if mean > best:
            best, best_d, best_x = mean, d.copy(), x.copy()
        if (mu <= LAST and length == 1.0) or (mu < NEAR and history[-1] - history[-4] < ENOUGH * best):
            break
        mu = max(LAST, mu * _fall(length))
    return best_d, best_x, True


def _fall(length: float) -> float:
    """How mu goes on after a step: down where the path is near, up again where it is lost."""
    if length == 1.0:
        return FALL
    return FALL_PART if length >= GOOD else 1.0 if length > POOR else RISE


@njit(cache=True, nogil=True, error_model="numpy")
def log_det(h: FloatArray, d: FloatArray) -> float:
    """log det(H - D), -inf where that is not positive definite in float64."""
    q = h.copy()
    for i in range(len(d)):
        q[i, i] -= d[i]
    if not factor(q, len(q)):
        return -np.inf
    total = 0.0
    for i in range(len(d)):
        total += np.log(q[i, i])
    return 2.0 * total if np.isfinite(total) else -np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def relax_all(rows: Rows, d: FloatArray, x: FloatArray, z: FloatArray) -> float:
    """Relaxations of all rows: mean of f / upper; x (rows, n) and z (rows, units) are their points."""
    b, c, upper, q = rows.b, rows.c, rows.upper, rows.h.copy()
    for i in range(len(d)):
        q[i, i] -= d[i]
    mean, best = 0.0, np.empty(len(d))
    for row in range(len(c)):
        _, objective = relax(q, d, b[row], c[row], rows.of, SYSTEMS, PRECISION, x[row], z[row], best)
        mean += objective / upper[row] / len(c)
    return mean


@njit(cache=True, nogil=True, error_model="numpy")
def curvature(
    q: FloatArray, d: FloatArray, x: FloatArray, z: FloatArray, of: Pattern
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, IntArray]:
    """-f'' on the inputs kept in part, and how x follows d: (f', -f'', dx/dd, rows of dx, inputs)."""
    unit, group, keep = of.unit, of.group, of.keep
    n, units = len(x), len(group)
    y, kappa = np.zeros(units), np.zeros(len(keep))
    for i in range(n):
        y[unit[i]] += d[i] * x[i] * x[i]
    for g in range(len(keep)):
        kappa[g] = keep[g]
    for u in range(units):
        y[u] = np.sqrt(y[u])
        if z[u] >= 1.0:
            kappa[group[u]] -= 1.0
    live, part = np.empty(n, np.int64), np.empty(n, np.int64)
    lives, parts = 0, 0
    gradient = np.zeros(n)
    for i in range(n):
        u = unit[i]
        if z[u] >= 1.0 or (z[u] > IDLE and y[u] > 0.0):
            live[lives] = i
            lives += 1
            if z[u] < 1.0:
                gradient[i] = x[i] * x[i] * (1.0 / z[u] - 1.0)
                part[parts] = i
                parts += 1
    s = np.empty((lives, lives))
    for k in range(lives):
        i = live[k]
        u = unit[i]
        for other in range(lives):
            s[k, other] = q[i, live[other]]
        if z[u] >= 1.0:
            s[k, k] += d[i]
        else:
            s[k, k] += d[i] / z[u]
            for other in range(lives):
                j = live[other]
                v = unit[j]
                if v == u:
                    s[k, other] -= d[i] * x[i] * d[j] * x[j] / (y[u] * y[u] * z[u])
                if group[v] == group[u] and z[v] < 1.0:
                    s[k, other] += d[i] * x[i] / y[u] * d[j] * x[j] / y[v] / kappa[group[u]]
    cross, second = np.zeros((lives, parts)), np.zeros((parts, parts))
    for t in range(parts):
        j = part[t]
        v = unit[j]
        beta = x[j] * x[j] / (2.0 * y[v])
        for k in range(lives):
            i = live[k]
            u = unit[i]
            if z[u] < 1.0 and group[u] == group[v]:
                cross[k, t] += 2.0 * d[i] * x[i] / y[u] * beta / kappa[group[v]]
                if u == v:
                    cross[k, t] -= 2.0 / z[v] * d[i] * x[i] / y[u] * beta
                if i == j:
                    cross[k, t] += 2.0 * x[i] / z[v] - 2.0 * x[i]
        for k in range(parts):
            i = part[k]
            u = unit[i]
            if group[u] == group[v]:
                second[k, t] -= 2.0 * x[i] * x[i] / (2.0 * y[u]) * beta / kappa[group[v]]
                if u == v:
                    second[k, t] += 2.0 / z[v] * x[i] * x[i] / (2.0 * y[u]) * beta
    follow = np.zeros((lives, parts))
    if factor(s, len(s)):  # else x is not known to follow smoothly: the model without it is still a model
        follow = np.dot(inverse(s), cross)
        second += 0.5 * np.dot(cross.T, follow)
    return gradient, second, -0.5 * follow, live[:lives], part[:parts]


@njit(cache=True, nogil=True, error_model="numpy")
def newton_step(
    rows: Rows,
    d: FloatArray,
    x: FloatArray,
    z: FloatArray,
    mean: float,
    mu: float,
    level: float,
) -> tuple[float, float]:
    """One step in d for one mu; d, x and z are moved, where that does not lose anything.

    Parameters
    ----------
    d : (n,) with H - D positive definite.
    x, z : of the rows, as in `relax_all`.
    mean : what `relax_all` returned at d.
    level : what mu and `PRECISION` are parts of.

    Returns
    -------
    The new mean, and the part of the Newton step that was taken, 0 if none could be.
    """
    h, count = rows.h, len(rows.c)
    n, q = len(d), rows.h.copy()
    for i in range(n):
        q[i, i] -= d[i]
    root = q.copy()
    if not factor(root, n):
        return mean, 0.0
    p, before = inverse(root), 0.0
    weight = mu * level / n
    matrix, slope = np.empty((n, n)), np.empty(n)
    for i in range(n):
        for j in range(n):
            matrix[i, j] = weight * p[i, j] * p[i, j]
        matrix[i, i] += weight * EVEN / (d[i] * d[i])
        slope[i] = weight * (EVEN / d[i] - p[i, i])
        before += 2.0 * np.log(root[i, i]) + EVEN * np.log(d[i])
    before = mean + weight * before
    follows = []
    for row in range(count):
        gradient, second, follow, live, part = curvature(q, d, x[row], z[row], rows.of)
        share = 1.0 / (count * rows.upper[row])
        slope += share * gradient
        for k in range(len(part)):
            for t in range(len(part)):
                matrix[part[k], part[t]] += share * second[k, t]
        follows.append((follow, live, part))
    step = slope
    if not factor(matrix, n):
        return mean, 0.0
    solve(matrix, n, step)
    if not np.isfinite(step).all():
        return mean, 0.0
    length = 1.0
    for i in range(n):
        if step[i] < 0.0:
            length = min(length, -REACH * d[i] / step[i])
    for _ in range(TRIES):
        if log_det(h, d + length / REACH * step) > -np.inf:
            break
        length *= BACK
    for _ in range(HALVINGS):
        new, new_x, new_z = d + length * step, x.copy(), z.copy()
        for row in range(count):
            follow, live, part = follows[row]
            moved = np.dot(follow, step[part])
            for k in range(len(live)):
                new_x[row, live[k]] += length * moved[k]
        after = log_det(h, new)
        if after > -np.inf:
            for i in range(n):
                after += EVEN * np.log(new[i])
            found = relax_all(rows, new, new_x, new_z)
            if np.isfinite(found) and found + weight * after >= before - PRECISION * level:
                assign(d, new)
                assign_matrix(x, new_x)
                assign_matrix(z, new_z)
                return found, length
        length *= 0.5
    return mean, 0.0
