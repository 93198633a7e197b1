"""Rational numbers: a float64 is one, and nothing is rounded. Long sums and eliminations are of whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

Vector = list[Fraction]
Matrix = list[Vector]


def vector(array: np.ndarray) -> Vector:
    """The same numbers, exactly."""
    return [Fraction(value) for value in array.tolist()]


def matrix(array: np.ndarray) -> Matrix:
    """The same numbers, exactly."""
    return [vector(row) for row in array]


class Whole(NamedTuple):
    """Whole numbers over one denominator: rows / below."""

    rows: list[list[int]]
    below: int

    def times(self, v: Sequence[Fraction]) -> Vector:
        """This matrix times a vector."""
        k = math.lcm(1, *(value.denominator for value in v))
        whole = [value.numerator * (k // value.denominator) for value in v]
        sums = (sum(a * b for a, b in zip(row, whole, strict=True) if b) for row in self.rows)
        return [Fraction(total, self.below * k) for total in sums]


def over_one_denominator(a: Sequence[Sequence[Fraction]]) -> Whole:
    """The same matrix."""
    k = math.lcm(1, *(value.denominator for row in a for value in row))
    return Whole([[value.numerator * (k // value.denominator) for value in row] for row in a], k)


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """a'b."""
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def eliminated(rows: list[list[int]], tick: Callable[[], None]) -> list[list[int]] | None:
    """Rows r_0, r_1, ... of a symmetric matrix of whole numbers after elimination; None if it is not semidefinite.

    Elimination without fractions (Bareiss 1968): row i keeps its columns j >= i, and with pivots m_i = r_ii,
    m_-1 = 1, y'Ay = sum_i (sum_j r_ij y_j)^2 / (m_i m_{i-1}). A pivot of 0 needs a row of zeros, is no pivot, and
    the next one is divided by the last that was not 0.

    Parameters
    ----------
    tick : called now and then; it may raise.
    """
    a, previous, result = [row[i:] for i, row in enumerate(rows)], 1, []
    for i, first in enumerate(a):
        pivot = first[0]
        if pivot < 0 or (pivot == 0 and any(first)):
            return None
        result.append(first)
        if pivot == 0:
            continue
        for j in range(i + 1, len(a)):
            tick()
            factor, row = first[j - i], a[j]
            a[j] = [(pivot * row[k] - factor * first[k + j - i]) // previous for k in range(len(row))]
        previous = pivot
    return result


def solved(a: Matrix, b: Vector) -> Vector | None:
    """x with A x = b for a symmetric A; None if it is not positive definite."""
    rows = [[*row, right] for row, right in zip(a, b, strict=True)]
    for i, first in enumerate(rows):
        if first[i] <= 0:
            return None
        for row in rows[i + 1 :]:
            ratio = row[i] / first[i]
            row[i:] = [value - ratio * top for value, top in zip(row[i:], first[i:], strict=True)]
    x: Vector = []
    for i in reversed(range(len(rows))):
        x.insert(0, (rows[i][-1] - dot(rows[i][i + 1 : -1], x)) / rows[i][i])
    return x
