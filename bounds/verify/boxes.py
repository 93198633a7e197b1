"""Trees over intervals of values: the leaves as they are read, and inequality (1) at many of them at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..compiling import compiled
from ..gram import FloatArray, IntArray
from ..problem import Problem
from ..proof import Boxes
from .budget import check_time
from .psd import TINY, U, gamma
from .refusal import NotProven
from .split import values_of
from .together import size_of

MAX_LEAVES = 2**16
"""Leaves that are looked at: of 64 inputs on 16 levels half a second."""
AT_ONCE = 2**22
"""Values that leaves side by side have, at most."""


class Values(NamedTuple):
    """What the inputs of a row may be."""

    sorted: FloatArray
    """(n, most) ascending, each number once; the last one is repeated."""
    last: IntArray
    """(n,) index of the last."""
    zero: IntArray
    """(n,) index of 0."""


def sorted_values(problem: Problem) -> Values:
    """The values of every input, by which the record of a tree counts."""
    lists = [np.unique(row) for row in values_of(problem)]
    last = np.array([len(row) - 1 for row in lists])
    zero = np.array([int(np.searchsorted(row, 0.0)) for row in lists])
    most = int(last.max())
    return Values(np.array([np.pad(row, (0, most + 1 - len(row)), "edge") for row in lists]), last, zero)


def check_boxes(problem: Problem, boxes: Boxes) -> None:
    """Raise `NotProven` where a proof's numbers are not those of this row."""
    n, below, v = problem.n, boxes.below, boxes.v
    if below.blocks or len(below.pairs) or len(below.across):
        raise NotProven("D of intervals of values has no blocks and no pairs")
    if below.d.shape != (n,) or v.ndim != 2 or v.shape[1] != n:
        raise NotProven(f"D and v are not those of a row of {n} inputs")
    if not (np.isfinite(below.d).all() and np.isfinite(v).all()):
        raise NotProven("D or v is not finite")
    code = boxes.code
    if code.ndim != 2 or code.shape[1] != 2 or not len(code):
        raise NotProven("the tree is not one of intervals of values")
    if boxes.leaves > MAX_LEAVES:
        raise NotProven(f"not established: a tree of {boxes.leaves} leaves, at most {MAX_LEAVES} are looked at")
    at_leaves = code[code[:, 0] < 0]
    if (at_leaves[:, 0] != -1).any() or (at_leaves[:, 1] < 0).any() or (at_leaves[:, 1] >= len(v)).any():
        raise NotProven("the tree names a v that it does not have")


def boxes_of(code: IntArray, last: IntArray) -> Iterator[tuple[IntArray, IntArray, int]]:
    """lo, hi (n,), numbers of values, both included, and number of v of every leaf; to be copied at once.

    Every point follows one path: at a branch its value is in the lower part or in the higher one. So the leaves
    cover every point, whatever the record says, if it is one tree.

    Raises
    ------
    NotProven
        The record is no tree: it ends too early or too late, or a branch leaves one of its sides without values.
    """
    lo, hi = np.zeros_like(last), last.copy()
    path: list[tuple[int, int, int]] = []
    """Of each branch the input, the first number beyond its lower part, or -1 where its higher part is being read,
    and the end of the interval that the branch has moved, as it was before."""
    done = False
    for i, k in zip(*(map(int, column) for column in code.T), strict=True):
        if done:
            raise NotProven("the tree goes on after its last leaf")
        if i >= 0:
            if i >= len(last) or not lo[i] <= k < hi[i]:
                raise NotProven("the tree branches where an input has no values on one side")
            path.append((i, k + 1, int(hi[i])))
            hi[i] = k
            continue
        yield lo, hi, k
        while path and path[-1][1] < 0:
            i, _, before = path.pop()
            lo[i] = before
        if path:
            i, above, before = path.pop()
            path.append((i, -1, int(lo[i])))
            lo[i], hi[i] = above, before
        done = not path
    if not done:
        raise NotProven("the tree ends before its last leaf: some points have none")


