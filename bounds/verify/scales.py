"""A lower bound for every scale of a range, from searches at some of them, with its rounding accounted for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from ..gram import Gram
from ..grid import FreeScale, Grid
from ..problem import Problem
from ..proof import Enumeration, Reduced, Scales
from .budget import check_time
from .psd import TINY, U, gamma
from .refusal import NotProven
from .whole import integers, times

Search = Callable[[Problem, Enumeration | Reduced, float], float]


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


def least_at_scales(problem: Problem, proof: Scales, margin: float, search: Search) -> float:
    """Lower bound of min e(x) over x = scale * codes, rounded, and every scale of the range.

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
    least: list[Fraction] = []
    for ends, anchor, r, part in zip(pairwise(edges.tolist()), anchors, stiffness, proof.searches, strict=True):
        check_time()
        slack = Fraction(float(r)) - pulled.reference
        if slack < 0 or r <= 0:
            raise NotProven("an interval of scales has a stiffness below w'Hw")
        if r not in grams:
            grams[r] = pulled.gram(float(r))
        there = anchored(problem, grams[r], float(anchor))
        found = search(there.problem, part, margin) - margin * there.doubt * (1 + 4 * U)
        if not math.isfinite(found):
            raise NotProven("the bound is minus infinity: numbers beyond the range of float64")
        least.append(at_ends(ends, found, slack, float(anchor)))
    return rounded_levels(problem, min(least), margin)


def at_ends(ends: tuple[float, float], found: float, slack: Fraction, anchor: float) -> Fraction:
    """(m - (R - r)(u - u_1)^2) / u^2 at the worse end of an interval, exactly, or 0 if that is negative."""
    m, u_1 = Fraction(math.nextafter(found, -math.inf)), Fraction(anchor)
    return max(Fraction(0), min((m - slack * (u - u_1) ** 2) / u**2 for u in map(Fraction, ends)))


def rounded_levels(problem: Problem, bound: Fraction, margin: float) -> float:
    """The bound for levels as float64 has them, from that of scale * code.

    They are off by at most d = high max |c| U + 2^-1075, which moves sqrt(e) by at most d sum_i sqrt(h_ii).
    """
    free = free_scale(problem)
    off = free.high * float(np.abs(free.codes).max()) * U * (1 + 4 * U) + TINY
    moved = margin * off * float(np.sqrt(problem.hessian.diagonal()).sum()) * (1 + gamma(problem.n + 8)) + TINY
    try:
        least = math.nextafter(float(bound), -math.inf)
    except OverflowError:
        raise NotProven("numbers beyond the range of float64") from None
    root = math.sqrt(max(least, 0.0))
    lost = 2 * moved * root * (1 + 8 * U) + TINY
    return max(0.0, math.nextafter(least - lost, -math.inf)) if math.isfinite(lost) else 0.0
