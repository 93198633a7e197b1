"""The least value of a quadratic form over finitely many points, by a complete search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from .limits import Limits, NotEstablished
from .rational import Matrix, Vector, eliminated, over_one_denominator


def least_form(
    a: Matrix,
    points: Sequence[Vector],
    threshold: Fraction | None,
    allowed: Callable[[list[int]], bool],
    limits: Limits,
) -> Fraction:
    """min(threshold, min y'Ay) over y with y_i among `points[i]`, exactly.

    y'Ay = sum_i (sum_{j >= i} r_ij y_j)^2 / (m_i m_{i-1}), see `eliminated`: the last input is decided first,
    every further term is at least 0, so that what is already decided bounds what is below. In whole numbers over
    one denominator y'Ay is one; the terms are rounded down to one, and all points that are left are evaluated.

    Parameters
    ----------
    a : symmetric. threshold : None for none, which needs a point that is allowed.
    allowed : whether the decided last inputs, given as indices of their points, may be together.

    Raises
    ------
    NotEstablished
        A is not positive semidefinite, or the search has more nodes, or takes longer, than the limits say.
    """
    n, whole, left = len(points), over_one_denominator(a), limits.nodes
    rows = eliminated(whole.rows, limits.check)
    if rows is None:
        raise NotEstablished("the matrix of a search is not positive semidefinite")
    k = math.lcm(1, *(value.denominator for choices in points for value in choices))
    ys = [[value.numerator * (k // value.denominator) for value in choices] for choices in points]
    scale = whole.below * k * k
    best = None if threshold is None else math.ceil(threshold * scale)
    found: int | None = None
    pivots = [row[0] for row in rows]
    divisors = [m * next((p for p in reversed(pivots[:i]) if p), 1) for i, m in enumerate(pivots)]

    def below(chosen: list[int], y: list[int], partial: int) -> None:
        nonlocal best, found, left
        i = n - 1 - len(chosen)
        if i < 0:
            value = _value(whole.rows, y)
            if best is None or value < best:
                best = found = value
            return
        row, divisor = rows[i], divisors[i]
        shift = sum(value * r for value, r in zip(y, row[1:], strict=True))
        # a pivot of 0 has a row of zeros
        costs = ((row[0] * value + shift) ** 2 // divisor if divisor else 0 for value in ys[i])
        for cost, choice in sorted((cost, number) for number, cost in enumerate(costs)):
            if best is not None and partial + cost >= best:
                return  # costs ascend
            left -= 1
            if left < 0:
                raise NotEstablished(f"not established within {limits.nodes} nodes")
            if left % 1024 == 0:
                limits.check()
            if allowed([choice, *chosen]):
                below([choice, *chosen], [ys[i][choice], *y], partial + cost)

    below([], [], 0)
    if found is None:
        assert threshold is not None
        return threshold
    return Fraction(found, scale)


def _value(rows: list[list[int]], y: list[int]) -> int:
    """y'Ay."""
    sums = (sum(h * value for h, value in zip(row, y, strict=True)) for row in rows)
    return sum(value * total for value, total in zip(y, sums, strict=True))
