"""The relaxation of pruned rows at one diagonal D, for all rows at once: ADMM, two products a step.

In the scale of D, x^ = D^1/2 x, H^ = D^-1/2 H D^-1/2, Q^ = H^ - I, b^ = H^ w^, the relaxation of a row is

    min over x^ and 0 <= z <= 1 with sum of z <= keep in every group of  c - 2 b^'x^ + x^'Q^x^ + sum x^_i^2 / z_i,

and any x^ proves e >= c - x^'Q^x^ - sum over groups of the `keep` largest r_i^2, r = b^ - Q^x^: inequality (1) of
`pvq.bounds.proof` with v = x - w. ADMM (Boyd et al., "Distributed optimization and statistical learning via ADMM",
2011) splits the quadratic from the penalty; its r comes without a product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray

from ...kernels import lapack
from .patterns import Groups, fill, largest_sums

RHO, OVER = 3.0, 1.6
"""Penalty and over-relaxation of ADMM: 12 to 15 steps reach .1 to .3 % of the relaxation."""


@dataclass(frozen=True, eq=False)
class AtDiagonal:
    """H in the scale of a diagonal, and the factor that a step takes."""

    d: FloatArray
    """(n,) D."""
    hessian: FloatArray
    """(n, n) H^."""
    factor: FloatArray
    """(n, n) of H^ - I + RHO I, by LAPACK; a third of the work of an inverse."""

    @cached_property
    def size(self) -> FloatArray:
        """(n, n) absolute values of H^."""
        return np.abs(self.hessian)

    @classmethod
    def of(cls, h: FloatArray, d: FloatArray) -> AtDiagonal | None:
        """None where float64 does not carry it."""
        root = np.sqrt(d)
        scaled = h / root
        scaled /= root[:, None]
        shifted = scaled.copy()
        shifted[np.diag_indices(len(d))] += RHO - 1.0
        return cls(d, scaled, shifted) if lapack.factor(shifted) else None


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where ADMM has come to, unscaled, (rows, n) each; a start for the next D."""

    y: FloatArray
    u: FloatArray
    z: FloatArray
    bound: FloatArray
    """(rows,) the best bound met."""
    x: FloatArray
    """Its point."""

    def take(self, chosen: IntArray | list[int]) -> Relaxed:
        """Some of the rows."""
        return Relaxed(*(of_each[chosen] for of_each in vars(self).values()))


def relax(at: AtDiagonal, w: FloatArray, groups: Groups, steps: int, start: Relaxed | None = None) -> Relaxed:
    """Steps of ADMM for rows w, (rows, n), and the best bound on the way."""
    root = np.sqrt(at.d)
    w = w * root
    b = w @ at.hessian
    c = np.einsum("ij,ij->i", w, b)
    y, u = (w.copy(), np.zeros_like(w)) if start is None else (start.y * root, start.u / root)
    z, best, point = np.zeros_like(w), np.full(len(w), -np.inf), np.zeros_like(w)
    for _ in range(steps):
        x = b + RHO * (y - u)
        lapack.solve(at.factor, x)
        r = RHO * (x - y + u)
        bound = c - np.einsum("ij,ij->i", x, b - r) - largest_sums(r * r, groups)
        better = bound > best
        best = np.where(better, bound, best)
        point[better] = x[better]
        beyond = OVER * x + (1 - OVER) * y
        _proximal(beyond + u, groups, y, z)
        u += beyond - y
    return Relaxed(y / root, u * root, z, best - _rounding(at, w, b, point), point / root)


def _rounding(at: AtDiagonal, w: FloatArray, b: FloatArray, x: FloatArray) -> FloatArray:
    """(rows,) how far float64 may have raised a bound at x, w and x scaled: much where a tiny D lets x go far."""
    both = np.abs(w) + np.abs(x)
    off = len(at.d) * np.finfo(np.float64).eps * (both @ at.size + both)
    residual = np.abs(b - x @ at.hessian + x) + off
    return np.asarray((both * off + 2 * residual * off).sum(axis=1))


@njit(cache=True, nogil=True, error_model="numpy")
def _proximal(a: FloatArray, groups: Groups, y: FloatArray, z: FloatArray) -> None:
    """y = argmin of the penalty + RHO |y - a|^2 for every row, and its z: a RHO z / (1 + RHO z)."""
    for r in range(len(a)):
        for g in range(len(groups.keep)):
            inputs = groups.inputs[groups.start[g] : groups.start[g + 1]]
            filled = fill(np.abs(a[r][inputs]), float(groups.keep[g]), 1.0 / RHO)
            for j in range(len(inputs)):
                i = inputs[j]
                z[r, i] = filled[j]
                y[r, i] = a[r, i] * RHO * filled[j] / (1.0 + RHO * filled[j])
