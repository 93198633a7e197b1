"""What a search in float32 may get wrong, and by how much its threshold is raised so that every cut holds.

The numbers. In steps of its grid a row takes the values 0, 1, ..., top at every position, and its centres are
kept as float32 c = s + offset, with an offset in the middle of [2^(23-k), 2^(24-k)), where the numbers of
float32 are the multiples of u = 2^-k (one *binade*). As long as c stays there,

* s = c - offset and m = s - x (x an integer) are exact;
* c' = down(c + a m) loses at most u, and up(c' - a m) = c, as c' - a m lies in (c - u, c]: moves are undone
  exactly;
* a child's centres differ from those of exact arithmetic by less than u for each decision before, all
  downwards.

It does stay there. With N(y) = sum_i p_i (V^-1 y)_i^2, the error that the plan's numbers give a deviation y = V
delta, centres move by |sum_i a_ij m_i| <= sqrt(v_j sum_i p_i m_i^2), v_j = sum_i a_ij^2 / p_i, and only nodes
with sum_i p_i m_i^2 below the threshold T are entered.

The slack. Let x be a grid point, and rho_j the sum of what has been rounded off centre j (half of the most it
can lose is added at the start, so |rho_j| <= (n - 1 - j) u / 2 + u / 2), with the rounding of the slopes to
float32 times the moves. The decisions of the search are those of exact arithmetic for the target w + rho:

    sum_i p_i m_i^2 = N(w + rho - x),        sqrt(N(w + rho - x)) <= sqrt(N(w - x)) + sqrt(N(rho)).

A node's bound is the same for a target whose undecided positions carry what was rounded off so far; |rho_j| is
no larger there. Sums in float32 of non-negative terms are off by their number of roundings; p and d are rounded
down; and the nearest value of a centre within `delta` of the middle between two may be the farther one, which
raises its squared distance by ((1/2 + delta) / (1/2 - delta))^2 at most. So with r >= sqrt(N(rho)) and 1 + rel
for all of these factors, what is cut at T = (sqrt(t) + r)^2 (1 + rel) has N(w - x) >= t.

A leaf of float32 error c has sqrt(N) <= sqrt(c (1 + rel)) + r, so a threshold below which nothing better is cut
is (sqrt(c) + 2 r)^2 (1 + rel)^2.

N differs from the error of the stored H by the float64 slack that every enumeration states (`Restated.slack`),
which is taken off the result.

Here everything is rounded outwards: sums of at most 2^12 roundings of non-negative numbers, times 1 + 2^-40.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

from ..carried import ABOVE, radii
from .numbers import Numbers

UNIT = 2.0**-24
"""Relative rounding of float32."""

COARSEST, FINEST = 13, 18
"""k: centres within 2^(22-k) of the middle of the grid."""

LOOSE = 1.25
"""A row whose threshold rounding raises by more than this factor is left to float64."""

SMALLEST, LARGEST = 2.0**-60, 2.0**60
"""Thresholds for which no product of the search leaves the normal numbers in a way that counts."""


@dataclass(frozen=True, eq=False)
class Precision:
    """The rounding of rows with one plan, in numbers of one binade."""

    numbers: Numbers
    k: int

    @property
    def offset(self) -> float:
        """What a centre of 0 is kept as; a whole number."""
        return offset(self.k, self.numbers.top)

    def radius(self, threshold: float) -> float:
        """r >= sqrt(N(rho)) where no move costs more than LOOSE times the threshold, see `carried.radii`."""
        return float(self.radii(np.array([threshold]))[0])

    def radii(self, thresholds: FloatArray) -> FloatArray:
        """`radius` of many."""
        plan = self.numbers
        a = rounded_off(plan.n, self.k)
        b = plan.slope_error.T @ np.sqrt(LOOSE * ABOVE / plan.pivot_down) * ABOVE
        return radii(plan.hessian, plan.eigenvalue, plan.residual, a, b, thresholds)

    @property
    def relative(self) -> float:
        """rel: sums, and values that are not the nearest."""
        plan = self.numbers
        delta = (2 * self.offset + plan.top + 40) * UNIT
        sums = 1 + 1.01 * (plan.n + 60) * UNIT
        return (sums * ((0.5 + delta) / (0.5 - delta)) ** 2 - 1) * ABOVE + 2.0**-50

    @property
    def grow(self) -> float:
        """(1 + rel)^2 and the rounding of a leaf's threshold on the device, 2^-19 where it takes 2^-21."""
        return float(np.nextafter(np.float32((1 + self.relative) ** 2 * (1 + 2.0**-19)), np.float32(np.inf)))

    def threshold(self, below: float) -> tuple[float, float] | None:
        """T for t = `below`, and 2 r, both as float32 numbers rounded up; None where rounding is too large."""
        raised, doubled, fits = self.thresholds(np.array([below]))
        return (float(raised[0]), float(doubled[0])) if fits[0] else None

    def thresholds(self, below: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """The same of many, and which of them have room for their rounding."""
        radius = self.radii(below)
        raised = (np.sqrt(below) + radius) ** 2 * (1 + self.relative) * (1 + 2.0**-22)
        fits = (below > SMALLEST) & (raised * (1 + 2.0**-10) <= np.minimum(LOOSE * below, LARGEST))
        return _up(raised), _up(2 * radius), fits


def offset(k: int, top: float) -> float:
    """The middle of the binade is the middle of the grid."""
    return 1.5 * 2.0 ** (23 - k) - top // 2


def rounded_off(n: int, k: int) -> FloatArray:
    """(n,) most that rounding moves each centre by, less than a unit for each decision before, from the middle."""
    return ((n - 1 - np.arange(n)) / 2 + 0.501) * 2.0**-k


def binade(numbers: Numbers, weight: FloatArray, threshold: float) -> int | None:
    """The finest k whose binade holds every centre of a row below a threshold; None where none does.

    weight : (n,) centres of the undecided row.
    """
    k = int(binades(numbers, weight[None], np.array([threshold]))[0])
    return k if k >= COARSEST else None


def binades(numbers: Numbers, weights: FloatArray, thresholds: FloatArray) -> IntArray:
    """(rows,) `binade` of many rows with one plan; below COARSEST where none does."""
    moved = np.sqrt(LOOSE * np.outer(thresholds, numbers.spread)) * ABOVE
    far = np.abs(weights - numbers.top // 2) + moved
    found = np.full(len(weights), COARSEST - 1)
    for k in range(COARSEST, FINEST + 1):
        holds = np.max(far + 2 * rounded_off(numbers.n, k), axis=1) * ABOVE < 2.0 ** (22 - k) - 0.01
        found[holds] = k
    return found


def start_centres(centres: FloatArray, k: int, top: float) -> FloatArray:
    """(..., m) centres of undecided positions, on the binade's grid, with half of what they can lose put on."""
    m, unit = centres.shape[-1], 2.0**-k
    raised = centres + (m - 1 - np.arange(m)) * (unit / 2)
    return (np.rint(raised / unit) * unit + offset(k, top)).astype(np.float32)


def _up(values: FloatArray) -> FloatArray:
    """float32 numbers that are not smaller, as float64."""
    near = values.astype(np.float32)
    up = np.where(near >= values, near, np.nextafter(near, np.float32(np.inf)))
    return np.asarray(up, np.float64)
