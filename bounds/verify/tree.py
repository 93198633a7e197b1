"""Whether the leaves of a search over patterns cover every pattern."""

from __future__ import annotations

import numpy as np

from ..proof import FREE, KEPT, PRUNED
from ..sparsity import Sparsity

MAX_STEPS = 1_000_000
"""Nodes of the cover after which it counts as not shown."""


def covers(state: np.ndarray, sparsity: Sparsity, maximal: bool = True) -> bool:
    """Whether every pattern that keeps all it may has a leaf with those units kept or free, the others not kept.

    Such maximal patterns are enough where a kept input may be 0: keeping a unit more never raises the error. Else
    (`maximal` False) every pattern within the budget needs a leaf. A
    leaf without contradiction to what has been decided so far covers what is below if it fixes nothing else;
    otherwise some unit is decided both ways, preferably one that all these leaves fix, as a search tree does.

    Parameters
    ----------
    state : (leaves, units) FREE, KEPT or PRUNED.
    """
    size = np.bincount(sparsity.group, minlength=len(sparsity.keep))
    room = np.minimum(sparsity.keep, size)
    todo = [(np.arange(len(state)), np.full(sparsity.units, FREE, np.int8))]
    steps = 0
    while todo:
        leaves, decided = todo.pop()
        steps += 1
        kept = np.bincount(sparsity.group[decided == KEPT], minlength=len(room))
        pruned = np.bincount(sparsity.group[decided == PRUNED], minlength=len(room))
        if (kept > room).any() or (maximal and (pruned > size - room).any()):
            continue  # no pattern is like that
        if not len(leaves) or steps > MAX_STEPS:
            return False
        further = (state[leaves] != FREE) & (decided == FREE)
        fixes = further.sum(axis=1)
        if not fixes.all():
            continue  # a leaf fixes nothing but what is decided
        shared = further.sum(axis=0)
        unit = int(shared.argmax()) if shared.max() == len(leaves) else int(further[fixes.argmin()].argmax())
        for choice in (KEPT, PRUNED):
            below = decided.copy()
            below[unit] = choice
            fits = (state[leaves, unit] == FREE) | (state[leaves, unit] == choice)
            todo.append((leaves[fits], below))
    return True