def least_of_boxes(problem: Problem, boxes: Boxes, eps: FloatArray, margin: float) -> float:
    """Lower bound of the least of all leaves.

    Parameters
    ----------
    boxes : that have been checked.
    eps : (n,) H - D + diag(eps) is positive semidefinite.
    """
    sparsity, n = problem.sparsity, problem.n
    assert sparsity is not None
    values, least = sorted_values(problem), math.inf
    d = np.where(eps > 0, np.nextafter(boxes.below.d - eps, -np.inf), boxes.below.d)
    row = _Row(values.sorted, values.zero, problem.weight, d, sparsity.unit, sparsity.group, sparsity.keep)
    leaves = boxes_of(boxes.code, values.last)
    at_once = max(1, AT_ONCE // max(n, values.sorted.size))
    while some := [(lo.copy(), hi.copy(), k) for lo, hi, k in islice(leaves, at_once)]:
        check_time()
        lo, hi, number = (np.array(part) for part in zip(*some, strict=True))
        v = boxes.v[number]
        # as `split.terms` has them: e >= -v'g + sum of d u^2 + 2 g u, g = Hv - Dv
        sizes = np.abs(v) @ size_of(problem.gram) + np.abs(d * v)
        g = v @ problem.hessian - d * v
        radius = margin * gamma(2 * n + 8) * sizes + TINY * v.any(axis=1, keepdims=True)
        # sums of 3 n numbers at most, and the sums of a unit twice among them
        found = _least(row, lo, hi, v, g, radius, margin * 8 * U, margin * gamma(10 * n + 32))
        least = min(least, float(found))
    if not math.isfinite(least):
        raise NotProven("the bound is minus infinity: numbers beyond the range of float64")
    return least


class _Row(NamedTuple):
    values: FloatArray
    zero: IntArray
    w: FloatArray
    d: FloatArray
    unit: IntArray
    group: IntArray
    keep: IntArray


@compiled()
def _least(row, lo, hi, v, g, radius, below, rounding):  # type: ignore[no-untyped-def]
    """Least bound of the leaves that have a point; minus infinity where one is no number."""
    units, least = len(row.group), np.inf
    for leaf in range(len(v)):
        kept, pruned, forced = np.zeros(units), np.zeros(units), np.zeros(units, np.bool_)
        total, size = -TINY, 0.0
        for i in range(len(row.w)):
            slope, r, unit, d, w = g[leaf, i], radius[leaf, i], row.unit[i], row.d[i], row.w[i]
            part = -v[leaf, i] * slope
            part -= abs(v[leaf, i]) * r * (1.0 + 8.0 * U) + below * abs(part)
            at_zero, cheapest = _term(d, slope, r, -w, below), np.inf
            for k in range(lo[leaf, i], hi[leaf, i] + 1):
                cheapest = min(cheapest, _term(d, slope, r, row.values[i, k] - w, below))
            kept[unit] += cheapest
            pruned[unit] += at_zero
            forced[unit] |= not lo[leaf, i] <= row.zero[i] <= hi[leaf, i]
            total += part
            size += abs(part) + abs(cheapest) + abs(at_zero)
        room = row.keep.copy()
        for unit in range(units):
            room[row.group[unit]] -= forced[unit]
        if room.min() < 0:
            continue
        saving = np.zeros(units)
        for unit in range(units):
            total += kept[unit] if forced[unit] else pruned[unit]
            saving[unit] = 0.0 if forced[unit] else max(pruned[unit] - kept[unit], 0.0)
        for unit in np.argsort(-saving):
            if room[row.group[unit]] > 0 and saving[unit] > 0.0:
                room[row.group[unit]] -= 1
                total -= saving[unit]
        total -= rounding * size
        least = min(least, total) if total > -np.inf else -np.inf
    return least


@compiled()
def _term(d, g, radius, u, below):  # type: ignore[no-untyped-def]
    """d u^2 + 2 g u, rounded down, u off by one rounding and g by its radius."""
    square, line = d * u * u, 2.0 * g * u
    slack = 2.0 * radius * abs(u) * (1.0 + below) + below * (abs(square) + abs(line))
    return square + line - slack - (TINY if d != 0.0 or radius > 0.0 else 0.0)
