"""The bound of a node: one sweep of D along its gradient, then the relaxation; per unit what fixing it adds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import MATRIX, NUMBERS, REAL, TRUTH, VECTOR, WHOLE, apart, inner, named
from ..kernels.cholesky import invert
from ..kernels.diagonal import ascend
from ..kernels.sparing import assign, assign_matrix
from ..relax.cone import LEAST_D, SLACK, positive
from ..relax.node_perspective import LEAST_SHARE, Aim, NodePoint, Pattern, Quadratic, largest, relax, water_fill
from ..relax.pair_ascent import match, sweep
from ..relax.pairs import PairPoint, relax_pairs
from ..relax.pieces import PairBlocks
from ..relax.savings import CORRELATED, losses, no_savings

BARRIER, STEPPED_BARRIER = 0.08, 0.2
"""Barrier of a sweep as a part of the mean of c_i d_i; .02 takes 70% and .2 10% more nodes at 80 inputs.

The second is with coordinate steps and .65 of a sweep: .12 and .14 take 20 and 7 % more nodes, .3 as many, on two
rows of 112 inputs at 75 %. With .12 and no steps the trees of some proofs do not end."""

EVEN_WEIGHT = 0.5
"""Ascent weight of every input, as a part of the mean gradient, on top of its own: the gradient is that of one
relaxation, and inputs idle in it are fractional in a descendant. 1e-3 in its place needs five times the nodes."""

RELAX_ITERATIONS, STEPPED_ITERATIONS = 40, 16
"""Points per relaxation at most. The second is with coordinate steps, where 40 take 6 % fewer nodes in 4 % more
time on two rows of 112 inputs at 75 %."""

SHRINK, SHRINKS = 0.3, 20
"""D of a node is multiplied by this, so many times at most, where A - D fails the test for rounding."""

WORTH, ROUND_WORTH = 1e-3, 1e-2
"""Parts of what is missing that another iteration of a relaxation, and another turn of D and x, must gain. Ten
times as much takes 14 % more nodes at 88 inputs and 75 %, a tenth 1.6 % less in the same time."""

UNSURE = 1e6
"""Largest P_ii A_ii of a node in which P = (A - D)^-1 is known well enough for what fixing an input adds. Rounding
changes P_ii by 1e-16 sum A_kk P_ki^2 <= 1e-16 P_ii sum A_kk P_kk: one input that is nearly a combination of others
spoils the entries of all."""

TIDY = 1 - 1e-12
"""A coupling at its limit ends below it by more than its rounding."""


class Free(NamedTuple):
    """The free part of a node: error c - 2b'x + x'Ax, inputs in local numbers 0 ... m - 1, changed in place."""

    a: FloatArray
    """(m, m)."""
    b: FloatArray
    d: FloatArray
    """(m,) diagonal of D."""
    e: FloatArray
    """(m,) D's entry at (i, i + 1) for the first input of a pair, else 0."""
    x: FloatArray
    """(m,) relaxation's solution: on entry that of the parent."""
    variance: FloatArray
    """(m,) their diagonal of H."""
    slack: float
    """As of the row."""
    unit: IntArray
    """(m,) local unit of each input."""
    group: IntArray
    """(units,) local group of each unit."""
    keep: IntArray
    """(groups,) budgets."""
    partner: IntArray
    """(m,) input it is to be paired with below this node, -1 for none."""
    z: FloatArray
    """(units,) share of each unit that the relaxation keeps."""
    saving: FloatArray
    """(units,) what keeping it alone saves."""
    inside: FloatArray
    """(units,) by how much the bound rises if it is kept."""
    outside: FloatArray
    """(units,) the same if it is pruned."""


PART = named([MATRIX, *[VECTOR] * 5, REAL, *[NUMBERS] * 4, *[VECTOR] * 4], Free)
"""Its type in compiled code."""


