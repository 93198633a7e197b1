"""What |H| times non-negative rows is at most, in numbers of 32 bits: radii of errors need two digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .gram import FloatArray, Gram, IntArray

LEAST = 2.0**-60
"""Smaller entries count as this one, so that no product of two underflows."""
UNIT = 2.0**-24
"""Relative error of one operation."""


@dataclass(frozen=True, eq=False)
class Majorant:
    """|h_ij| <= 2^(e_i + e_j) m_ij, with m about the size of a correlation."""

    matrix: np.ndarray
    """(n, n) m, float32."""
    exponent: IntArray
    """(n,) e."""

    @classmethod
    def of(cls, gram: Gram) -> Majorant:
        """That of a Gram matrix, made once: 0.2 s at 4096 inputs."""
        return gram.memo(Majorant.of, lambda: cls._made(gram.matrix))

    @classmethod
    def _made(cls, h: FloatArray) -> Majorant:
        exponent = np.frexp(np.diagonal(h))[1].astype(np.int64) // 2
        matrix = np.empty(h.shape, np.float32)
        for i, row in enumerate(h):
            matrix[i] = _upwards(np.ldexp(np.abs(row), -(exponent[i] + exponent)))
        return cls(matrix, exponent)

    def times(self, rows: FloatArray) -> FloatArray:
        """(k, n) at least |H| times each of the non-negative `rows`, (k, n); infinite where float64 or they are.

        Of n terms that are not negative a sum in any order is off by n + 1 roundings at most.
        """
        with np.errstate(all="ignore"):
            scaled = np.ldexp(rows, self.exponent)
            own = np.frexp(scaled.max(axis=1, initial=0.0))[1].astype(np.int64)[:, None]
            found = (_upwards(np.ldexp(scaled, -own)) @ self.matrix.T).astype(np.float64)
            found *= 1 + 1.1 * (len(self.exponent) + 4) * UNIT
            return np.nextafter(np.ldexp(found, own + self.exponent), np.inf)  # it may underflow


def _upwards(values: FloatArray) -> np.ndarray:
    """Non-negative numbers in 32 bits, rounded up."""
    with np.errstate(all="ignore"):
        near = np.nextafter(np.maximum(values, LEAST).astype(np.float32), np.float32(np.inf))
    near[values == 0] = 0.0
    return near
