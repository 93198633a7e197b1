"""How little has to be taken off D so that the rest of H is positive semidefinite."""

from __future__ import annotations

import math
from fractions import Fraction

from ...gram import FloatArray
from ...proof import Below
from .limits import Limits, need
from .rational import Matrix, Vector, Whole, eliminated, matrix, over_one_denominator, vector

FINEST, MOST = 60, 24
"""t is 0 or a multiple of 2^-60, and at most n 2^-24."""


class Shifted:
    """D, and the least t with M = H + pp' - D + t S positive semidefinite on some of the inputs."""

    def __init__(self, h: FloatArray, below: Below, p: FloatArray | None, limits: Limits) -> None:
        n, self.limits = len(h), limits
        self.d: Matrix = [[Fraction(0)] * n for _ in range(n)]
        for i, value in enumerate(vector(below.d)):
            self.d[i][i] = value
        for (i, j), value in zip(below.pairs.tolist(), vector(below.across), strict=True):
            self.d[i][j] = self.d[j][i] = value
        for block in below.blocks:
            for i, row in zip(block.inputs.tolist(), matrix(block.matrix), strict=True):
                for j, value in zip(block.inputs.tolist(), row, strict=True):
                    self.d[i][j] = value
        m = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(matrix(h), self.d, strict=True)]
        if p is not None:
            q = vector(p)
            m = [[value + q[i] * q[j] for j, value in enumerate(row)] for i, row in enumerate(m)]
        # s_i = 4^k from the diagonal of M as float64 has it, H + pp' - D in this order; 0 where that is not > 0
        root: Vector = []
        for i, size in enumerate(h.diagonal().tolist()):
            size = size + (0.0 if p is None else float(p[i]) * float(p[i])) - float(self.d[i][i])
            root.append(Fraction(2) ** (math.frexp(size)[1] // 2) if size > 0 else Fraction(0))
        self.s = [value * value for value in root]
        scale = [value or Fraction(1) for value in root]
        self.m = over_one_denominator(
            [[value / scale[i] / scale[j] for j, value in enumerate(row)] for i, row in enumerate(m)]
        )
        self._known: list[tuple[frozenset[int], Fraction]] = []

    def eps(self, free: list[int]) -> Vector:
        """t S on all inputs, t the least multiple that will do on the free ones."""
        free_ = frozenset(free)
        for known, t in self._known:
            if free_ == known or (t == 0 and free_ <= known):
                return [t * s for s in self.s]
        t = self._least(free)
        self._known.append((free_, t))
        return [t * s for s in self.s]

    def _least(self, free: list[int]) -> Fraction:
        if eliminated(_part(self.m, free), self.limits.check) is not None:
            return Fraction(0)
        finer = [[value << FINEST for value in row] for row in _part(self.m, free)]

        def holds(multiple: int) -> bool:
            rows = [row[:] for row in finer]
            for k, i in enumerate(free):
                rows[k][k] += multiple * self.m.below if self.s[i] else 0
            return eliminated(rows, self.limits.check) is not None

        most = len(self.s) << (FINEST - MOST)
        need(holds(most), "H - D is not positive semidefinite, by far more than rounding")
        least = 1
        while least < most and not holds(least):
            least *= 2
        least, short = min(least, most), least // 2
        while least - short > 1:
            middle = (least + short) // 2
            least, short = (middle, short) if holds(middle) else (least, middle)
        return Fraction(least, 2**FINEST)


def _part(m: Whole, free: list[int]) -> list[list[int]]:
    return [[m.rows[i][j] for j in free] for i in free]
