"""Some rows instead of all: which, and what they say of the sum over all. Sampled, never proven.

Cochran, Sampling Techniques, 3rd edition, chapter 6. Of N rows n are drawn without replacement. Of every row x is
known (the error of a quick method), of the drawn ones y as well (an end of the interval, the error of a method).
With sums over the drawn rows, and X that of x over all rows, the sum of y over all rows is estimated by

    Y_R = X sum y / sum x        (6.1)

and the variance of Y_R by the jackknife (6.17), (1 - n/N) (n - 1)/n sum_i (Y_i - mean Y_i)^2, where Y_i is Y_R
without the i-th drawn row. For n = N it is 0 and Y_R the sum. Limits are Y_R -+ t s with n - 1 degrees of freedom:
approximate, and too narrow where few rows hold much of the sum and none of them is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from .errors import ProblemError
from .gram import FloatArray

CONFIDENCE = 0.95


def draw(rows: range, count: int, seed: int, sha256: str) -> tuple[int, ...]:
    """So many of the rows at random, in order; all of them where there are no more.

    Parameters
    ----------
    sha256 : of the layer, so that layers of one size have draws of their own.

    Raises
    ------
    ProblemError
        Less than one row.
    """
    if count < 1:
        raise ProblemError(f"`sample_rows` must be at least 1, not {count}")
    if count >= len(rows):
        return tuple(rows)
    generator = np.random.default_rng([abs(seed), int(sha256[:16], 16)])
    return tuple(rows[int(i)] for i in np.sort(generator.choice(len(rows), count, replace=False)))


@dataclass(frozen=True)
class Estimate:
    """What drawn rows say of a number that all rows have; None is what they do not say."""

    value: float | None
    error: float | None = None
    """Its estimated standard error."""
    low: float | None = None
    high: float | None = None
    """Limits of the confidence interval."""

    def as_json(self) -> dict[str, float | None]:
        """For documents."""
        return {"estimate": self.value, "standard_error": self.error, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class Statistic:
    """A function of the drawn rows, and of them without each in turn."""

    value: float
    without: FloatArray
    """(n,), NaN where the others say nothing."""
    of: int
    """N."""

    def times(self, whole: float) -> Statistic:
        """The statistic times a number that is known."""
        return Statistic(self.value * whole, self.without * whole, self.of)

    def over(self, other: Statistic) -> Statistic:
        """The ratio to another one of the same rows."""
        with np.errstate(all="ignore"):
            return Statistic(float(np.divide(self.value, other.value)), self.without / other.without, self.of)

    def in_db(self) -> Statistic:
        """10 log10 of a ratio of errors, which is nearer to normal."""
        with np.errstate(all="ignore"):
            return Statistic(float(10 * np.log10(self.value)), 10 * np.log10(self.without), self.of)

    def estimate(self, least: float = -np.inf, confidence: float = CONFIDENCE) -> Estimate:
        """With limits of confidence; a single row gives none.

        Parameters
        ----------
        least : what the number is at least, from the drawn rows themselves.
        """
        n = len(self.without)
        if not np.isfinite(self.value):
            return Estimate(None)
        if n < 2 or not np.isfinite(self.without).all():
            return Estimate(self.value)
        spread = float(((self.without - self.without.mean()) ** 2).sum())
        error = float(np.sqrt((1 - n / self.of) * (n - 1) / n * spread))
        half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
        return Estimate(self.value, error, max(least, self.value - half), max(least, self.value + half))


def ratio(y: FloatArray, x: FloatArray, of: int) -> Statistic:
    """sum y / sum x over n drawn rows of so many, which estimates the same over all; both (n,) and at least 0."""
    others = np.count_nonzero(x) - (x != 0)  # the sum without a row would hide in rounding that there are none
    with np.errstate(all="ignore"):
        without = np.where(others > 0, (y.sum() - y) / (x.sum() - x), np.nan)
        return Statistic(float(np.divide(y.sum(), x.sum())), without, of)
