"""The model's statement about a layer: a level with odds, and where the optimum is expected. Never a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from scipy import stats
from scipy.special import gammaln

from ..gram import BoolArray, FloatArray, IntArray
from ..layer_problem import LayerProblem
from ..outward import sum_down, sum_up
from .babai import BabaiTest, Sums, babai_test, sums, wave
from .chain import median_level
from .coverage import Covered, Uncovered, cover, mesh_of, shared_mesh
from .layer import layer_level
from .relax import decision_order, factor, relaxed
from .rows import Choice, RowLevels, choose, row_levels

ODDS = 1e-3
TESTED = 2**22  # weights that the test reads at most, in rows evenly spaced
SHARED = 2**20  # weights in which a mesh of the whole layer is looked for
LEAST_RMS = 0.4  # in units of the spacing: below, a row's or a column's rounding says nothing
DEAD = 1e-4  # rows with a root mean square below this part of the median row's
MOST_WAVE = 0.1  # weights whose density is not flat over a step tell the test nothing
TEST_SHARE = 0.6  # of the min-max scale, where the scale is the row's own
MOST_ON_LEVELS = 0.01
MEDIAN_RATIO = 1.15  # optimum over the median level: empirical, see `docs/volume.md`
CONTRADICTED = "weights were found with an error below its level, so it does not hold here; use the proven bounds"
ON_LEVELS = "they are not random; weights before they were pruned or rounded are covered"
REPEATED = "rows are repeated, so they are not independent; the layer without the repeats is covered"
MESH = "the weights are stored on a mesh that is coarse against the grid; weights not rounded before are covered"
ROUNDING = 1e-9  # of an error found, by which a level may exceed it without a contradiction


@dataclass(frozen=True)
class Checks:
    """What was checked; that a check did not refuse is absence of evidence against the model, no more."""

    z: float = 0.0
    harmonic: float = 0.0
    ks: float = 1.0
    zeros: float = 0.0
    """Share of the weights that are 0 or on a level."""
    mesh: float = 0.0
    """eta^2 times the largest pivot of M."""


@dataclass(frozen=True)
class RowModel:
    """The model's statement about one row by itself; those of several rows do not add up."""

    row: int
    lower: float
    optimum: float
    t1: float
    rate: float
    """P(optimum <= t) <= exp(rate (t - t1)), the scale taken as given."""

    def tail(self, t: float) -> float:
        """Bound on the share of draws whose optimum is at most t."""
        return math.exp(min(0.0, self.rate * (t - self.t1)))

    def as_json(self) -> dict[str, Any]:
        """Number, level and prediction."""
        return {"row": self.row, "lower": self.lower, "optimum": self.optimum}


@dataclass(frozen=True)
class Model:
    """Model estimate for the total error of a layer, not a bound for its weights.

    If, given H, the scales and the weights treated as known, the other weights were independent draws from the
    densities fitted here, the least total error would be below `lower` with odds `odds` at most.
    """

    odds: float
    lower: float | None = None
    optimum: float | None = None
    """Predicted, within what is proven."""
    limited_by: str | None = None
    """The proven end that the prediction was moved to: "lower", "upper" or None."""
    rows_covered: int = 0
    rows_left_to_rigorous: int = 0
    checks: Checks = field(default_factory=Checks)
    refused: str | None = None
    rows: tuple[RowModel, ...] = ()
    """Of the rows that are covered, each by itself, where the layer is not refused."""

    def as_json(self, rows: bool = False) -> dict[str, Any]:
        """Its fields as JSON values, with its rows or without."""
        return {
            "lower": self.lower,
            "odds": self.odds,
            "optimum": self.optimum,
            "limited_by": self.limited_by,
            "rows_covered": self.rows_covered,
            "rows_left_to_rigorous": self.rows_left_to_rigorous,
            "checks": {name: float(value) for name, value in vars(self.checks).items()},
            "refused": self.refused,
            **({"rows": [row.as_json() for row in self.rows]} if rows else {}),
        }


def held(optimum: float, lower: float, upper: float) -> tuple[float, str | None]:
    """A prediction within proven ends, and the end it was moved to: `Model.limited_by`."""
    if optimum > upper:
        return upper, "upper"
    if optimum < lower:
        return min(lower, upper), "lower"  # a float64 bound may be above by its rounding
    return optimum, None


