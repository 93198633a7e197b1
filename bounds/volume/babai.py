"""The test of the model: rounding in sequence leaves exactly uniform remainders if the weights are random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from ..gram import BoolArray, FloatArray, IntArray
from .relax import factor

LARGEST_Z, LARGEST_HARMONIC, LEAST_KS = 4.0, 3.7, 1e-4
BLOCK = 64
EXACT = 10_000  # numbers up to which the exact Kolmogorov-Smirnov distribution is used


@dataclass(frozen=True)
class Sums:
    """What the test needs of some rows; sums of independent rows add up."""

    excess: float
    """Sum of d_i (y_i^2 - 1/12)."""
    variance: float
    """Sum of d_i^2 / 180."""
    remainders: FloatArray
    """y_i of the inputs that are counted, in [-1/2, 1/2]."""
    slack: float
    """Sum of d_i a_i / pi^2, `wave` a_i: what the excess may be on average under the densities of the model."""
    waves: float
    """Sum of a_i."""


@dataclass(frozen=True)
class BabaiTest:
    """z: (sum d y^2 - sum d / 12) / sd; harmonic: sqrt(N) |mean exp(2 pi i y)|; ks: p of uniformity.

    Each beyond what the densities of the model explain: modulo the step they are uniform up to a wave of amplitude
    a = max |E exp(2 pi i w / s)|, which millions of weights would show though the theorem has it in K(u).
    """

    z: float
    harmonic: float
    ks: float

    @property
    def refuses(self) -> bool:
        """False alarms: 6e-5 (|z| > 4), exp(-3.7^2) = 1e-6, 1e-4; 1.7e-4 together."""
        return abs(self.z) > LARGEST_Z or self.harmonic > LARGEST_HARMONIC or self.ks < LEAST_KS


def remainders(
    weight: FloatArray, lower: FloatArray, order: IntArray, spacing: FloatArray | None = None
) -> FloatArray:
    """(rows, n) y of rows in units of the scale, decided in `order` on the unbounded grid (Babai 1986).

    With L L' = H in reversed order of decision, input i rounds c_i = w_i + sum of L_ji u_j / L_ii over inputs j
    decided before to multiples of s_i, its `spacing` (rows, n) where that is not 1; y_i = c_i / s_i -
    round(c_i / s_i) and u_i = w_i - x_i = s_i y_i - (c_i - w_i): e = sum of L_ii^2 s_i^2 y_i^2.

    If w_i mod s_i is uniform and independent of the other weights, so is c_i mod s_i given those decided before,
    whatever H is: the y_i are exactly independent and uniform. Work goes in blocks, so that most of it is matrix
    products.
    """
    n = weight.shape[1]
    w = weight[:, order[::-1]]
    step = np.ones((1, n)) if spacing is None else spacing[:, order[::-1]]
    y, u = np.zeros_like(w), np.zeros_like(w)
    ratio = lower / lower.diagonal()
    for stop in range(n, 0, -BLOCK):
        start = max(0, stop - BLOCK)
        before = u[:, stop:] @ ratio[stop:, start:stop]
        for i in range(stop - 1, start - 1, -1):
            moved = before[:, i - start] + u[:, i + 1 : stop] @ ratio[i + 1 : stop, i]
            centre = (w[:, i] + moved) / step[:, i]
            y[:, i] = centre - np.round(centre)
            u[:, i] = y[:, i] * step[:, i] - moved
    result = np.empty_like(y)
    result[:, order[::-1]] = y
    return result


def wave(sigma: FloatArray) -> FloatArray:
    """Largest |E exp(2 pi i w)| over the family of densities, for weights of deviation sigma in units of the step.

    Normal at 0.9 sigma, exp(-2 (0.9 pi sigma)^2), and Student with 4 degrees, x^2 K_2(x) / 2, x = 2 sqrt(2) pi
    sigma.
    """
    x = np.maximum(2 * math.sqrt(2) * math.pi * sigma, 1e-6)
    return np.asarray(np.maximum(np.exp(-2 * (0.9 * math.pi * sigma) ** 2), x * x * special.kv(2, x) / 2))


def sums(
    weight: FloatArray,
    random: BoolArray,
    matrix: FloatArray,
    order: IntArray,
    spacing: FloatArray | None = None,
    waves: FloatArray | None = None,
) -> Sums:
    """Of rows (rows, n) that share H; `random` (rows, n) are the inputs that are counted.

    The others stay in the recursion and out of every sum. `waves` (rows, n) are amplitudes a_i, 0 without: given
    those decided before, E y_i^2 is off 1/12 by a_i / pi^2 at most (later harmonics are smaller by orders).
    """
    lower = factor(matrix, order)
    pivots = np.empty(len(order))
    pivots[order[::-1]] = lower.diagonal() ** 2
    y = remainders(weight, lower, order, spacing)
    d = np.broadcast_to(pivots if spacing is None else pivots * spacing**2, y.shape)[random]
    y = y[random]
    a = np.zeros(len(y)) if waves is None else waves[random]
    excess, variance = float((d * (y * y - 1 / 12)).sum()), float((d * d).sum() / 180)
    return Sums(excess, variance, y, float((d * a).sum()) / math.pi**2, float(a.sum()))


def babai_test(parts: list[Sums]) -> BabaiTest:
    """The test of all rows together."""
    y = np.concatenate([part.remainders for part in parts])
    deviation = math.sqrt(sum(part.variance for part in parts))
    if not (len(y) and deviation > 0):
        return BabaiTest(0.0, 0.0, 1.0)
    a = sum(part.waves for part in parts) / len(y)
    excess = sum(part.excess for part in parts)
    z = math.copysign(max(0.0, abs(excess) - sum(part.slack for part in parts)), excess) / deviation
    harmonic = math.sqrt(len(y)) * max(0.0, abs(complex(np.exp(2j * np.pi * y).mean())) - a)
    y.sort()
    rank = np.arange(len(y) + 1) / len(y)
    distance = max(float((rank[1:] - y).max()) - 0.5, float((y - rank[:-1]).max()) + 0.5)
    distance = max(0.0, distance - 2 * a / math.pi)
    exact = len(y) < EXACT
    ks = stats.kstwo.sf(distance, len(y)) if exact else special.kolmogorov(math.sqrt(len(y)) * distance)
    return BabaiTest(z, harmonic, float(ks))