@apart(REAL, PART, REAL, WHOLE, REAL, REAL, WHOLE, TRUTH, REAL, MATRIX, VECTOR)
def _by_pairs(
    free: Free,
    c: float,
    pairs: int,
    target: float,
    gap: float,
    rounds: int,
    steps: bool,
    part: float,
    work: FloatArray,
    loss: FloatArray,
) -> float:
    a, b, d, e, x, group, keep = free.a, free.b, free.d, free.e, free.x, free.group, free.keep
    m, groups = len(b), len(keep)
    q, p, lower = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    blocks = PairBlocks(pairs, d, e, group, keep)
    aim = Aim(STEPPED_ITERATIONS if steps else RELAX_ITERATIONS, target, WORTH * gap)
    barrier = STEPPED_BARRIER if steps else BARRIER
    point, least = PairPoint(x, np.zeros((m, 2)), no_savings(m), np.empty(m), np.empty(m)), np.empty(m)
    spread = np.empty(m)
    for s in range(m):
        least[s] = LEAST_D * free.variance[s]
    nothing, known = np.empty((0, 0)), False
    bound, finished = -np.inf, rounds == 1
    for turn in range(rounds + 1):
        if finished and rounds > 1 and 2 * pairs > m - 2:
            break  # all are paired
        invert(work, m, lower, p)
        if finished:
            match(p, 2 * pairs, group, free.partner)
            if rounds > 1:
                break
        before_d, before_e = d.copy(), e.copy()
        if sweep(p, blocks, x, EVEN_WEIGHT, barrier, least):
            for s in range(m):
                d[s] = before_d[s] + part * (d[s] - before_d[s])
                e[s] = before_e[s] + part * (e[s] - before_e[s])
            if not positive(a, d, e, free.variance, free.slack, m, work, loss):
                assign(d, before_d)
                assign(e, before_e)
                positive(a, d, e, free.variance, free.slack, m, work, loss)
        assign_matrix(q, a)
        for s in range(m):
            q[s, s] -= d[s]
            if e[s] != 0.0:
                q[s, s + 1] -= e[s]
                q[s + 1, s] -= e[s]
        known = steps and loss[0] == 0.0  # Q itself is positive definite
        if known:
            invert(work, m, lower, p)
        now = relax_pairs(Quadratic(q, b, c, loss), blocks, aim, point, lower, p if known else nothing)
        finished = turn == rounds - 1 or (turn > 1 and now < bound + ROUND_WORTH * gap)
        bound = now
        if bound >= target or rounds == 1:
            break
    assign(free.z, point.shares[:, 0])
    assign(free.saving, point.saved.own)
    last, first = np.empty(groups), np.empty(groups)
    largest(point.saved.increments, m, group, keep, last, first)
    if bound > -np.inf:
        for s in range(m):
            known = known and p[s, s] * a[s, s] < UNSURE
        for s in range(m):
            spread[s] = p[s, s] if known else 0.0
        losses(blocks, point.saved, last, first, point.v, point.r, spread, free.inside, free.outside)
    return bound