def volume_model(
    problem: LayerProblem,
    odds: float = ODDS,
    whole: FloatArray | None = None,
    lower: FloatArray | None = None,
    upper: FloatArray | None = None,
) -> Model:
    """What random weights would make of this layer.

    Parameters
    ----------
    problem : a quantized layer.
    odds : delta, in (0, 1): a total below the level occurs in at most this share of draws.
    whole : (out, in) all weights of the layer, where the problem has a part of them: those that set the scale.
    lower, upper : (rows,) proven ends, for the rows that the theorem does not cover, to contradict the model, and
    to hold its predictions within.

    Returns
    -------
    Model
        With `refused` set, and no level, where the theorem does not cover the layer or a check speaks against it.
        Errors of computation are refusals as well.
    """
    return before_proofs(problem, odds, whole).beside(lower, upper)


def before_proofs(problem: LayerProblem, odds: float = ODDS, whole: FloatArray | None = None) -> BeforeProofs:
    """Most of it, which needs no proven ends; parameters as above."""
    if whole is None and problem.setting.rows is None and problem.setting.inputs is None:
        whole = problem.weight
    if not 0 < odds < 1:
        return BeforeProofs(Model(odds, refused=f"odds must lie between 0 and 1, not {odds:g}"))
    found = _refused_or(odds, lambda: _state(problem, cover(problem, whole), odds))
    return BeforeProofs(found) if isinstance(found, Model) else found


T = TypeVar("T")


def _refused_or(odds: float, compute: Callable[[], T]) -> T | Model:
    """The value of `compute()`, or a refusal that says what is not covered, or what failed."""
    try:
        with np.errstate(all="ignore"):  # H of any size is asked about: what overflows is no number at the end
            return compute()
    except Uncovered as error:
        return Model(odds, refused=str(error))
    except (ArithmeticError, ValueError, np.linalg.LinAlgError, MemoryError, IndexError) as error:
        return Model(odds, refused=f"its computation failed ({type(error).__name__}: {error})")


@dataclass(frozen=True, eq=False)
class BeforeProofs:
    """What the model says of a layer of which nothing is proven."""

    model: Model
    """Refused, or with its checks and without a level."""
    numbers: Sequence[int] = ()
    """Of the rows."""
    alive: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(rows,) those that are covered."""
    parts: tuple[_Levels, ...] = ()
    log_odds: float = 0.0
    """For all rows together, log N paid."""
    log_left_out: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(rows,) what rows left out for what they are cost in odds."""

    def beside(self, lower: FloatArray | None, upper: FloatArray | None) -> Model:
        """Beside the proven ends of the rows, (rows,) each."""
        if self.model.refused is not None:
            return self.model
        found = _refused_or(self.model.odds, lambda: self._beside(lower, upper))
        numbers = (found.lower, found.optimum)
        if not all(math.isfinite(x) for x in numbers if x is not None):
            why = "its numbers are too large or too small for floating point; use the proven bounds"
            return Model(self.model.odds, refused=why)
        return found

    def _beside(self, lower: FloatArray | None, upper: FloatArray | None) -> Model:
        model, alive = self.model, self.alive
        t1, lam = (np.concatenate([getattr(part.levels, name) for part in self.parts]) for name in ("t1", "lam"))
        least = np.zeros(len(alive)) if lower is None else np.nan_to_num(lower)
        most = np.full(len(alive), np.inf) if upper is None else upper
        rest = float(least[~alive].sum())
        level = max(0.0, layer_level(t1, lam, self.log_odds)) + rest
        if not math.isfinite(level):
            raise Uncovered("no level was found in floating point; use the proven bounds")
        expected = sum(float(part.medians.sum()) for part in self.parts)
        expected += rest if upper is None else float(upper[~alive].sum())
        total = sum_down(least), sum_up(most)
        if level > total[1] * (1 + ROUNDING):
            return replace(model, refused=CONTRADICTED)
        rows = []
        for part in self.parts:
            own, of = part.rows, part.levels
            alone = of.t1 + (math.log(model.odds) - self.log_left_out[own] - part.paid) / of.lam
            for k, r in enumerate(own.tolist()):
                start = max(0.0, float(alone[k]))
                optimum, _ = held(max(start, float(part.medians[k])), float(least[r]), float(most[r]))
                rows.append(RowModel(self.numbers[r], start, optimum, float(of.plain[k]), float(of.lam[k])))
        optimum, by = held(max(expected, level), *total)
        return replace(model, lower=level, optimum=optimum, limited_by=by, rows=tuple(rows))


