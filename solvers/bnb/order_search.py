"""An order of the inputs by trying: candidates are judged by the sampled size of their trees.

For rows whose searches take seconds and whose columns differ much. There the box decides, and orders that the same
rule makes from variances a tenth off have trees up to four times as large or as small.
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem

from ..base import Clock
from ..empirical.local_search import values_of
from .plan import Plan, inverse_of, plan_of_order, row_order
from .restated import restate
from .tree_size import KEPT, sampled_nodes

OUTSIDE = 60.0, 200.0
"""Weights of how far a centre is outside of its range, as `decision_order` has it, where the path is that of x."""

SPREAD = 0.1
"""Deviation of the logarithms that variances are changed by, half of them in each candidate. .3 gained less."""

ROUGH = KEPT // 4
"""Nodes of a level for the sample of a candidate."""

SHARE, TRY, MOST = 0.15, 120.0, 60
"""Part of the search that looking for an order may take, nodes times the square of the inputs that take as long as
one try, and tries at most. In nodes, so that the order does not depend on a clock."""

LESS = 0.8
"""Part of the nodes of the first order that another must have in a finer sample: the least of many may be luck."""


def better_order(problem: Problem, plan: Plan, x: FloatArray, clock: Clock) -> Plan:
    """The plan of the best order met, with fine diagonals; `plan` itself where none is clearly better.

    x : a good point, whose error is the threshold that trees are compared at and whose decisions are a path.
    """
    threshold, rng = problem.error(x), np.random.default_rng(0)
    shared, step = np.empty(problem.n), row_order(problem)[1]
    shared[plan.order] = plan.diagonal[-1]
    first = sampled_nodes(restate(problem, plan), threshold)
    tries = min(MOST, int(SHARE * first / (TRY * problem.n**2)))
    if tries == 0:
        return plan

    def size(order: IntArray, seed: int) -> float:
        made = plan_of_order(problem, order, step, shared, False, clock)
        return sampled_nodes(restate(problem, made), threshold, ROUGH, seed)

    change, best, least = np.zeros(problem.n), plan.order, size(plan.order, 0)
    for k in range(tries):
        if clock.ended() is not None:
            break
        new = change
        if k >= len(OUTSIDE):
            new = change + SPREAD * rng.standard_normal(problem.n) * (rng.random(problem.n) < 0.5)
        order = order_along(
            problem, x if k < len(OUTSIDE) or k % 2 else None, OUTSIDE[k % len(OUTSIDE)], new, step
        )
        nodes = size(order, k)
        if nodes < least:
            change, best, least = new, order, nodes
    if best is plan.order:
        return plan
    fine = plan_of_order(problem, best, step, shared, True, clock)
    return fine if sampled_nodes(restate(problem, fine), threshold) < LESS * first else plan


def order_along(
    problem: Problem, x: FloatArray | None, outside: float, change: FloatArray, step: FloatArray
) -> IntArray:
    """(n,) the order of `decision_order` with variances times exp(change), along the decisions of x.

    x : (n,) values; None: every decision takes the nearest value.
    """
    values, count, group = values_of(problem)
    low, high = values[group, 0], values[group, count[group] - 1]
    p, s, n = inverse_of(problem.gram).copy(), problem.weight.copy(), problem.n
    left, order = np.ones(n, np.bool_), np.empty(n, np.int64)
    factor = np.exp(change) / step**2
    for position in range(n - 1, -1, -1):
        out = np.maximum(np.maximum(low - s, s - high), 0.0) / step
        score = np.where(left, p.diagonal() * factor / (1 + outside * out * out), np.inf)
        best = int(np.argmin(score))
        order[position], left[best] = best, False
        own = values[group[best], : count[group[best]]]
        value = own[np.abs(own - s[best]).argmin()] if x is None else x[best]
        column = p[best] / p[best, best]
        s = s - column * (s[best] - value)
        p -= np.outer(column, p[best])
        p[best, :] = p[:, best] = 0.0
        p[best, best] = 1.0
    return order
