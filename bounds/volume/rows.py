"""Levels of all rows that share one H, and the choice of (lambda, c)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..gram import BoolArray, FloatArray, IntArray
from .coverage import Covered
from .density import log_factor
from .row import Spectrum, Tilt, row_log_z

DAMPING = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8)
STRETCH = (0.8, 1.0, 1.25)
SHARES = (0.3, 0.4, 0.5, 0.6, 0.75, 0.9)  # fitted scale over min-max: guesses that use no fitted scale
SAMPLE = 6
AIM = 1e-3  # odds that the choice of lambda aims at; any choice is valid
CORRECTED = 256  # inputs up to which the factor f is worth its time where lambda differs from row to row


@dataclass(frozen=True, eq=False)
class RowLevels:
    """P(opt_r <= t) <= exp(lam_r (t - t1_r))."""

    t1: FloatArray
    """(rows,) in units of the error."""
    lam: FloatArray
    """(rows,) per unit of the error."""
    plain: FloatArray
    """(rows,) t1 before log N is paid."""


@dataclass(frozen=True, eq=False)
class Choice:
    """(lambda, c) of rows that share H, and what their levels are computed with."""

    lam: float
    c: float
    share: float
    """Of the min-max scale, by which lambda is in units where each row's scale was searched."""
    tried: int
    """Choices that were compared."""
    spectrum: Spectrum
    factors: _Factors

    def scaled(self, covered: Covered, rows: IntArray) -> FloatArray:
        """(rows,) lambda in units of each row's scale."""
        if not covered.per_row:
            return np.full(len(rows), self.lam)
        ratio = covered.unit[rows] / (self.share * covered.nominal[rows])
        return np.asarray(self.lam * ratio**2)


def choose(
    covered: Covered, rows: IntArray, matrix: FloatArray, keep: IntArray, rms: FloatArray, total: int
) -> Choice:
    """(lambda, c) for rows that share H (inputs `keep`).

    (lambda, c) may be any function of H, the scales and the known weights: they are chosen by the rows' own levels
    on a sample of rows. Where each row's scale was searched (mse and gram per channel), lambda_r may depend on the
    binding weights only, lambda_r = lambda / (share x min-max scale)^2, and what was compared is counted in
    `tried`.
    """
    spectrum = Spectrum.of(matrix)
    factors = _Factors(covered, rms)
    # a row's part of what the layer pays: a quantile of a sum of exponentials
    cost = float(stats.gamma.isf(AIM, total)) / total
    middle = rows[np.argsort(rms[rows])[len(rows) // 2]]
    # where the scale is the row's own, what is compared must not depend on it: a factor of the codebook alone
    if covered.per_row:
        log_a = _codebook_factor(len(covered.book))
    else:
        log_a = factors.of(middle, ~covered.known[middle, keep], keep)
    pairs = _candidates(spectrum, log_a, cost)
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int))]
    shares = SHARES if covered.per_row else (1.0,)
    tried = len(pairs) * len(shares)
    best, choice = -math.inf, Choice(*pairs[0], 1.0, tried, spectrum, factors)
    for pair in pairs:
        for share in shares:
            other = Choice(*pair, share, tried, spectrum, factors)
            t1, lam = _levels(covered, sample, keep, other)
            value = float((t1 - (cost + (covered.log_candidates if covered.per_row else 0.0)) / lam).mean())
            if value > best:
                best, choice = value, other
    return choice


def row_levels(covered: Covered, rows: IntArray, keep: IntArray, choice: Choice) -> RowLevels:
    """Levels of rows that share H (inputs `keep`)."""
    t1, lam = _levels(covered, rows, keep, choice)
    return RowLevels(t1 - covered.log_candidates / lam if covered.per_row else t1, lam, t1)


