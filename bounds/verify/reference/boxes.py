"""A tree over intervals of values: every leaf has inequality (1) over the values that are left to each input."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from ...problem import Problem
from ...proof import Boxes
from .leaf import Shared, values
from .limits import BOXES, need
from .rational import Vector, matrix, vector


def least_of_boxes(problem: Problem, boxes: Boxes, shared: Shared) -> Fraction:
    """The least bound of the leaves of a record that is exactly one tree."""
    n, below, pattern = problem.n, boxes.below, problem.sparsity
    need(pattern is not None and not problem.free_weights, "intervals of values need a pattern and values")
    parts = len(below.blocks) + len(below.pairs) + len(below.across)
    need(parts == 0, "intervals of values have no blocks of D and no pairs")
    need(below.d.shape == (n,) and np.isfinite(below.d).all(), "D is not that of this row")
    need(boxes.v.ndim == 2 and boxes.v.shape[1] == n and np.isfinite(boxes.v).all(), "v is not that of this row")
    need(boxes.code.ndim == 2 and boxes.code.shape[1] == 2, "the record of a tree is no list of pairs")
    need(boxes.leaves <= BOXES, f"not established: a tree has at most {BOXES} leaves")
    row, code, at, bounds = _Row(problem, boxes, shared), boxes.code.tolist(), 0, list[Fraction]()
    box = [(0, len(choices) - 1) for choices in row.values]
    todo: list[tuple[int, tuple[int, int], bool]] = [(0, box[0], True)]
    while todo:
        shared.limits.check()
        i, interval, visit = todo.pop()
        box[i] = interval
        if not visit:
            continue
        need(at < len(code), "the tree ends before its last leaf")
        i, k = code[at]
        at += 1
        if i < 0:
            need(i == -1 and 0 <= k < len(boxes.v), "a leaf names a v that is not there")
            bounds += row.bound(box, k)
            continue
        need(i < n, "a branch on an input that is none")
        first, last = box[i]
        need(first <= k < last, "a branch that leaves no value on one side")
        todo += [(i, (first, last), False), (i, (k + 1, last), True), (i, (first, k), True)]
    need(at == len(code), "the tree goes on after its last leaf")
    return min(bounds)  # 0 is a point, and has its leaf


class _Row:
    """What leaves have in common, in whole numbers: u over q, v over k, and d u^2 + 2 g u over e b k q^2."""

    def __init__(self, problem: Problem, boxes: Boxes, shared: Shared) -> None:
        n, w = problem.n, vector(problem.weight)
        shifted = shared.shifted(problem.gram, boxes.below)
        d = [shifted.d[i][i] - t for i, t in enumerate(shifted.eps(list(range(n))))]
        self.problem, self.h = problem, shared.whole(problem.gram)
        self.values = [sorted({*values(problem, i), Fraction(0)}) for i in range(n)]
        self.e, self.d = _whole(d)
        self.k = _whole([x for row in matrix(boxes.v) for x in row])[0]
        self.v = [[int(x * self.k) for x in row] for row in matrix(boxes.v)]
        self.q = _whole([*w, *(x for xs in self.values for x in xs)])[0]
        self.u = [[int((x - w[i]) * self.q) for x in xs] for i, xs in enumerate(self.values)]
        self.square = [
            [d * u * u * self.h.below * self.k for u in us] for d, us in zip(self.d, self.u, strict=True)
        ]
        self.zero = [xs.index(Fraction(0)) for xs in self.values]

    def bound(self, box: list[tuple[int, int]], number: int) -> list[Fraction]:
        """Least right side of (1) over the points of a leaf, if it has one."""
        pattern, v = self.problem.sparsity, self.v[number]
        assert pattern is not None
        hv = [sum(h * x for h, x in zip(row, v, strict=True) if x) for row in self.h.rows]
        g = [self.e * y - self.h.below * d * x for y, d, x in zip(hv, self.d, v, strict=True)]  # over e b k
        at_zero, least = [0] * pattern.units, [0] * pattern.units
        kept = set[int]()
        for i, unit in enumerate(pattern.unit.tolist()):
            first, last = box[i]
            terms = [
                square + 2 * g[i] * u * self.q
                for square, u in zip(self.square[i][first : last + 1], self.u[i][first : last + 1], strict=True)
            ]
            least[unit] += min(terms)
            zero = self.zero[i]
            at_zero[unit] += self.square[i][zero] + 2 * g[i] * self.u[i][zero] * self.q
            if not first <= zero <= last:
                kept.add(unit)
        total = 0
        for group, keep in enumerate(pattern.keep.tolist()):
            mine = [unit for unit in range(pattern.units) if pattern.group[unit] == group]
            room = keep - len(kept.intersection(mine))
            if room < 0:
                return []
            savings = sorted((at_zero[unit] - least[unit] for unit in mine if unit not in kept), reverse=True)
            total += sum(least[unit] if unit in kept else at_zero[unit] for unit in mine) - sum(savings[:room])
        constant = -sum(x * y for x, y in zip(v, g, strict=True))  # over e b k^2
        below = self.e * self.h.below * self.k
        return [Fraction(total, below * self.q**2) + Fraction(constant, below * self.k)]


def _whole(numbers: Vector) -> tuple[int, list[int]]:
    """A common denominator, and the numbers times it."""
    k = math.lcm(1, *(value.denominator for value in numbers))
    return k, [int(value * k) for value in numbers]
