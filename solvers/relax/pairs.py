"""The relaxation of a node for D made of 1 x 1 and 2 x 2 blocks: minimise c - 2b'x + x'Qx + sum_p phi_p(x_p).

Inputs 2 p and 2 p + 1 are a pair for p < pairs, the others are alone; Q = A - D is positive semidefinite and D is
block diagonal. `pieces` has the hulls phi. Any x gives a lower bound, because x'Qx >= 2v'Qx - v'Qv separates:

    e >= c - v'Qv - max sum_p r_S'D_SS^-1 r_S,   r = b - Qv,

the maximum over a support S in {}, {1}, {2}, {1, 2} for each pair and within the budgets. It is taken over the
concave hull of each pair's savings as a function of |S|, which makes it the sum of the k largest increments.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart
from ..kernels.cholesky import factor, solve
from ..kernels.sparing import ZERO, assign, assign_matrix
from .node_perspective import ROUNDING, largest
from .pair_steps import bend_to, half_gradient, start_from, system
from .pieces import pieces_at, prices
from .savings import savings

BENDS, KEPT_BEND = 1, 0.5
"""Times that the model is bent after a step that raised the objective; the part of it that later steps keep."""

SHORTER, SHORTEN = 2, 0.3
"""Then the last step is shortened so many times, by this factor."""

COARSE = 30.0
"""Where the objective shows that the target cannot be reached, this many times the precision is enough."""

LEAST_SHARE = 1e-9
"""Inputs with a smaller share stay at 0 in a step of IRLS."""

RETURN = 0.05
"""Share of an idle input that comes back in a step of IRLS."""


@apart(REAL, WHOLE, WHOLE, MATRIX, VECTOR, VECTOR, VECTOR, REAL, VECTOR, NUMBERS, NUMBERS, WHOLE, REAL, REAL,
       VECTOR, MATRIX, VECTOR, VECTOR, VECTOR, MATRIX, error_model="numpy")  # fmt: skip
def relax_pairs(
    m: int,
    pairs: int,
    q: FloatArray,
    d: FloatArray,
    e: FloatArray,
    b: FloatArray,
    c: float,
    loss: FloatArray,
    group: IntArray,
    keep: IntArray,
    iterations: int,
    target: float,
    precision: float,
    x: FloatArray,
    shares: FloatArray,
    own: FloatArray,
    both: FloatArray,
    increments: FloatArray,
    work: FloatArray,
) -> float:
    """Solve the relaxation for fixed D and return the best lower bound; x, shares and savings are of that iterate.

    Semismooth Newton: on its piece every phi is quadratic (a norm on one of them), and the price theta of a group
    is eliminated from its budget, which adds a rank-one term; one Cholesky solve a step. Inputs stop at 0 instead
    of changing sign where phi has a kink there. After a step that raises the objective the model is bent to the
    gradient found there and solved again; if that does not help, the step is replaced by one of IRLS,
    x = (Q + Lambda^-1)^-1 b, which never raises it.

    Parameters
    ----------
    m, pairs : numbers of inputs and of pairs.
    q : (m, m) Q = A - D.   d : (m,) diagonal of D.   e : (m,) D_{2p,2p+1} at 2 p.   b : (m,).   c : constant.
    loss : (m,) Q + diag(loss) is known to be positive semidefinite; 0 for regular nodes.
    group : (m,) group of each input.   keep : (groups,) budgets >= 1.
    iterations : largest number of points evaluated.
    target : stop as soon as the bound reaches it.
    precision : stop when objective - bound is below it.
    x : (m,) start, then the best iterate.   shares : (m, 2) see `pieces_at`, out.
    own, both, increments : (m,) out, see `savings`.   work : (m, m) working space.
    """
    groups = len(keep)
    xs, xa, xt, qx = x[:m].copy(), x[:m].copy(), x[:m].copy(), np.empty(m)
    rs, hidden, rhs = np.empty(m), np.empty(m), np.empty(m)
    ownt, botht, inct = np.empty(m), np.zeros(m), np.empty(m)
    base, trial = np.zeros((m, 3)), np.zeros((m, 3))
    bases, trials = np.zeros((m, 2)), np.zeros((m, 2))
    theta, price = np.zeros(groups), np.zeros(groups)
    left, spare, linear = np.empty(groups), np.empty(groups), np.empty(groups)
    last, first = np.empty(groups), np.empty(groups)
    active, sign, bend = np.empty(m, np.int64), np.zeros(m), np.zeros((m, 2))
    stopped = np.zeros(m, np.bool_)
    best, lowest, newton, tries = -np.inf, np.inf, True, 0
    for i in range(m):
        price[group[i]] += np.sqrt(d[i]) * abs(xs[i])
    for iteration in range(iterations + 1):
        multiply(q, xt, qx)
        prices(xt, d, e, pairs, group, keep, price, spare, trial, trials)
        square, linear_term, norm = 0.0, 0.0, 0.0
        for i in range(m):
            square += xt[i] * qx[i]
            linear_term += xt[i] * b[i]
            norm += half_gradient(i, pairs, xt, price[group[i]], trial) * xt[i]
        objective = c - 2.0 * linear_term + square + norm
        if np.isnan(objective):
            objective = np.inf
        if iteration > 0 and not objective < lowest:
            if not newton:
                break
            tries += 1
            assign(price, theta)
            if tries <= BENDS:
                # inputs that stopped at 0 stay there; where other pieces lie between xs and xt, the model is bent
                # to have the gradient found at xt
                pieces_at(xt, d, e, pairs, group, keep, theta, spare, linear, trial, trials)
                for i in range(m):
                    if sign[i] != 0.0 and xt[i] == 0.0:
                        stopped[i] = True
                bend_to(m, pairs, group, xs, xt, theta, base, trial, bend)
            elif tries <= BENDS + SHORTER:
                for i in range(m):
                    xt[i] = xs[i] + SHORTEN * (xt[i] - xs[i])
                continue
            else:
                newton = False
                pieces_at(xs, d, e, pairs, group, keep, theta, spare, linear, trial, bases)
        else:
            newton, tries = True, 0
            stopped[:] = False
            lowest = objective
            assign(theta, price)
            size, lost = 0.0, 0.0
            for i in range(m):
                rs[i] = b[i] - qx[i]
                size += np.sqrt(q[i, i] + d[i]) * abs(xt[i])
                lost += 2.0 * loss[i] * xt[i] * xt[i]
            for i in range(m):
                # |Q_ij| <= sqrt(A_ii A_jj): what rounding may hide in r_i counts, since a tiny d_i magnifies it
                hidden[i] = ROUNDING * (abs(b[i]) + np.sqrt(q[i, i] + d[i]) * size)
            savings(m, pairs, d, e, rs, hidden, ownt, botht, inct)
            bound = c - square - largest(inct, m, group, keep, last, first)
            # loss (x - v)^2 <= 2 loss (x^2 + v^2); the part of x, of the row's own size, is below every tolerance
            bound -= lost + ROUNDING * (abs(c) + size * size)
            if not np.isfinite(bound):
                bound = -np.inf
            if bound > best or iteration == 0:
                best = max(best, bound)
                assign(x, xt)
                assign(own, ownt)
                assign(both, botht)
                assign(increments, inct)
                assign_matrix(shares, trials)
            assign(xs, xt)
            assign(xa, xt)
            bend *= KEPT_BEND
            start_from(m, pairs, d, e, theta, group, rs, xa)
            pieces_at(xa, d, e, pairs, group, keep, theta, left, linear, base, bases)
        enough = precision if lowest >= target else COARSE * precision
        if best >= target or lowest - best <= enough or iteration == iterations:
            break
        count = ZERO
        for i in range(m):
            sign[i] = 0.0
            if not newton and xs[i] == 0.0 and rs[i] * rs[i] > theta[group[i]] ** 2 * d[i]:
                bases[i, 0] = RETURN
            if (newton and xa[i] != 0.0 and not stopped[i]) or (not newton and bases[i, 0] > LEAST_SHARE):
                active[count] = i
                count += 1
                whole = bases[i, 0] == 1.0 and (i >= 2 * pairs or bases[i ^ 1, 0] == 1.0)
                if newton and not whole:
                    sign[i] = 1.0 if xa[i] > 0.0 else -1.0
        system(pairs, q, d, e, b, xs, group, left, base, bases, bend, active[:count], newton, work, rhs)
        if not factor(work, count):
            break
        solve(work, count, rhs)
        xt[:] = 0.0
        for a in range(count):
            i = active[a]
            xt[i] = rhs[a] if sign[i] * rhs[a] >= 0.0 else 0.0
    return best


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def multiply(q: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """out = Qx."""
    out[:] = 0.0
    for j in range(len(x)):
        if x[j] != 0.0:
            f = x[j]
            for i in range(len(x)):
                out[i] += q[j, i] * f
