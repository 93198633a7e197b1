"""What the verifier's longer numbers prove of a search, where the search's own rounding takes too much.

Where two inputs are the same but for 1e-7, deciding others moves the conditional centres of the two by 1e7 times
as much, if they are decided last, as a search of few nodes does. Decided first they move others by no more than
elsewhere: the search is a longer one, and a hundredth of the rounding is left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Order, Reduced
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.sharp import LONGEST

from ..base import Clock
from ..checked import nodes_of_proof
from .leaf_split import DEPENDENT, variances
from .plan import layer_order, plan_in_order


class Repeated(NamedTuple):
    """A search that the verifier has repeated."""

    search: Enumeration | Reduced
    bound: float
    """What it proves."""


def repeated(
    problem: Problem, search: Enumeration | Reduced, most: float, nodes: int, clock: Clock
) -> Repeated | None:
    """The search, or another order of it, with what it proves; None where it is not repeated, or there is no time.

    Parameters
    ----------
    most : part of its threshold that it may lose before another order is tried.
    nodes : of the search.
    """
    if problem.n > LONGEST:
        return None
    best: Repeated | None = None
    for turn in range(2):
        if turn:
            order = dependent_first(problem.gram, clock)
            if order is None or not isinstance(search, Enumeration):
                break
            search = Enumeration(order, search.threshold)
        try:
            with clock.bell() as over, limited(clock.limit(0.0), nodes_of_proof(nodes, problem), over):
                bound = lower_bound(problem, search)
        except NotProven:
            continue
        if best is None or bound > best.bound:
            best = Repeated(search, bound)
        if bound >= (1 - most) * search.threshold:
            break
    return best


def dependent_first(gram: Gram, clock: Clock) -> Order | None:
    """An order that decides the inputs first that others nearly determine; None if these are none, or all."""

    def order() -> Order | None:
        dependent, by_place = variances(gram.matrix) < DEPENDENT, layer_order(gram)
        if not dependent.any() or dependent.all():
            return None
        last = dependent[by_place]
        return plan_in_order(
            gram.matrix, np.concatenate([by_place[~last], by_place[last]]), clock=clock
        ).for_proofs

    return gram.memo(dependent_first, order)