@dataclass(frozen=True, eq=False)
class _Levels:
    """Of rows that share one H."""

    rows: IntArray
    levels: RowLevels
    medians: FloatArray
    """(rows,) predicted errors."""
    paid: float
    """log of the choices that were compared."""


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows that share one H, with the inputs that stay."""

    rows: IntArray
    matrix: FloatArray
    keep: IntArray
    order: IntArray


def _state(problem: LayerProblem, covered: Covered, odds: float) -> BeforeProofs:
    rms = np.sqrt((covered.weight**2).mean(axis=1))
    size = rms * covered.unit
    # dead rows are no draws from what drew the others; a scale of their own follows them, so rms / s is no sign
    alive = (rms >= LEAST_RMS) & (size > DEAD * np.median(size))
    model = Model(odds, rows_covered=int(alive.sum()), rows_left_to_rigorous=int((~alive).sum()))
    if not alive.any():
        raise Uncovered("every row's weights are small against the grid; use the proven bounds")
    parts = _parts(problem, covered, alive)
    zeros = _share_on_levels(covered, alive)
    test = babai_test([_sums(part, covered, len(parts)) for part in parts])
    checks = Checks(test.z, test.harmonic, test.ks, zeros)
    model = replace(model, checks=checks)
    if zeros > MOST_ON_LEVELS:
        return BeforeProofs(replace(model, refused=f"{zeros:.1%} of the weights are 0 or on a level: {ON_LEVELS}"))
    if _repeated(problem.weight[alive]):
        return BeforeProofs(replace(model, refused=REPEATED))
    if test.refuses:
        return BeforeProofs(replace(model, refused=_contradiction(test)))
    # rows that are small against the grid were left out for what they are: their odds are paid
    log_left_out = np.log1p(
        stats.chi2.cdf(LEAST_RMS**2 * len(problem.inputs) / np.maximum(rms, 1e-9) ** 2, len(problem.inputs))
    )
    log_odds = math.log(odds) - float(log_left_out.sum())
    choices = [choose(covered, part.rows, part.matrix, part.keep, rms, int(alive.sum())) for part in parts]
    mesh = max(float(_mesh(problem.weight, covered, *both)) for both in zip(parts, choices, strict=True))
    model = replace(model, checks=replace(checks, mesh=mesh))
    if mesh > 1:
        return BeforeProofs(replace(model, refused=MESH))
    levels = [row_levels(covered, part.rows, part.keep, of) for part, of in zip(parts, choices, strict=True)]
    # per channel every H has its own choice of what was tried, and joint choices multiply; else log N is paid once
    paid = [math.log(of.tried) if covered.per_row else covered.log_candidates for of in choices]
    log_odds -= sum(paid) if covered.per_row else covered.log_candidates
    of_parts = [
        _Levels(part.rows, of, MEDIAN_RATIO * _median(covered, part, of), cost)
        for part, of, cost in zip(parts, levels, paid, strict=True)
    ]
    return BeforeProofs(model, problem.rows, alive, tuple(of_parts), log_odds, log_left_out)


def _parts(problem: LayerProblem, covered: Covered, alive: BoolArray) -> list[_Part]:
    """Rows by H; columns that are dead or small against the grid, or that a singular H hides, are relaxed."""
    parts = []
    for g, gram in enumerate(problem.grams):
        rows = np.flatnonzero((problem.gram_of_row == g) & alive)
        if not len(rows):
            continue
        column = np.sqrt((covered.weight[rows] ** 2).mean(axis=0))
        # one row says nothing about a column; what stays out is H's and the columns', not one row's
        small = column < LEAST_RMS if len(rows) >= 16 else np.zeros(len(column), dtype=bool)
        keep = np.flatnonzero(gram.live & ~small)
        if not len(keep):
            raise Uncovered("every input is dead or has weights that are small against the grid")
        dead = np.flatnonzero(gram.live)
        matrix = gram.matrix[np.ix_(dead, dead)]
        matrix = relaxed(matrix, np.flatnonzero(np.isin(dead, keep)))
        order = decision_order(matrix)
        if gram.rank < int(gram.live.sum()):
            stay = np.sort(order[: _best_count(matrix, order)])
            matrix, keep = relaxed(matrix, stay), keep[stay]
            order = decision_order(matrix)
        parts.append(_Part(rows, matrix, keep, order))
    return parts


def _best_count(matrix: FloatArray, order: IntArray) -> int:
    """How many of the inputs decided first to keep: the largest sphere level m -> GH_m."""
    pivots = factor(matrix, order).diagonal()[::-1] ** 2
    m = np.arange(1, len(pivots) + 1)
    log_ball = m / 2 * math.log(math.pi) - gammaln(m / 2 + 1)
    return int(np.argmax(np.cumsum(np.log(np.maximum(pivots, 1e-300))) / m - 2 / m * log_ball)) + 1


def _sums(part: _Part, covered: Covered, parts: int) -> Sums:
    most = max(1, TESTED // (parts * len(part.keep)))
    rows = part.rows if len(part.rows) <= most else part.rows[np.linspace(0, len(part.rows) - 1, most).astype(int)]
    at = np.ix_(rows, part.keep)
    unit = float(np.mean(part.matrix.diagonal()))
    weight, spacing = covered.weight[at], None
    if covered.per_row:  # a scale fitted to the row bends its remainders: test at one that the known weights give
        weight = weight * (covered.unit[rows] / (TEST_SHARE * covered.nominal[rows]))[:, None]
    if covered.ratio.shape[1] > 1:
        spacing = covered.ratio[np.ix_(rows, covered.group[part.keep])]
    sigma = np.sqrt((weight**2).mean(axis=1, keepdims=True))
    waves = np.broadcast_to(wave(sigma if spacing is None else sigma / spacing), weight.shape)
    # weights outside the grid are counted too: without them the others are cut, and not uniform modulo the step
    random = ~covered.binding[at] & (weight != 0) & (waves < MOST_WAVE)
    return sums(weight, random, part.matrix / unit, part.order, spacing, waves)


def _share_on_levels(covered: Covered, alive: BoolArray) -> float:
    on = 0
    for r in np.flatnonzero(alive).tolist():
        w, levels = covered.weight[r], covered.levels(r)
        for g, of in enumerate(levels):
            here = covered.group == g
            part = w[here]
            place = np.clip(np.searchsorted(of, part), 1, len(of) - 1)
            near = np.minimum(np.abs(part - of[place]), np.abs(part - of[place - 1])) < 1e-9
            on += int(((near | (part == 0)) & ~covered.binding[r, here]).sum())
    return on / (int(alive.sum()) * covered.weight.shape[1])


def _repeated(weight: FloatArray) -> bool:
    return len(np.unique(weight, axis=0)) < len(weight)


def _contradiction(test: BabaiTest) -> str:
    return (
        f"the test of random weights speaks against it (z {test.z:.1f}, harmonic {test.harmonic:.1f}, "
        f"KS p {test.ks:.1g}); weights that were not rounded before are covered"
    )


def _mesh(weight: FloatArray, covered: Covered, part: _Part, of: Choice) -> float:
    at = part.keep
    meshes = [mesh_of(weight[r, at], ~covered.known[r, at]) / covered.unit[r] for r in part.rows]
    some = part.rows[:: max(1, -(-len(part.rows) * len(at) // SHARED))]
    meshes.append(shared_mesh(weight[np.ix_(some, at)]) / float(np.median(covered.unit[part.rows])))
    pivot = float((of.scaled(covered, part.rows).max() * part.matrix.diagonal() + of.c).max())
    return max(meshes) ** 2 * pivot


def _median(covered: Covered, part: _Part, of: RowLevels) -> FloatArray:
    """(rows,) each row's median level, the larger of chain and row theorem."""
    pivots = factor(part.matrix, part.order).diagonal() ** 2
    # kappa is 1 here, A(0) of a row up to 1.06: the 1.15 was found with this level, and it is empirical anyway
    chain = median_level(pivots[pivots > 1e-9 * pivots.max()]) * covered.unit[part.rows] ** 2
    return np.asarray(np.maximum(chain, of.plain + math.log(0.5) / of.lam))
