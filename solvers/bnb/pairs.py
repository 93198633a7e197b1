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
from pvq.bounds.cholesky import factor, solve
from pvq.bounds.gram import FloatArray, IntArray

from .perspective import ROUNDING, largest
from .pieces import TIE, pieces_at, prices
from .savings import savings

NUDGE = 1e-12
"""Where 0 is not stationary an input gets this part of its price as a value, to see on which piece it starts."""

BENDS, KEPT_BEND = 1, 0.5
"""Times that the model is bent after a step that raised the objective; the part of it that later steps keep."""

SHORTER, SHORTEN = 2, 0.3
"""Then the last step is shortened so many times, by this factor."""

BENT = 1e-3
"""Least cosine between a pair's change of gradient and its step for which the model is bent."""

COARSE = 30.0
"""Where the objective shows that the target cannot be reached, this many times the precision is enough."""

LEAST_SHARE = 1e-9
"""Inputs with a smaller share stay at 0 in a step of IRLS."""

RETURN = 0.05
"""Share of an idle input that comes back in a step of IRLS."""


@njit(cache=True, nogil=True, error_model="numpy")
def start_from(
    m: int,
    pairs: int,
    d: FloatArray,
    e: FloatArray,
    theta: FloatArray,
    group: IntArray,
    r: FloatArray,
    x: FloatArray,
) -> None:
    """Give inputs at 0 that are not stationary there a tiny value of the sign in which they leave."""
    for i in range(0, 2 * pairs, 2):
        j = i + 1
        price = theta[group[i]]
        tiny = NUDGE * price
        root1, root2 = np.sqrt(d[i]), np.sqrt(d[j])
        if x[i] == 0.0 and x[j] == 0.0:
            f1, f2 = r[i] * r[i] / d[i], r[j] * r[j] / d[j]
            determinant = d[i] * d[j] - e[i] * e[i]
            y1, y2 = (d[j] * r[i] - e[i] * r[j]) / determinant, (d[i] * r[j] - e[i] * r[i]) / determinant
            square = price * price
            alone, together = max(f1, f2) - square, r[i] * y1 + r[j] * y2 - 2.0 * square
            if max(alone, together) <= 0.0:
                continue
            if together >= alone:
                scale = tiny / np.sqrt(y1 * y1 * d[i] + y2 * y2 * d[j])
                x[i], x[j] = scale * y1, scale * y2
            elif f1 >= f2:
                x[i] = tiny / root1 if r[i] > 0.0 else -tiny / root1
            else:
                x[j] = tiny / root2 if r[j] > 0.0 else -tiny / root2
        elif x[i] == 0.0 or x[j] == 0.0:
            s, t = (i, j) if x[j] == 0.0 else (j, i)  # t is at 0
            value = d[s] * x[s]
            least = price * np.sqrt(d[s])
            if abs(value) < least:
                value = least if x[s] > 0.0 else -least
            centre = e[i] / d[s] * value
            reach = price * np.sqrt(d[t] - e[i] * e[i] / d[s])
            wide = abs(value) * np.sqrt(d[t] / d[s])
            if r[t] > min(wide, centre + reach):
                x[t] = tiny / np.sqrt(d[t])
            elif r[t] < max(-wide, centre - reach):
                x[t] = -tiny / np.sqrt(d[t])
    for i in range(2 * pairs, m):
        price = theta[group[i]]
        if x[i] == 0.0 and r[i] * r[i] > price * price * d[i]:
            x[i] = NUDGE * price / np.sqrt(d[i]) if r[i] > 0.0 else -NUDGE * price / np.sqrt(d[i])


@njit(cache=True, nogil=True, error_model="numpy")
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
            price[:] = theta
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
            theta[:] = price
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
                x[:m] = xt
                own[:m] = ownt
                both[:m] = botht
                increments[:m] = inct
                shares[:m] = trials
            xs[:] = xt
            xa[:] = xt
            bend *= KEPT_BEND
            start_from(m, pairs, d, e, theta, group, rs, xa)
            pieces_at(xa, d, e, pairs, group, keep, theta, left, linear, base, bases)
        enough = precision if lowest >= target else COARSE * precision
        if best >= target or lowest - best <= enough or iteration == iterations:
            break
        count = 0
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


