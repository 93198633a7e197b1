"""The least value of a quadratic form over finitely many points, by a complete search that rounds nothing."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from .matrices import Matrix, Vector


class TooLong(Exception):
    """A search visited more nodes than it may."""


def least_form(
    pivots: Vector,
    upper: Matrix,
    points: list[Vector],
    threshold: Fraction | None,
    allowed: Callable[[list[int]], bool],
    nodes: int,
) -> Fraction | None:
    """min(threshold, min y'U'PUy) over y with y_i among `points[i]`; None: no point at all and no threshold.

    y'U'PUy = sum_i p_i (y_i + sum_{j > i} U_ij y_j)^2: the last input is decided first, every further term is at
    least 0, so that what is already decided bounds what is below.

    Parameters
    ----------
    allowed : whether the decided last inputs, given as indices of their points, may be together.
    """
    n, best, left = len(points), threshold, nodes

    def below(chosen: list[int], y: Vector, partial: Fraction) -> None:
        nonlocal best, left
        i = n - 1 - len(chosen)
        if i < 0:
            best = partial if best is None else min(best, partial)
            return
        shift = sum((upper[i][i + 1 + k] * value for k, value in enumerate(y)), Fraction(0))
        costs = sorted((pivots[i] * (value + shift) ** 2, k) for k, value in enumerate(points[i]))
        for cost, k in costs:
            if best is not None and partial + cost >= best:
                return  # costs ascend
            left -= 1
            if left < 0:
                raise TooLong
            if allowed([k, *chosen]):
                below([k, *chosen], [points[i][k], *y], partial + cost)

    below([], [], Fraction(0))
    return best
