"""Distributions of weights, by their partial moments: what rounding and pruning errors are integrated from."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pvq.layers.reading import read_text
from scipy import special, stats

from ..errors import ProblemError
from ..gram import FloatArray
from .student import student_partial

NAMES = "normal, laplace, uniform, student-t:DF, truncated-student-t:DF,RANGE or a file of samples"


class Distribution(ABC):
    """A distribution of weights x.

    Errors are taken against the mean square E[x^2], as everywhere in this program, also where the mean is not 0.
    """

    name: str
    kurtosis: float
    """E[(x - mean)^4] / E[(x - mean)^2]^2 (Pearson's: 3 for the normal), infinite where E[x^4] is."""
    mean_square: float
    """E[x^2]."""
    largest: float
    """Supremum of |x|."""

    @abstractmethod
    def below(self, x: FloatArray) -> FloatArray:
        """(3, len(x)) partial moments of order 0, 1, 2: E[t^p; t <= x]; x may be infinite."""

    @abstractmethod
    def prune(self, share: float) -> tuple[float, float]:
        """Threshold t with P(|x| <= t) = share, and the error E[x^2; |x| <= t] of pruning that share."""

    @abstractmethod
    def sample(self, count: int, generator: np.random.Generator) -> FloatArray:
        """(count,) independent draws."""

    @abstractmethod
    def density(self, x: FloatArray) -> FloatArray:
        """Probability density at x, for figures."""


class Symmetric(Distribution):
    """A density that is symmetric about 0, from its partial moments on one side."""

    def __init__(self, name: str, frozen: Any, mean_square: float, kurtosis: float, largest: float = math.inf):
        self.name = name
        self.frozen = frozen
        """The same distribution in scipy.stats: for quantiles and densities."""
        self.mean_square = mean_square
        self.kurtosis = kurtosis
        self.largest = largest

    @abstractmethod
    def partial(self, x: FloatArray) -> FloatArray:
        """(3, len(x)) integrals of t^p f(t) over 0 <= t <= x for p = 0, 1, 2 and finite 0 <= x <= largest."""

    @property
    @abstractmethod
    def half_mean_magnitude(self) -> float:
        """E[|x|] / 2, the integral of t f(t) over t >= 0."""

    def below(self, x: FloatArray) -> FloatArray:
        """From one side: even orders are odd functions of x plus half of the whole, order 1 is even in x."""
        magnitude = np.minimum(np.abs(x), self.largest)
        finite = np.isfinite(magnitude)
        whole = np.array([0.5, self.half_mean_magnitude, self.mean_square / 2])
        part = np.repeat(whole[:, None], len(x), axis=1)
        part[:, finite] = self.partial(magnitude[finite])
        sign = np.sign(x)
        return np.stack([0.5 + sign * part[0], part[1] - whole[1], whole[2] + sign * part[2]])

    def prune(self, share: float) -> tuple[float, float]:
        """t = F^-1(1/2 + share/2); the error is twice the integral of x^2 f(x) over 0 <= x <= t."""
        threshold = float(self.quantile(0.5 + share / 2))
        if math.isinf(threshold):
            return threshold, self.mean_square
        return threshold, 2 * float(self.partial(np.array([threshold]))[2, 0])

    def quantile(self, probability: Any) -> Any:
        """F^-1."""
        return self.frozen.ppf(probability)

    def density(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.frozen.pdf(x))

    def sample(self, count: int, generator: np.random.Generator) -> FloatArray:
        return np.asarray(self.frozen.rvs(size=count, random_state=generator))


class Normal(Symmetric):
    """The standard normal."""

    half_mean_magnitude = 1 / math.sqrt(2 * math.pi)

    def __init__(self) -> None:
        super().__init__("normal", stats.norm(), mean_square=1.0, kurtosis=3.0)

    def partial(self, x: FloatArray) -> FloatArray:
        """Phi(x) - 1/2, phi(0) - phi(x), Phi(x) - 1/2 - x phi(x)."""
        mass = special.erf(x / math.sqrt(2)) / 2
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return np.stack([mass, self.half_mean_magnitude - density, mass - x * density])


class Laplace(Symmetric):
    """f(x) = exp(-|x|) / 2, variance 2."""

    half_mean_magnitude = 0.5

    def __init__(self) -> None:
        super().__init__("laplace", stats.laplace(), mean_square=2.0, kurtosis=6.0)

    def partial(self, x: FloatArray) -> FloatArray:
        """Repeated integration by parts of t^p exp(-t) / 2."""
        tail = np.exp(-x)
        return np.stack([-np.expm1(-x), 1 - (1 + x) * tail, 2 - (x * x + 2 * x + 2) * tail]) / 2


class Uniform(Symmetric):
    """Uniform on [-1, 1]."""

    half_mean_magnitude = 0.25

    def __init__(self) -> None:
        super().__init__("uniform", stats.uniform(-1, 2), mean_square=1 / 3, kurtosis=9 / 5, largest=1.0)

    def partial(self, x: FloatArray) -> FloatArray:
        """x/2, x^2/4, x^3/6."""
        return np.stack([x / 2, x * x / 4, x**3 / 6])


class StudentT(Symmetric):
    """Student's t with df degrees of freedom, in its standard form (variance df / (df - 2))."""

    def __init__(self, df: float) -> None:
        if not (df > 2 and math.isfinite(df)):
            raise ProblemError(
                f"student-t:{df:g} has infinite variance, so every error is infinite: DF must be finite and above "
                f"2; use truncated-student-t:{df:g},RANGE"
                if 0 < df <= 2
                else f"student-t needs finite degrees of freedom above 2, not {df:g}"
            )
        kurtosis = 3 + 6 / (df - 4) if df > 4 else math.inf
        super().__init__(f"student-t:{df:g}", stats.t(df), df / (df - 2), kurtosis)
        self.df = df

    @property
    def half_mean_magnitude(self) -> float:
        return float(self.df * self.frozen.pdf(0.0) / (self.df - 1))

    def partial(self, x: FloatArray) -> FloatArray:
        return np.stack([student_partial(self.df, p, x) for p in range(3)])


class TruncatedStudentT(Symmetric):
    """Student's t conditioned on |x| <= range, any df > 0; a growing range means growing outliers."""

    def __init__(self, df: float, range_: float) -> None:
        if not (df > 0 and math.isfinite(df)):
            raise ProblemError(f"truncated-student-t needs finite degrees of freedom above 0, not {df:g}")
        if not (range_ > 0 and math.isfinite(range_)):
            raise ProblemError(f"truncated-student-t needs a finite range above 0, not {range_:g}")
        self.df = df
        end = np.array([range_])
        mass, self._magnitude, square = (float(student_partial(df, p, end)[0]) for p in range(3))
        if mass <= 0 or square <= 0 or not math.isfinite(square / mass):
            raise ProblemError(f"truncated-student-t:{df:g},{range_:g} is beyond float64 arithmetic")
        fourth = float(student_partial(df, 4, end)[0])
        super().__init__(
            f"truncated-student-t:{df:g},{range_:g}",
            stats.t(df),
            square / mass,
            (fourth / mass) / (square / mass) ** 2,
            range_,
        )
        self.half_mass = mass

    @property
    def half_mean_magnitude(self) -> float:
        return self._magnitude / (2 * self.half_mass)

    def partial(self, x: FloatArray) -> FloatArray:
        return np.stack([student_partial(self.df, p, x) for p in range(3)]) / (2 * self.half_mass)

    def quantile(self, probability: Any) -> Any:
        inside = self.frozen.ppf(0.5 + (np.asarray(probability) - 0.5) * 2 * self.half_mass)
        return np.clip(inside, -self.largest, self.largest)

    def density(self, x: FloatArray) -> FloatArray:
        inside = np.abs(x) <= self.largest
        return np.where(inside, self.frozen.pdf(x) / (2 * self.half_mass), 0.0)

    def sample(self, count: int, generator: np.random.Generator) -> FloatArray:
        return np.asarray(self.quantile(generator.random(count)))


class Empirical(Distribution):
    """The samples themselves, each with the same probability: sums, no fitted density."""

    def __init__(self, samples: FloatArray, name: str) -> None:
        values = np.sort(np.asarray(samples, dtype=np.float64).ravel())
        if not len(values):
            raise ProblemError(f"{name} holds no samples")
        if not np.isfinite(values).all():
            raise ProblemError(f"{name} has {int((~np.isfinite(values)).sum())} NaN or infinite samples")
        if values[0] == values[-1]:
            raise ProblemError(f"{name} is constant ({values[0]:g}): nothing to compare")
        self.name = name
        self.largest = max(-float(values[0]), float(values[-1]))
        # in units of the largest magnitude no square underflows or overflows
        self.values = values / self.largest
        count = len(values)
        centred = self.values - self.values.mean()
        spread = float(np.mean(centred**2))
        self.kurtosis = float(np.mean(centred**4)) / spread**2 if spread**2 > 0 else math.inf
        self._sums = np.zeros((3, count + 1))
        self._sums[0] = np.arange(count + 1) / count
        np.cumsum(self.values / count, out=self._sums[1, 1:])
        np.cumsum(self.values**2 / count, out=self._sums[2, 1:])
        self.mean_square = float(self._sums[2, -1]) * self.largest * self.largest  # ** raises where * overflows
        if not (0 < self.mean_square < math.inf):
            raise ProblemError(f"{name}: the mean square of the samples is beyond float64 arithmetic")

    @cached_property
    def _pruned(self) -> tuple[FloatArray, FloatArray]:
        """Sorted magnitudes and the sums of their squares."""
        magnitude = np.sort(np.abs(self.values))
        return magnitude, np.concatenate([[0.0], np.cumsum(magnitude**2)])

    def below(self, x: FloatArray) -> FloatArray:
        sums = self._sums[:, np.searchsorted(self.values, np.asarray(x) / self.largest, side="right")]
        return np.asarray(sums * self.largest ** np.arange(3.0)[:, None])

    def prune(self, share: float) -> tuple[float, float]:
        """Keeps floor(N (1 - share) + 1e-9) samples, the rule for weights; ties by any order have one error."""
        magnitude, squares = self._pruned
        count = len(magnitude)
        pruned = count - math.floor(count * (1 - share) + 1e-9)
        threshold = float(magnitude[pruned - 1]) if pruned else 0.0
        return threshold * self.largest, float(squares[pruned]) / count * self.largest**2

    def rounding_error(self, levels: FloatArray) -> float:
        """E[(x - Q(x))^2] sample by sample: as `quantization_error`, without its cancellation near 0."""
        levels = levels / self.largest
        cuts = np.searchsorted(self.values, (levels[:-1] + levels[1:]) / 2, side="right")
        counts = np.diff(np.concatenate([[0], cuts, [len(self.values)]]))
        difference = self.values - np.repeat(levels, counts)
        return float(difference @ difference) / len(self.values) * self.largest**2

    def sample(self, count: int, generator: np.random.Generator) -> FloatArray:
        return generator.choice(self.values, count) * self.largest

    def density(self, x: FloatArray) -> FloatArray:
        """A histogram with bins of about one cube root of N (Rice's rule), for figures only."""
        bins = min(400, max(10, math.ceil(2 * len(self.values) ** (1 / 3))))
        height, edges = np.histogram(self.values * self.largest, bins=bins, density=True)
        bin_of = np.searchsorted(edges, x, side="right") - 1
        inside = (bin_of >= 0) & (bin_of < len(height))
        return np.where(inside, height[np.clip(bin_of, 0, len(height) - 1)], 0.0)


def distribution(text: str) -> Distribution:
    """The distribution a user names.

    Raises
    ------
    ProblemError
        Unknown name, degrees of freedom or range that are no distribution, a file without usable samples.
    """
    simple: dict[str, type[Normal | Laplace | Uniform]] = {
        "normal": Normal,
        "laplace": Laplace,
        "uniform": Uniform,
    }
    if text in simple:
        return simple[text]()
    kind, separator, rest = text.partition(":")
    if kind == "student-t":
        return StudentT(*_numbers(text, rest, "DF"))
    if kind == "truncated-student-t":
        return TruncatedStudentT(*_numbers(text, rest, "DF,RANGE"))
    path = Path(text)
    if not os.path.isfile(path):
        import difflib

        known = [*simple, "student-t", "truncated-student-t"]
        near = difflib.get_close_matches(kind, known, n=1)
        meant = "" if not near else near[0] if near[0] in simple else f"{near[0]}{separator}{rest}"
        hint = f"; did you mean '{meant}'?" if near else ""
        raise ProblemError(f"unknown distribution '{text}': expected {NAMES}{hint}")
    return Empirical(read_samples(path), str(path))


def _numbers(text: str, rest: str, form: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in rest.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != form.count(",") + 1:
        raise ProblemError(f"'{text}': expected {text.partition(':')[0]}:{form}")
    return numbers


def read_samples(path: Path) -> FloatArray:
    """Samples from a .npy array of any shape or a text file of numbers."""
    try:
        if path.suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a header cannot allocate
            if array.dtype.kind not in "fiub":
                raise ValueError(f"it holds {array.dtype}")
            return np.asarray(array, dtype=np.float64).ravel()
        return np.array([float(word) for word in read_text(path).replace(",", " ").split()])
    except (OSError, ValueError, EOFError) as error:
        raise ProblemError(
            f"cannot read samples from {path}: {error}; expected a .npy array or a text file of real numbers"
        ) from error
