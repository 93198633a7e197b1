"""The leaves of a recorded search over patterns: read in one pass, in time linear in the record."""

from __future__ import annotations

import numpy as np

from ..gram import IntArray
from ..proof import FREE, KEPT, PRUNED
from ..sparsity import Sparsity
from .budget import check_time
from .refusal import NotProven

MAX_LEAVES = 2**14
"""Leaves that a tree may have: a few seconds, and sixteen times what our own have."""
CHUNK = 2**12
"""Numbers of the record that are taken at a time: as Python's they need four times the memory."""


def leaves_of(code: IntArray, sparsity: Sparsity, maximal: bool) -> tuple[np.ndarray, IntArray]:
    """(leaves, units) states and (leaves,) split numbers of a tree, see `pvq.bounds.proof.Tree`.

    Every pattern follows one path: at a branch it keeps the unit or not. So the leaves cover every pattern,
    whatever the record says, if it is one tree. What a path has decided is closed: where a group's budget is used
    up the rest is pruned, as all patterns of the leaf have it. Where a kept unit may be 0 as well (`maximal`),
    keeping a unit more never raises the error, and where all that is left of a group fits its budget it is kept.
    A path that keeps more than a budget allows has no pattern and no leaf.

    Raises
    ------
    NotProven
        The record is no tree: it ends too early or too late, decides a unit twice, or names units that are none.
    """
    units = sparsity.units
    if code.ndim != 1 or not len(code) or not (code < units).all():
        raise NotProven("the tree is not one of this row's units")
    count = int((code < 0).sum())
    if count > MAX_LEAVES:
        raise NotProven(f"not established: a tree of {count} leaves, at most {MAX_LEAVES} are looked at")
    size = np.bincount(sparsity.group, minlength=len(sparsity.keep))
    states, splits = np.empty((count, units), np.int8), np.empty(count, np.int64)
    leaves, todo = 0, [np.full(units, FREE, np.int8)]
    for number in (number for i in range(0, len(code), CHUNK) for number in code[i : i + CHUNK].tolist()):
        check_time()
        if not todo:
            raise NotProven("the tree goes on after its last leaf")
        state = todo.pop()
        if number >= 0:
            if state[number] != FREE:
                raise NotProven("the tree decides a unit twice")
            for decision in (PRUNED, KEPT):  # the subtree that keeps it comes first
                child = state.copy()
                child[number] = decision
                todo.append(child)
            continue
        closed = _closed(state, sparsity, size, maximal)
        if closed is not None:
            states[leaves], splits[leaves] = closed, -1 - number
            leaves += 1
    if todo:
        raise NotProven("the tree ends before its last leaf: some patterns have none")
    return states[:leaves], splits[:leaves]


def _closed(state: np.ndarray, sparsity: Sparsity, size: IntArray, maximal: bool) -> np.ndarray | None:
    """The state with what follows from it; None where a budget is exceeded."""
    groups = len(sparsity.keep)
    kept = np.bincount(sparsity.group[state == KEPT], minlength=groups)
    pruned = np.bincount(sparsity.group[state == PRUNED], minlength=groups)
    if (kept > sparsity.keep).any():
        return None
    full = (kept == sparsity.keep)[sparsity.group]
    state = np.where((state == FREE) & full, PRUNED, state)
    if maximal:
        fits = (size - pruned <= sparsity.keep)[sparsity.group]
        state = np.where((state == FREE) & fits, KEPT, state)
    return state
