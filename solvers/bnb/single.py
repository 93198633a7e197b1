"""A row for the search of even steps in float32, and how far its threshold is raised so that every cut holds.

A vector holds twice as many float32 numbers: centres, slopes and diagonals are in it. Deviations, what is decided
and the threshold stay float64.

The search decides x_i at m_i = s_i - x_i, exactly, where s are the centres as they are stored. A centre s_j is
rounded where the subtree's root states it and at each decision; |s_j| < 2^e_j, so that the sum loses 2^(e_j - 25)
at most each time. A slope is rounded once, a deviation where it is multiplied, and so may be their product. With
rho_j the sum of what was rounded at centre j,

    sum_i p_i m_i^2 = N(w + rho - x),        sqrt(N(w + rho - x)) <= sqrt(N(w - x)) + sqrt(N(rho)),

N(y) = sum_i p_i (V^-1 y)_i^2 the error that the plan's numbers give a deviation y = V delta. A node's bound is the
same for a target whose undecided positions carry what was rounded off so far, which is no more. Only nodes with
sum_i p_i m_i^2 < LOOSE t are entered, t the threshold, so by Cauchy and Schwarz

    |rho_j| <= (n - j) 2^(e_j - 25) + sqrt(LOOSE t sum_i eps_ij^2 / p_i),
    |s_j| <= |w_j| + sqrt(LOOSE t sum_i a_ij^2 / p_i) and a thousandth more,

eps_ij the rounding of slope a_ij with twice 2^-24 of it for deviation and product. Distances to the nearest value
are rounded once, their squares and products once, and each lane of a sum once a vector and in the sums of lanes:
terms that are not negative, so that a sum exceeds the exact one by 1 + rel at most. What is cut at

    T = (sqrt(t) + r)^2 (1 + rel),        r >= sqrt(N(rho)), see `carried.radii`,

has N(w - x) >= t. The error of a leaf is added up again in float64, as the search in float64 has it. N differs
from the error of the stored H by what `Restated.slack` says, which is taken off every result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pvq.bounds.gram import FloatArray

from .carried import ABOVE, down, largest, radii, residual_norm
from .restated import Restated
from .vectors import aligned, padded

UNIT = 2.0**-24
"""Relative rounding of float32."""

LOOSE = 1.01
"""A threshold that rounding raises by more than this factor is left to float64: nodes grow like its 20th power and
take two thirds of the time."""

SMALLEST, LARGEST, FARTHEST = 2.0**-60, 2.0**60, 2.0**20
"""Scaled thresholds and centres for which no product leaves the normal numbers in a way that counts."""


@dataclass(frozen=True, eq=False)
class Single:
    """The numbers of a row in float32, with errors times `scale`, and those that bound what that costs."""

    row: Restated
    scale: float
    """A power of two."""
    pivot: FloatArray
    """(n,) scaled."""
    slope: NDArray[np.float32]
    """(n, width) as in `Restated.factors`."""
    diagonal: NDArray[np.float32]
    """(n + 1, width) scaled, rounded down."""
    spread: FloatArray
    """(n,) sum_i a_ij^2 / p_i of the float32 slopes; times a threshold, the square of what a centre may move."""
    lost: FloatArray
    """(n,) sqrt(sum_i eps_ij^2 / p_i)."""
    hessian: FloatArray
    """(n, n) H in steps."""
    eigenvalue: float
    """lambda of `carried.radii`."""
    residual: float
    """q of `carried.radii`."""

    @property
    def relative(self) -> float:
        """1 + rel: four roundings of a square, one a vector in each lane, four of the lanes' sum, and more."""
        return (1 + 1.01 * (self.slope.shape[1] // 16 + 12) * UNIT) * ABOVE

    def radius(self, threshold: float) -> float | None:
        """r at a threshold and all below it; None where float32 does not do."""
        if not SMALLEST < self.scale * threshold < LARGEST:
            return None
        n, moved = len(self.pivot), math.sqrt(LOOSE * threshold) * ABOVE
        far = (np.abs(self.row.weight) + moved * np.sqrt(self.spread)) * 1.001
        if not (far < FARTHEST).all():
            return None
        powers = np.frexp(far)[1]  # far <= 2^powers
        a, b = (n - np.arange(n)) * np.ldexp(1.0, powers - 25), math.sqrt(LOOSE) * self.lost * ABOVE
        found = radii(self.hessian, self.eigenvalue, self.residual, a, b, np.array([threshold]))
        r = float(found[0])
        return r if self.raised(threshold, r) * ABOVE <= LOOSE * threshold else None

    def raised(self, threshold: float, radius: float) -> float:
        """T, without the scale."""
        return float((math.sqrt(threshold) + radius) ** 2 * self.relative)


def single_of(row: Restated) -> Single | None:
    """A row in float32; None where its numbers do not do."""
    pivot, slope, diagonal = row.factors
    plan, n = row.plan, len(row.weight)
    if row.top <= 0 or not plan.accurate:
        return None
    scale = math.ldexp(1.0, -math.frexp(float(pivot.max()))[1])
    lower, width = np.tril(slope[:, :n], -1), padded(n, np.float32)
    short, below = aligned(n, width, real=np.float32), aligned(n + 1, width, real=np.float32)
    with np.errstate(over="ignore"):
        short[:, :n] = lower
    if not (np.isfinite(short).all() and np.isfinite(scale)):
        return None
    below[:, :n] = down(np.tril(diagonal[:, :n], -1) * scale)
    stored = np.abs(short[:, :n].astype(np.float64))
    lost = np.abs(stored - np.abs(lower)) + 2 * UNIT * stored
    spread, squares = ((part**2 / pivot[:, None]).sum(axis=0) * (1 + 1e-9) for part in (stored, lost))
    gram = row.problem.gram
    eigenvalue = gram.memo(largest, lambda: largest(gram.matrix))
    hessian, residual = plan.hessian * np.outer(row.step, row.step), residual_norm(plan.residual, plan.pivot)
    if not (np.isfinite(spread).all() and np.isfinite(squares).all() and math.isfinite(eigenvalue)):
        return None
    return Single(row, scale, pivot * scale, short, below, spread, np.sqrt(squares), hessian, eigenvalue, residual)
