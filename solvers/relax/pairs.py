"""The relaxation of a node for D made of 1 x 1 and 2 x 2 blocks: minimise c - 2b'x + x'Qx + sum_p phi_p(x_p).

Inputs 2 p and 2 p + 1 are a pair for p < pairs, the others are alone; Q = A - D is positive semidefinite and D is
block diagonal. `pieces` has the hulls phi. Any x gives a lower bound, because x'Qx >= 2v'Qx - v'Qv separates:

    e >= c - v'Qv - max sum_p r_S'D_SS^-1 r_S,   r = b - Qv,

the maximum over a support S in {}, {1}, {2}, {1, 2} for each pair and within the budgets. It is taken over the
concave hull of each pair's savings as a function of |S|, which makes it the sum of the k largest increments.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray

from ..kernels.apart import BORROWS, FLAGS, MATRIX, REAL, VECTOR, apart, inner, named
from ..kernels.cholesky import factor, solve
from ..kernels.sparing import ZERO, assign, assign_matrix
from .dual_steps import dual_steps
from .follow import follow
from .node_perspective import AIM, LEAST_SHARE, QUADRATIC, ROUNDING, Aim, Quadratic, largest
from .pair_steps import PLACES, Places, bend_to, half_gradient, start_from, system
from .pieces import HULL_PIECES, PAIR_BLOCKS, HullPieces, PairBlocks, no_pieces, pieces_at, prices
from .savings import SAVINGS, Savings, no_savings, savings

BENDS, KEPT_BEND = 1, 0.5
"""Times that the model is bent after a step that raised the objective; the part of it that later steps keep."""

SHORTER, SHORTEN = 2, 0.3
"""Then the last step is shortened so many times, by this factor."""

PASSES = 2
"""Coordinate steps of every input from each iterate before its bound is taken; 1 and 4 take 1 % more and .3 %
fewer nodes at 96 inputs and 75 %."""

EARLY = 80.0
"""There are none while the target is out of reach and the objective still falls by so many times the precision."""

COARSE = 30.0
"""Where the objective shows that the target cannot be reached, this many times the precision is enough."""

RETURN = 0.05
"""Share of an idle input that comes back in a step of IRLS; .01 takes 1.7 % more nodes at 88 inputs and 75 %, .25
.6 %; at 96 inputs and 2:4 they take 2 % fewer and 4 % more."""


class PairPoint(NamedTuple):
    """The point of a relaxation, changed in place."""

    x: FloatArray
    """(m,) start, then the best iterate."""
    shares: FloatArray
    """(m, 2) as of `HullPieces`."""
    saved: Savings
    """At v."""
    v: FloatArray
    """(m,) the point whose bound is returned: x, or what coordinate steps from there lead to."""
    r: FloatArray
    """(m,) b - Qv."""


PAIR_POINT = named([VECTOR, MATRIX, SAVINGS, VECTOR, VECTOR], PairPoint)
"""Its type in compiled code."""


class Room(NamedTuple):
    """What `relax_pairs` works in. Made by one function and used by another, which counts no references to it."""

    start: FloatArray
    """(m,) the best point so far."""
    nudged: FloatArray
    """(m,) the same, where inputs that are not stationary at 0 have left it."""
    trial: FloatArray
    """(m,) the point that is tried."""
    qx: FloatArray
    """(m,) Q times that."""
    r: FloatArray
    """(m,) b - Qx at the start."""
    v: FloatArray
    """(m,) the point of a bound."""
    rv: FloatArray
    """(m,) b - Qv."""
    hidden: FloatArray
    """(m,) what rounding may hide in that."""
    rhs: FloatArray
    """(m,) right-hand sides of a step."""
    sign: FloatArray
    """(m,) of inputs that may not change theirs in a step, else 0."""
    stopped: BoolArray
    """(m,) inputs that a step left at 0."""
    active: Places
    """(m,) inputs that a step moves."""
    bend: FloatArray
    """(m, 2) what is added to K."""
    saved: Savings
    """At v."""
    base: HullPieces
    """At the start."""
    at_trial: HullPieces
    """At the trial."""
    theta: FloatArray
    """(groups,) prices at the start."""
    price: FloatArray
    """(groups,) prices at the trial."""
    last: FloatArray
    """(groups,) the least saving that is kept."""
    first: FloatArray
    """(groups,) the largest that is not."""


ROOM = named(
    [*[VECTOR] * 10, FLAGS, PLACES, MATRIX, SAVINGS, HULL_PIECES, HULL_PIECES, *[VECTOR] * 4],
    Room,
)
"""Its type in compiled code."""


@apart(REAL, QUADRATIC, PAIR_BLOCKS, AIM, PAIR_POINT, MATRIX, MATRIX)
def relax_pairs(
    rest: Quadratic, blocks: PairBlocks, aim: Aim, out: PairPoint, work: FloatArray, p: FloatArray
) -> float:
    """Solve the relaxation for fixed D and return the best lower bound; `out` is of that iterate.

    Semismooth Newton: on its piece every phi is quadratic (a norm on one of them), and the price theta of a group
    is eliminated from its budget, which adds a rank-one term; one Cholesky solve a step. Inputs stop at 0 instead
    of changing sign where phi has a kink there. After a step that raises the objective the model is bent to the
    gradient found there and solved again; if that does not help, the step is replaced by one of IRLS,
    x = (Q + Lambda^-1)^-1 b, which never raises it.

    Parameters
    ----------
    rest : what D leaves.
    blocks : D and the budgets.
    aim : when it ends.
    out : x is the start.
    work : (m, m) working space.
    p : (m, m) Q^-1, or (0, 0) where the bound is to be that of x itself.
    """
    m, groups = len(rest.b), len(blocks.keep)
    rows, prices_ = np.zeros((10, m)), np.zeros((4, groups))
    room = Room(
        rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], rows[8], rows[9],
        np.zeros(m, np.bool_), np.empty(m, np.uint64), np.zeros((m, 2)),
        no_savings(m), no_pieces(m, groups), no_pieces(m, groups),
        prices_[0], prices_[1], prices_[2], prices_[3],
    )  # fmt: skip
    return _relaxed(rest, blocks, aim, out, work, p, room)


@apart(REAL, QUADRATIC, PAIR_BLOCKS, AIM, PAIR_POINT, MATRIX, MATRIX, ROOM, **BORROWS)
def _relaxed(
    rest: Quadratic,
    blocks: PairBlocks,
    aim: Aim,
    out: PairPoint,
    work: FloatArray,
    p: FloatArray,
    room: Room,
) -> float:
    """`relax_pairs`."""
    q, b, c, loss = rest.q, rest.b, rest.c, rest.loss
    pairs, d, group, keep = blocks.pairs, blocks.d, blocks.group, blocks.keep
    x, saved, m = out.x, out.saved, len(b)
    xs, xa, xt, qx, rs, v, rv = room.start, room.nudged, room.trial, room.qx, room.r, room.v, room.rv
    hidden, rhs, sign, stopped, active, bend = (
        room.hidden, room.rhs, room.sign, room.stopped, room.active, room.bend
    )  # fmt: skip
    at_trial, base, trial, theta, price = room.saved, room.base, room.at_trial, room.theta, room.price
    k, last, first = trial.k, room.last, room.first
    follow(q, b, d, x)
    assign(xs, x)
    assign(xa, x)
    assign(xt, x)
    best, before, lowest, newton, tries = -np.inf, np.inf, np.inf, True, 0
    for i in range(m):
        price[group[i]] += np.sqrt(d[i]) * abs(xs[i])
    for iteration in range(aim.iterations + 1):
        multiply(q, xt, qx)
        prices(xt, blocks, price, trial)
        square, linear_term, norm = 0.0, 0.0, 0.0
        for i in range(m):
            square += xt[i] * qx[i]
            linear_term += xt[i] * b[i]
            norm += half_gradient(i, pairs, xt, price[group[i]], k) * xt[i]
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
                pieces_at(xt, blocks, theta, trial)
                for i in range(m):
                    if sign[i] != 0.0 and xt[i] == 0.0:
                        stopped[i] = True
                bend_to(blocks, xs, xt, theta, base.k, trial.k, bend)
            elif tries <= BENDS + SHORTER:
                for i in range(m):
                    xt[i] = xs[i] + SHORTEN * (xt[i] - xs[i])
                continue
            else:
                newton = False
                pieces_at(xs, blocks, theta, base)
        else:
            newton, tries = True, 0
            for i in range(m):
                stopped[i] = False
            before, lowest = lowest, objective
            assign(theta, price)
            for i in range(m):
                rs[i] = b[i] - qx[i]
            assign(v, xt)
            assign(rv, rs)
            falls = before - objective > EARLY * aim.precision
            if len(p) > 0 and iteration > 0 and (objective >= aim.target or not falls):
                dual_steps(p, blocks, theta, v, rv, PASSES)
                multiply(q, v, qx)
            size, lost, square = 0.0, 0.0, 0.0
            for i in range(m):
                rv[i] = b[i] - qx[i]
                square += v[i] * qx[i]
                size += np.sqrt(q[i, i] + d[i]) * abs(v[i])
                lost += 2.0 * loss[i] * v[i] * v[i]
            for i in range(m):
                # |Q_ij| <= sqrt(A_ii A_jj): what rounding may hide in r_i counts, since a tiny d_i magnifies it
                hidden[i] = ROUNDING * (abs(b[i]) + np.sqrt(q[i, i] + d[i]) * size)
            savings(blocks, rv, hidden, at_trial)
            bound = c - square - largest(at_trial.increments, m, group, keep, last, first)
            # loss (x - v)^2 <= 2 loss (x^2 + v^2); the part of x, of the row's own size, is below every tolerance
            bound -= lost + ROUNDING * (abs(c) + size * size)
            if not np.isfinite(bound):
                bound = -np.inf
            if bound > best or iteration == 0:
                best = max(best, bound)
                assign(x, xt)
                assign(out.v, v)
                assign(out.r, rv)
                assign(saved.own, at_trial.own)
                assign(saved.both, at_trial.both)
                assign(saved.increments, at_trial.increments)
                assign_matrix(out.shares, trial.shares)
            assign(xs, xt)
            assign(xa, xt)
            for i in range(m):
                bend[i, 0] *= KEPT_BEND
                bend[i, 1] *= KEPT_BEND
            start_from(blocks, theta, rs, xa)
            pieces_at(xa, blocks, theta, base)
        enough = aim.precision if lowest >= aim.target else COARSE * aim.precision
        if best >= aim.target or lowest - best <= enough or iteration == aim.iterations:
            break
        count = ZERO
        for i in range(m):
            sign[i] = 0.0
            if not newton and xs[i] == 0.0 and rs[i] * rs[i] > theta[group[i]] ** 2 * d[i]:
                base.shares[i, 0] = RETURN
            if (newton and xa[i] != 0.0 and not stopped[i]) or (not newton and base.shares[i, 0] > LEAST_SHARE):
                active[count] = i
                count += 1
                whole = base.shares[i, 0] == 1.0 and (i >= 2 * pairs or base.shares[i ^ 1, 0] == 1.0)
                if newton and not whole:
                    sign[i] = 1.0 if xa[i] > 0.0 else -1.0
        system(rest, blocks, base, bend, xs, active[:count], newton, work, rhs)
        if not factor(work, count):
            break
        solve(work, count, rhs)
        for i in range(m):
            xt[i] = 0.0
        for a in range(count):
            i = active[a]
            xt[i] = rhs[a] if sign[i] * rhs[a] >= 0.0 else 0.0
        follow(q, b, d, xt)
    return best


@inner(**BORROWS)
def multiply(q: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """out = Qx."""
    for i in range(len(x)):
        out[i] = 0.0
    for j in range(len(x)):
        if x[j] != 0.0:
            f = x[j]
            for i in range(len(x)):
                out[i] += q[j, i] * f
