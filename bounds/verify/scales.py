"""A lower bound for every scale of a range, of a row or of rows that share it, from searches at some scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..gram import Gram
from ..grid import FreeScale, Grid
from ..problem import Problem
from ..proof import Boxes, Enumeration, Reduced, Scales
from .budget import check_time
from .psd import TINY, U, gamma
from .refusal import NotProven
from .split import fsum_above
from .whole import integers, times

Search = Callable[[Problem, Enumeration | Reduced | Boxes, float], float]


class Pulled:
    """H - Hww'H / R for a row and any R, each entry rounded once."""

    def __init__(self, problem: Problem) -> None:
        self.n = problem.n
        self._h, self._below = integers(problem.hessian)
        w = [Fraction(value) for value in problem.weight.tolist()]
        self._scale = math.lcm(1, *(value.denominator for value in w))
        whole = [value.numerator * (self._scale // value.denominator) for value in w]
        self._g = times(self._h, whole)
        self.reference = Fraction(
            sum(a * b for a, b in zip(whole, self._g, strict=True)), self._below * self._scale**2
        )
        """w'Hw, exactly."""

    def gram(self, stiffness: float) -> Gram:
        """G, as float64 rounds it; exact but for one rounding of each entry.

        Raises
        ------
        NotProven
            Numbers beyond the range of float64.
        """
        # h_ij / b - g_i g_j / (b s)^2 R, over one denominator
        r = Fraction(stiffness)
        first = self._below * self._scale**2 * r.numerator
        divisor = self._below * first
        g = np.empty((self.n, self.n))
        try:
            for i, row in enumerate(self._h):
                pull = self._g[i] * r.denominator
                for j in range(i + 1):
                    g[i, j] = g[j, i] = (row[j] * first - pull * self._g[j]) / divisor
        except OverflowError:
            raise NotProven("numbers beyond the range of float64") from None
        return Gram(g, rank=self.n)


@dataclass(frozen=True, eq=False)
class Anchored:
    """The grid problem at an interval's u_1, and how far its errors may be from those that are meant."""

    problem: Problem
    doubt: float


def anchored(problem: Problem, gram: Gram, anchor: float) -> Anchored:
    """The row u_1 w with the matrix G on the grid of the codes.

    With t = u_1 w + d, |d_i| <= U |t_i|, and G off by U |g_ij|, (t - c)'G(t - c) is off by at most 3.1 U times the
    sum of |g_ij| y_i y_j, y_i the largest |t_i - c_i| or |t_i|, but for what underflows.
    """
    free = free_scale(problem)
    target = problem.weight * anchor
    reach = np.abs(target) + float(np.abs(free.codes).max())
    size = np.abs(gram.matrix) @ reach
    doubt = 4 * U * float(reach @ size) * (1 + gamma(2 * problem.n + 8))
    total = float(reach.sum())
    doubt += TINY * (1 + total * total + float(size.sum()))
    grid = Grid(free.codes[None, :], np.zeros(problem.n, np.int64))
    return Anchored(Problem(target, gram, grid, problem.sparsity), doubt)


def free_scale(problem: Problem) -> FreeScale:
    """The range of scales of a row that has one."""
    assert problem.grid is not None
    assert problem.grid.free is not None
    return problem.grid.free


class Part(NamedTuple):
    """What holds of a row in an interval: u^2 e(c / u) >= m - slack (u - anchor)^2 for every u, exactly."""

    m: Fraction
    slack: Fraction
    """R - r."""
    anchor: Fraction

    def at(self, u: Fraction) -> Fraction:
        """What it says of e(c / u)."""
        return (self.m - self.slack * (u - self.anchor) ** 2) / u**2


@dataclass(frozen=True, eq=False)
class AtScales:
    """What a proof says of the errors of a row at every scale of the range."""

    edges: tuple[float, ...]
    """Of intervals of u = 1 / scale, which cover the range."""
    parts: tuple[Part, ...]
    """One for each interval."""
    moved: float
    """What sqrt(e) is moved by at most where levels are rounded."""


def at_scales(problem: Problem, proof: Scales, margin: float, search: Search) -> AtScales:
    """What a proof says of a row, interval by interval.

    Raises
    ------
    NotProven
        The intervals do not cover the range, or a search proves nothing.
    """
    free, k = free_scale(problem), len(proof.searches)
    edges, anchors, stiffness = proof.edges, proof.anchors, proof.stiffness
    if edges.shape != (k + 1,) or anchors.shape != (k,) or stiffness.shape != (k,) or not k:
        raise NotProven("the intervals of scales are not those of this row")
    if not np.isfinite([*edges, *anchors, *stiffness]).all() or not (edges[0] > 0 and (np.diff(edges) > 0).all()):
        raise NotProven("the intervals of scales do not ascend from above 0")
    if not (0 < free.low <= free.high < math.inf):
        raise NotProven("the scales of the range are no numbers")
    if not Fraction(edges[0]) * Fraction(free.high) <= 1 <= Fraction(edges[-1]) * Fraction(free.low):
        raise NotProven("the intervals do not cover the range of scales")
    pulled = Pulled(problem)
    grams: dict[float, Gram] = {}
    parts = []
    for anchor, r, part in zip(anchors.tolist(), stiffness.tolist(), proof.searches, strict=True):
        check_time()
        slack = Fraction(r) - pulled.reference
        if slack < 0 or r <= 0:
            raise NotProven("an interval of scales has a stiffness below w'Hw")
        if r not in grams:
            grams[r] = pulled.gram(r)
        there = anchored(problem, grams[r], anchor)
        found = search(there.problem, part, margin) - margin * there.doubt * (1 + 4 * U)
        if not math.isfinite(found):
            raise NotProven("the bound is minus infinity: numbers beyond the range of float64")
        parts.append(Part(Fraction(math.nextafter(found, -math.inf)), slack, Fraction(anchor)))
    return AtScales(tuple(edges.tolist()), tuple(parts), rounding_of_levels(problem, margin))


def least_alone(row: AtScales) -> float:
    """Lower bound of the row's error at any scale of the range."""
    return least_of([row])


def least_together(rows: Sequence[AtScales]) -> float | None:
    """Lower bound of the sum of the rows' errors, all at one scale; None where their intervals differ."""
    return least_of(rows) if all(row.edges == rows[0].edges for row in rows) else None


def least_of(rows: Sequence[AtScales]) -> float:
    """The same of rows whose intervals are the same.

    The sum of the rows' parts times u^2 is concave less T u^2, as each of them is: what holds at both ends of an
    interval holds in between. Levels that are rounded move the root of the sum of all errors by at most the sum of
    what they move the roots of the rows' errors by.
    """
    least: list[Fraction] = []
    for i, ends in enumerate(pairwise(map(Fraction, rows[0].edges))):
        check_time()
        least += (sum((row.parts[i].at(u) for row in rows), Fraction(0)) for u in ends)
    return rounded_levels(max(Fraction(0), min(least)), fsum_above([row.moved for row in rows]))


def rounding_of_levels(problem: Problem, margin: float) -> float:
    """How far sqrt(e) of levels as float64 has them is from that of scale * code.

    They are off by at most d = high max |c| U + 2^-1075, which moves sqrt(e) by at most d sum_i sqrt(h_ii).
    """
    free = free_scale(problem)
    off = free.high * float(np.abs(free.codes).max()) * U * (1 + 4 * U) + TINY
    return margin * off * float(np.sqrt(problem.hessian.diagonal()).sum()) * (1 + gamma(problem.n + 8)) + TINY


def rounded_levels(bound: Fraction, moved: float) -> float:
    """The bound for levels as float64 has them, from that of scale * code."""
    try:
        least = math.nextafter(float(bound), -math.inf)
    except OverflowError:
        raise NotProven("numbers beyond the range of float64") from None
    root = math.sqrt(max(least, 0.0))
    lost = 2 * moved * root * (1 + 8 * U) + TINY
    return max(0.0, math.nextafter(least - lost, -math.inf)) if math.isfinite(lost) else 0.0
