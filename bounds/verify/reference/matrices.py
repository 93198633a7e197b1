"""Symmetric matrices of rational numbers: float64 numbers are such numbers, and nothing is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

Vector = list[Fraction]
Matrix = list[Vector]


def vector(array: np.ndarray) -> Vector:
    """The same numbers, exactly."""
    return [Fraction(value) for value in array.tolist()]


def matrix(array: np.ndarray) -> Matrix:
    """The same numbers, exactly."""
    return [vector(row) for row in array]


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """a'b."""
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def eliminated(a: Matrix) -> tuple[Vector, Matrix] | None:
    """Pivots p and unit upper triangular U with A = U'PU, or None if A is not positive semidefinite.

    A pivot of 0 needs a row of zeros.
    """
    n, a = len(a), [row[:] for row in a]
    pivots, upper = [], []
    for i in range(n):
        p, row = a[i][i], a[i]
        if p < 0 or (p == 0 and any(row[i + 1 :])):
            return None
        ratio = [row[j] / p if p and j > i else Fraction(int(j == i)) for j in range(n)]
        for j in range(i + 1, n):
            if row[j]:
                for k in range(j, n):
                    a[j][k] = a[k][j] = a[j][k] - row[j] * ratio[k]
        pivots.append(p)
        upper.append(ratio)
    return pivots, upper


def solved(pivots: Vector, upper: Matrix, b: Vector) -> Vector:
    """A^-1 b for A = U'PU with positive pivots."""
    n, y = len(b), b[:]
    for i in range(n):
        y[i] -= sum((upper[j][i] * y[j] for j in range(i)), Fraction(0))
    y = [value / p for value, p in zip(y, pivots, strict=True)]
    for i in reversed(range(n)):
        y[i] -= sum((upper[i][j] * y[j] for j in range(i + 1, n)), Fraction(0))
    return y
