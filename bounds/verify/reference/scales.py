"""Every scale of a range, in intervals of its inverse: what searches at some scales prove of all."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np

from ...gram import Gram
from ...grid import FreeScale, Grid
from ...problem import Problem
from ...proof import Boxes, Enumeration, Reduced, Scales
from .leaf import Shared
from .limits import Limits, need
from .rational import Matrix, Vector, dot, matrix, vector

HALF_DIGIT, LEAST = Fraction(1, 2**53), Fraction(1, 2**1075)
"""A level in float64 is off by at most half its last digit, or half the least number that is not 0."""
DIGITS = 400
"""Binary digits of a square root, which is rounded up."""


class Interval:
    """m is asked for, least of (u_1 w - c)'G(u_1 w - c)."""

    def __init__(self, a: Fraction, b: Fraction, anchor: Fraction, slack: Fraction) -> None:
        self.ends, self.anchor, self.slack = (a, b), anchor, slack

    def at_ends(self, m: Fraction) -> list[Fraction]:
        """(m - (R - r)(u - u_1)^2) / u^2 at both ends."""
        return [(m - self.slack * (u - self.anchor) ** 2) / u**2 for u in self.ends]


class AtScales:
    """What is proven of a row at every scale: the bound at both ends of each interval in turn."""

    def __init__(self, edges: tuple[float, ...], at_ends: list[Fraction], moved: Fraction) -> None:
        self.edges, self.at_ends, self.moved = edges, at_ends, moved


def least_of(rows: list[AtScales], limits: Limits) -> Fraction:
    """The least sum of the rows' errors at one scale, for rows whose edges are the same."""
    sums = [Fraction(0)] * len(rows[0].at_ends)
    for row in rows:
        limits.check()  # sums of many rows have many digits
        sums = [total + value for total, value in zip(sums, row.at_ends, strict=True)]
    bound = max(Fraction(0), min(sums))
    moved = sum((row.moved for row in rows), Fraction(0))
    return max(Fraction(0), bound - 2 * moved * root_above(bound))


class Scaled:
    """A row whose scale is free, and the intervals of a proof."""

    def __init__(self, problem: Problem, proof: Scales, shared: Shared) -> None:
        k = len(proof.searches)
        shapes = proof.edges.shape, proof.anchors.shape, proof.stiffness.shape
        need(k > 0 and shapes == ((k + 1,), (k,), (k,)), "the intervals of scales do not fit")
        every = [*proof.edges, *proof.anchors, *proof.stiffness]
        need(np.isfinite(every).all(), "the intervals of scales are not finite")
        self.free, edges = free_scale(problem), vector(proof.edges)
        need(0 < self.free.low <= self.free.high < math.inf, "the range of scales is not one of numbers")
        need(edges[0] > 0 and all(a < b for a, b in pairwise(edges)), "the edges do not ascend from above 0")
        low, high = Fraction(self.free.low), Fraction(self.free.high)
        need(edges[0] * high <= 1 <= edges[-1] * low, "the intervals leave scales of the range out")
        self.problem, self.h = problem, shared.whole(problem.gram)
        self.w = vector(problem.weight)
        self.pull = self.h.times(self.w)
        r = dot(self.w, self.pull)
        anchors, self.stiffness = vector(proof.anchors), vector(proof.stiffness)
        need(all(value >= r and value > 0 for value in self.stiffness), "a stiffness below w'Hw")
        self.intervals = [
            Interval(a, b, anchor, value - r)
            for (a, b), anchor, value in zip(pairwise(edges), anchors, self.stiffness, strict=True)
        ]
        self.searches: tuple[Enumeration | Reduced | Boxes, ...] = proof.searches
        self._rounded: dict[Fraction, Gram] = {}

    def matrix(self, k: int) -> Matrix:
        """G of an interval."""
        g, r, below = self.pull, self.stiffness[k], self.h.below
        return [
            [Fraction(value, below) - g[i] * g[j] / r for j, value in enumerate(row)]
            for i, row in enumerate(self.h.rows)
        ]

    def weights(self, k: int) -> Vector:
        """u_1 w of an interval."""
        return [self.intervals[k].anchor * value for value in self.w]

    def rounded(self, k: int) -> tuple[Problem, Fraction]:
        """The row of an interval with G and u_1 w in float64, and how far the error of no point is off."""
        g, t, n = self.matrix(k), self.weights(k), self.problem.n
        if self.stiffness[k] not in self._rounded:
            try:
                floats = np.array([[float(value) for value in row] for row in g])
            except OverflowError:
                need(False, "the matrix of an interval is not one of float64")
            self._rounded[self.stiffness[k]] = Gram(floats, rank=n)
        gram = self._rounded[self.stiffness[k]]
        weight = self.problem.weight * float(self.intervals[k].anchor)
        need(np.isfinite(weight).all() and np.isfinite(gram.matrix).all(), "an interval leaves float64")
        near, h, codes = vector(weight), matrix(gram.matrix), [Fraction(0), *vector(self.free.codes)]
        ends = min(codes), max(codes)
        # the largest |z_i| of both, which is at an end of all codes
        reach = [max(abs(x - c) for x in (t[i], near[i]) for c in ends) for i in range(n)]
        moved = [abs(a - b) for a, b in zip(near, t, strict=True)]
        off = Fraction(0)
        for i in range(n):
            for j in range(n):
                off += abs(g[i][j] - h[i][j]) * reach[i] * reach[j] + 2 * abs(h[i][j]) * moved[i] * reach[j]
        return dataclasses.replace(self.at_codes(), weight=weight, gram=gram), off

    def at_codes(self) -> Problem:
        """The row on the grid of the codes; its weights and its matrix are not those of an interval."""
        grid = Grid(self.free.codes[None, :], np.zeros(self.problem.n, np.int64))
        return Problem(self.problem.weight, self.problem.gram, grid, self.problem.sparsity)

    def moved(self) -> Fraction:
        """How far levels as float64 has them move sqrt(e): by at most d sum sqrt(h_ii)."""
        largest = max(abs(value) for value in vector(self.free.codes))
        d = HALF_DIGIT * Fraction(self.free.high) * largest + LEAST
        diagonal = [Fraction(row[i], self.h.below) for i, row in enumerate(self.h.rows)]
        return d * sum((root_above(value) for value in diagonal), Fraction(0))


def free_scale(problem: Problem) -> FreeScale:
    """The range of scales of a row that has one."""
    assert problem.grid is not None
    assert problem.grid.free is not None
    return problem.grid.free


def widest(problem: Problem) -> Problem:
    """For the split with D = 0 and v = 0, whose terms are concave: each input at an end of all that it may be."""
    if problem.grid is None or problem.grid.free is None:
        return problem
    free = free_scale(problem)
    ends = [float(scale) * float(code) for scale in (free.low, free.high) for code in free.codes[[0, -1]]]
    need(np.isfinite(ends).all() and any(ends), "the range of scales is not one of numbers")
    grid = Grid(np.array([[min(0.0, *ends), max(0.0, *ends)]]), np.zeros(problem.n, np.int64))
    return Problem(problem.weight, problem.gram, grid, problem.sparsity)


def root_above(value: Fraction) -> Fraction:
    """At least the square root, and more by a factor of at most 1 + 2^-DIGITS."""
    if value == 0:
        return Fraction(0)
    # numerator and denominator have about as many digits as they like: 2 DIGITS more than both are enough
    digits = 2 * DIGITS + value.denominator.bit_length() + value.numerator.bit_length()
    shift = digits + digits % 2
    return Fraction(math.isqrt((value.numerator << shift) // value.denominator) + 1, 2 ** (shift // 2))