@njit(cache=True, nogil=True, error_model="numpy")
def system(
    pairs: int,
    q: FloatArray,
    d: FloatArray,
    e: FloatArray,
    b: FloatArray,
    xs: FloatArray,
    group: IntArray,
    left: FloatArray,
    base: FloatArray,
    bases: FloatArray,
    bend: FloatArray,
    active: IntArray,
    newton: bool,
    work: FloatArray,
    rhs: FloatArray,
) -> None:
    """The equations of a step from xs in the inputs that are active: the upper triangle of `work`, and `rhs`, out.

    Newton's has K + bend of the pieces `base` and theta eliminated, IRLS's Lambda^-1 of the shares `bases`.
    """
    count = len(active)
    # unsigned: an index that may be negative costs as much as the number it stands for
    column, slope = np.empty(count, np.uintp), np.empty(count)
    for a in range(count):
        column[a] = active[a]
        slope[a] = base[active[a], 2]
    for a in range(count):
        i = active[a]
        g = group[i]
        rhs[a] = b[i]
        f = base[i, 2] / left[g] if newton and left[g] > TIE else 0.0
        for t in range(np.uintp(a), np.uintp(count)):
            work[a, t] = q[i, column[t]]
        if len(left) == 1:
            for t in range(np.uintp(a), np.uintp(count)):
                work[a, t] += f * slope[t]
        else:
            for t in range(a, count):
                if group[active[t]] == g:
                    work[a, t] += f * slope[t]
    for a in range(count):
        i = active[a]
        g = group[i]
        paired = i < 2 * pairs and i % 2 == 0 and a + 1 < count and active[a + 1] == i + 1
        if newton and left[g] > TIE:
            work[a, a] += base[i, 0] + bend[i, 0]
            rhs[a] += bend[i, 0] * xs[i]
            if paired:
                work[a, a + 1] += base[i, 1] + bend[i, 1]
                rhs[a] += bend[i, 1] * xs[i + 1]
                rhs[a + 1] += bend[i, 1] * xs[i]
        elif newton:
            work[a, a] += d[i]
            if paired:
                work[a, a + 1] += e[i]
        elif paired:
            l12 = bases[i, 1]
            l1, l2 = max(bases[i, 0] - l12, 0.0), max(bases[i + 1, 0] - l12, 0.0)
            f = l12 / (d[i] * d[i + 1] - e[i] * e[i])
            k1, k2, k12 = l1 / d[i] + f * d[i + 1], l2 / d[i + 1] + f * d[i], -f * e[i]
            f = 1.0 / (k1 * k2 - k12 * k12)
            work[a, a] += f * k2
            work[a, a + 1] -= f * k12
            work[a + 1, a + 1] += f * k1
        elif not (i < 2 * pairs and i % 2 == 1 and a > 0 and active[a - 1] == i - 1):
            work[a, a] += d[i] / bases[i, 0]
    for a in range(count):
        work[a, a] *= 1.0 + 1e-14  # keeps the factorisation alive where Q is singular; any x is allowed


@njit(cache=True, nogil=True, error_model="numpy")
def half_gradient(i: int, pairs: int, x: FloatArray, price: float, pieces: FloatArray) -> float:
    """r_i = (Kx)_i + theta s_i."""
    value = pieces[i, 0] * x[i] + price * pieces[i, 2]
    if i < 2 * pairs:
        value += pieces[i, 1] * x[i + 1] if i % 2 == 0 else pieces[i - 1, 1] * x[i - 1]
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def bend_to(
    m: int,
    pairs: int,
    group: IntArray,
    xs: FloatArray,
    xt: FloatArray,
    theta: FloatArray,
    base: FloatArray,
    trial: FloatArray,
    bend: FloatArray,
) -> None:
    """Add to K what makes the model's gradient right at xt (symmetric rank one, >= 0 since phi is convex)."""
    i = 0
    while i < m:
        price = theta[group[i]]
        dx1 = xt[i] - xs[i]
        miss1 = half_gradient(i, pairs, xt, price, trial) - half_gradient(i, pairs, xt, price, base)
        miss1 -= bend[i, 0] * dx1
        if i >= 2 * pairs:
            if miss1 * dx1 > 0.0 and xt[i] != 0.0:
                bend[i, 0] += miss1 / dx1
            i += 1
            continue
        dx2 = xt[i + 1] - xs[i + 1]
        miss2 = half_gradient(i + 1, pairs, xt, price, trial) - half_gradient(i + 1, pairs, xt, price, base)
        miss1 -= bend[i, 1] * dx2
        miss2 -= bend[i, 1] * dx1 + bend[i + 1, 0] * dx2
        along = miss1 * dx1 + miss2 * dx2
        kink = (xt[i] == 0.0 and xs[i] != 0.0) or (xt[i + 1] == 0.0 and xs[i + 1] != 0.0)
        if not kink and along > BENT * np.sqrt((miss1 * miss1 + miss2 * miss2) * (dx1 * dx1 + dx2 * dx2)):
            bend[i, 0] += miss1 * miss1 / along
            bend[i, 1] += miss1 * miss2 / along
            bend[i + 1, 0] += miss2 * miss2 / along
        i += 2


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(q: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """out = Qx."""
    out[:] = 0.0
    for j in range(len(x)):
        if x[j] != 0.0:
            f = x[j]
            for i in range(len(x)):
                out[i] += q[j, i] * f
