"""The test of the model: rounding in sequence leaves exactly uniform remainders if the weights are random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..gram import BoolArray, FloatArray, IntArray
from .relax import factor

LARGEST_Z, LARGEST_HARMONIC, LEAST_KS = 4.0, 3.7, 1e-4
BLOCK = 64


@dataclass(frozen=True)
class Sums:
    """What the test needs of some rows; sums of independent rows add up."""

    excess: float
    """Sum of d_i (y_i^2 - 1/12)."""
    variance: float
    """Sum of d_i^2 / 180."""
    remainders: FloatArray
    """y_i of the random inputs, in [-1/2, 1/2]."""


@dataclass(frozen=True)
class BabaiTest:
    """z: (sum d y^2 - sum d / 12) / sd; harmonic: sqrt(N) |mean exp(2 pi i y)|; ks: p of uniformity."""

    z: float
    harmonic: float
    ks: float

    @property
    def refuses(self) -> bool:
        """False alarms: 6e-5 (|z| > 4), exp(-3.7^2) = 1e-6, 1e-4; 1.7e-4 together."""
        return abs(self.z) > LARGEST_Z or self.harmonic > LARGEST_HARMONIC or self.ks < LEAST_KS


def remainders(weight: FloatArray, lower: FloatArray, order: IntArray) -> FloatArray:
    """(rows, n) y of rows in units of the scale, decided in `order` on the unbounded grid (Babai 1986).

    With L L' = H in reversed order of decision, input i rounds c_i = w_i + sum of L_ji u_j / L_ii over inputs j
    decided before; y_i = c_i - round(c_i) and u_i = w_i - x_i = y_i - (c_i - w_i): e = sum of L_ii^2 y_i^2.

    If w_i mod 1 is uniform and independent of the other weights, so is c_i mod 1 given those decided before,
    whatever H is: the y_i are exactly independent and uniform. Work goes in blocks, so that most of it is matrix
    products.
    """
    n = weight.shape[1]
    w = weight[:, order[::-1]]
    y, u = np.zeros_like(w), np.zeros_like(w)
    ratio = lower / lower.diagonal()
    for stop in range(n, 0, -BLOCK):
        start = max(0, stop - BLOCK)
        before = u[:, stop:] @ ratio[stop:, start:stop]
        for i in range(stop - 1, start - 1, -1):
            moved = before[:, i - start] + u[:, i + 1 : stop] @ ratio[i + 1 : stop, i]
            centre = w[:, i] + moved
            y[:, i] = centre - np.round(centre)
            u[:, i] = y[:, i] - moved
    result = np.empty_like(y)
    result[:, order[::-1]] = y
    return result


def sums(weight: FloatArray, random: BoolArray, matrix: FloatArray, order: IntArray) -> Sums:
    """Of rows (rows, n) that share H; `random` (rows, n) are the inputs in I: only these are counted.

    Known inputs stay in the recursion and out of every sum.
    """
    lower = factor(matrix, order)
    pivots = np.empty(len(order))
    pivots[order[::-1]] = lower.diagonal() ** 2
    y = remainders(weight, lower, order)
    d = np.broadcast_to(pivots, y.shape)[random]
    y = y[random]
    return Sums(float((d * (y * y - 1 / 12)).sum()), float((d * d).sum() / 180), y)


def babai_test(parts: list[Sums]) -> BabaiTest:
    """The test of all rows together."""
    y = np.concatenate([part.remainders for part in parts])
    deviation = math.sqrt(sum(part.variance for part in parts))
    z = sum(part.excess for part in parts) / deviation if deviation > 0 else 0.0
    harmonic = math.sqrt(len(y)) * abs(complex(np.exp(2j * np.pi * y).mean())) if len(y) else 0.0
    ks = float(stats.kstest(y + 0.5, "uniform").pvalue) if len(y) else 1.0
    return BabaiTest(z, harmonic, ks)