def _levels(covered: Covered, rows: IntArray, keep: IntArray, choice: Choice) -> tuple[FloatArray, FloatArray]:
    spectrum, c = choice.spectrum, choice.c
    t1, rates = np.empty(len(rows)), np.empty(len(rows))
    corrections: dict[tuple[float, int], float] = {}
    at_c, lams = DAMPING.index(c), choice.scaled(covered, rows)
    tilt = Tilt(spectrum, choice.lam, c)
    counts = covered.known[np.ix_(rows, keep)].sum(axis=1)
    inverse = None
    if (
        not covered.per_row
        and float((counts.astype(float) ** 2).sum()) > len(keep) ** 2
        and tilt.diagonal.min() > 0
    ):
        inverse = (spectrum.vectors / tilt.diagonal) @ spectrum.vectors.T
    for k, r in enumerate(rows):
        scaled = float(lams[k])
        if covered.per_row:
            tilt = Tilt(spectrum, scaled, c)
        known = np.flatnonzero(covered.known[r, keep])
        m = len(keep) - len(known)
        correction = 0.0
        if not covered.per_row or len(keep) <= CORRECTED:
            fewer = m if len(keep) <= CORRECTED else m - m % 16  # fewer factors: f is larger, still valid
            if (scaled, fewer) not in corrections:
                corrections[scaled, fewer] = tilt.log_correction(fewer)
            correction = corrections[scaled, fewer]
        log_a = m * float(choice.factors.of(r, ~covered.known[r, keep], keep)[at_c])
        weight = covered.weight[r, keep]
        levels = covered.levels(r)[covered.group[keep[known]]]
        log_z = row_log_z(tilt, known, log_a, weight, levels, correction, inverse)
        t1[k] = -log_z / scaled * covered.unit[r] ** 2
        rates[k] = scaled / covered.unit[r] ** 2
    return t1, rates


def _candidates(spectrum: Spectrum, log_a: FloatArray, cost: float) -> list[tuple[float, float]]:
    """Choices of (lambda, c) that are best where no weight is known and f is left out."""
    h, n = spectrum.values, len(spectrum.values)
    mean = max(float(h.mean()), 1e-300)
    grid = np.geomspace(0.3, 3e3, 80) * 6 / mean
    found = []
    for c, a in zip(DAMPING, log_a, strict=True):
        if c == 0 and not h[0] > 0:
            continue
        log_z = np.array([n * a + n / 2 * math.log(math.pi) - 0.5 * np.log(x * h + c).sum() for x in grid])
        level = (-log_z - cost) / grid
        at = int(np.argmax(level))
        found.append((float(level[at]), float(grid[at]), c))
    found.sort(reverse=True)
    return [(lam * stretch, c) for _, lam, c in found[:4] for stretch in STRETCH]


def _codebook_factor(count: int) -> FloatArray:
    """log A of `count` even levels about 0, for a sigma of a quarter of their span: no weight is in it."""
    centred = np.arange(count, dtype=np.float64) - (count - 1) / 2
    span = count / 2
    return log_factor(centred, -span, span, span / 2, np.array(DAMPING))


class _Factors:
    """log A of rows, computed once for groups alike: sigma is rounded to 2 %, far less than the family spans."""

    def __init__(self, covered: Covered, rms: FloatArray):
        self._covered, self._rms = covered, rms
        self._known: dict[tuple[float, ...], FloatArray] = {}

    def of(self, r: int, random: BoolArray, keep: IntArray) -> FloatArray:
        """(len(DAMPING),) mean of log A(c) over the inputs in I of row r, which `random` (len(keep),) marks."""
        covered = self._covered
        count = np.bincount(covered.group[keep[random]], minlength=covered.ratio.shape[1])
        if not count.any():
            return np.zeros(len(DAMPING))
        levels = covered.levels(r)
        parts = [self._group(r, int(g), levels[g]) for g in np.flatnonzero(count)]
        return np.asarray(count[count > 0] @ np.array(parts) / count.sum())

    def _group(self, r: int, g: int, levels: FloatArray) -> FloatArray:
        covered = self._covered
        step = round(math.log(self._rms[r]) / 0.02)
        low, high = float(covered.low[r, g]), float(covered.high[r, g])
        key = (step, low, high, float(levels[0]), float(levels[-1]))
        if key not in self._known:
            sigma = math.exp(0.02 * step)
            self._known[key] = log_factor(levels, low, high, sigma, np.array(DAMPING))
        return self._known[key]