@apart(REAL, PART, REAL, REAL, REAL, WHOLE, MATRIX, VECTOR)
def _by_blocks(
    free: Free, c: float, target: float, gap: float, rounds: int, work: FloatArray, loss: FloatArray
) -> float:
    a, b, d, x, z = free.a, free.b, free.d, free.x, free.z
    m, units, groups = len(b), len(free.group), len(free.keep)
    q, p, lower = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    y, price, weights = np.empty(units), np.empty(groups), np.empty(m)
    of, aim = Pattern(free.unit, free.group, free.keep), Aim(RELAX_ITERATIONS, target, WORTH * gap)
    bound = -np.inf
    for turn in range(rounds):
        invert(work, m, lower, p)
        y[:] = 0.0
        for s in range(m):
            y[free.unit[s]] += d[s] * x[s] * x[s]
        for u in range(units):
            y[u] = np.sqrt(y[u])
        water_fill(y, units, free.group, free.keep, z, price)
        mean, worth = 0.0, 0.0
        for s in range(m):
            share = z[free.unit[s]]
            weights[s] = x[s] * x[s] * (1.0 / share - 1.0) if share > LEAST_SHARE else 0.0
            mean += weights[s] / m
        if mean > 0.0:
            for s in range(m):
                weights[s] += EVEN_WEIGHT * mean
                worth += weights[s] * d[s] / m
            before = d.copy()
            ascend(p, d, weights, BARRIER * worth, 0.0)
            for s in range(m):
                d[s] = max(d[s], LEAST_D * free.variance[s])
            if not positive(a, d, free.e, free.variance, free.slack, m, work, loss):
                assign(d, before)
                positive(a, d, free.e, free.variance, free.slack, m, work, loss)
        assign_matrix(q, a)
        for s in range(m):
            q[s, s] -= d[s]
        now = relax(Quadratic(q, b, c, loss), d, of, aim, NodePoint(x, z, free.saving), lower)
        enough = turn > 1 and now < bound + ROUND_WORTH * gap
        bound = now
        if bound >= target or enough:
            break
    last, first = np.empty(groups), np.empty(groups)
    largest(free.saving, units, free.group, free.keep, last, first)
    if bound > -np.inf:
        for u in range(units):
            g = free.group[u]
            free.inside[u] = max(0.0, last[g] - free.saving[u])
            free.outside[u] = max(0.0, free.saving[u] - first[g])
    return bound


@inner()
def correlated(d: FloatArray, e: FloatArray, pairs: int) -> None:
    """Shrink e where a block has become nearly singular by rounding or a floor of d."""
    for i in range(0, 2 * pairs, 2):
        most = CORRELATED * d[i] * d[i + 1]
        if e[i] * e[i] > most:
            e[i] *= np.sqrt(most / (e[i] * e[i])) * TIDY


@apart(REAL, PART, REAL, WHOLE, REAL, REAL, WHOLE, TRUTH, TRUTH, REAL)
def bound_of(
    free: Free,
    c: float,
    pairs: int,
    target: float,
    gap: float,
    rounds: int,
    pairing: bool,
    steps: bool,
    part: float,
) -> float:
    """Lower bound of a node, -inf if rounding leaves no D below A.

    Parameters
    ----------
    free : the node; d, e, x, partner, z, saving, inside and outside are outputs.
    c : its constant.
    pairs : inputs 2 p and 2 p + 1 are a pair for p < pairs; 0 for blocks.
    target : no more than this is needed.
    gap : upper bound minus what is known, see `WORTH`.
    rounds : alternations of D and x: 1 but at the root.
    pairing : whether inputs are coupled where units have one; without that there must be no pairs.
    steps : whether the bound may be that of another point than free.x, which coordinate steps lead to.
    part : of a sweep of coupled inputs that is taken.
    """
    m, units = len(free.b), len(free.group)
    work, loss = np.empty((m, m)), np.empty(m)
    inside = positive(free.a, free.d, free.e, free.variance, free.slack, m, work, loss)
    for _ in range(SHRINKS):
        if inside:
            break
        for s in range(m):
            free.d[s] = max(SHRINK * free.d[s], LEAST_D * free.variance[s])
            free.e[s] *= SHRINK
        inside = positive(free.a, free.d, free.e, free.variance, free.slack, m, work, loss)
    free.inside[:] = 0.0
    free.outside[:] = 0.0
    if not inside:
        free.x[:] = 0.0
        free.z[:] = 0.0
        free.saving[:] = 0.0
        for s in range(m):
            free.saving[free.unit[s]] += free.b[s] ** 2 / max(free.a[s, s], SLACK * free.variance[s])
        return -np.inf
    if pairing and units == m:
        return _by_pairs(free, c, pairs, target, gap, rounds, steps, part, work, loss)
    return _by_blocks(free, c, target, gap, rounds, work, loss)
