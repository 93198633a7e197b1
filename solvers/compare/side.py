"""What is known of one technique on one layer: feasible weights, and lower bounds row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outward import closed, sum_down, sum_up
from pvq.bounds.sqnr import format_db, sqnr_db
from pvq.bounds.zero import WithoutShift

from ..empirical.layerwise import LayerPoint, row_errors, used_units
from ..modelled import within
from ..result import ROUNDING, BoundKind, Reason, Result
from .verdict import Interval

if TYPE_CHECKING:
    from pvq.bounds.volume import Model


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of a side row by row, without its problem: see `Side`."""

    x: FloatArray
    upper: FloatArray
    lower: FloatArray
    kind: tuple[BoundKind, ...]
    closed: BoolArray
    shared_lower: float
    failed: tuple[int, ...]
    empirical: Mapping[str, float]
    scored: frozenset[str]
    bounded: frozenset[int]
    bounded_roughly: frozenset[int]
    bounded_alone: frozenset[tuple[str, int]]
    model: Model | None


class Side:
    """One technique of a pair: every change keeps lower <= least error <= upper.

    Rows without a bound count 0, so the sum of the lower bounds holds at any time.
    """

    def __init__(self, problem: LayerProblem, name: str = "", tail: Callable[[], str] = str) -> None:
        """Nothing is known yet; `name` of the layer and `tail` are for lines of progress."""
        self.problem, self._name, self._tail = problem, name, tail
        rows = len(problem)
        self.references = row_errors(problem, np.zeros(problem.weight.shape))
        self.x = np.zeros(problem.weight.shape)
        self.upper = np.full(rows, np.inf)
        self.lower = np.zeros(rows)
        self.kind = [BoundKind.NONE] * rows
        self.closed = np.zeros(rows, dtype=bool)
        """(rows,) which rows are solved to optimality."""
        self.shared_lower = 0.0
        """Lower bound of all rows together, where they share a budget."""
        self.empirical: dict[str, float] = {}
        self.failed: list[int] = []
        """Rows on which a solver broke, or claimed a lower bound above a feasible error: it does not count."""
        self.scored: set[str] = set()
        """Methods whose weights have been offered."""
        self.bounded: set[int] = set()
        """Rows that have been bounded together: doing it again finds nothing more."""
        self.bounded_roughly: set[int] = set()
        """Those, and the ones whose weights were not improved at it."""
        self.bounded_alone: set[tuple[str, int]] = set()
        """Kinds of solvers, and rows that they have bounded one by one, to their end."""
        self.model: Model | None = None
        """What the volume model says beside it: no verdict rests on it."""
        self.outliers_db: float | None = None
        """What one scale for all costs, where it is worth a line: see `pvq.bounds.outliers`."""
        self.zero: WithoutShift | None = None
        """Whether H without its shift reaches an error of 0; None where it has none."""

    def rows(self) -> Rows:
        """What is known by now, for a side of the same problem."""
        return Rows(
            self.x.copy(), self.upper.copy(), self.lower.copy(), tuple(self.kind), self.closed.copy(),
            self.shared_lower, tuple(self.failed), dict(self.empirical), frozenset(self.scored),
            frozenset(self.bounded), frozenset(self.bounded_roughly),
            frozenset(self.bounded_alone), self.model,
        )  # fmt: skip

    def take_up(self, rows: Rows) -> None:
        """Go on from what another side of the same problem knew; this one knows nothing yet."""
        self.x, self.upper, self.lower = rows.x.copy(), rows.upper.copy(), rows.lower.copy()
        self.kind, self.closed, self.shared_lower = list(rows.kind), rows.closed.copy(), rows.shared_lower
        self.failed, self.empirical, self.model = list(rows.failed), dict(rows.empirical), rows.model
        self.scored, self.bounded = set(rows.scored), set(rows.bounded)
        self.bounded_roughly, self.bounded_alone = set(rows.bounded_roughly), set(rows.bounded_alone)

    @property
    def words(self) -> str:
        """What it is, for progress: 4 bits, or sparsity 0.75."""
        setting = self.problem.setting
        return f"{setting.bits} bits" if setting.quantizes else f"sparsity {setting.sparsity or setting.nm}"

    def line(self, doing: str) -> str:
        """A line of progress: what is being done, and the interval so far."""
        interval, reference = self.interval, self.reference
        known = ""
        if interval.lower > 0:
            least, most = format_db(reference, interval.upper), format_db(reference, interval.lower)
            known = f"; {least} to {most} dB so far"
        return f"{self._name}, {self.words}: {doing}{known}{self._tail()}"

    @property
    def reference(self) -> float:
        """w'Hw summed over the rows."""
        return sum_up(self.references)

    @property
    def interval(self) -> Interval:
        """The certified interval of the layer."""
        upper = sum_up(self.upper)
        lower = self.shared_lower if self.problem.budget is not None else sum_down(self.lower)
        return Interval(min(lower, upper), upper)

    @property
    def shared(self) -> bool:
        """Whether rows share a budget, so that they have no bounds of their own."""
        return self.problem.budget is not None

    def offer(self, point: LayerPoint) -> None:
        """Take over what is better in a feasible point: row by row, or all of it where rows share a budget."""
        if self.shared:
            better = np.full(len(self.upper), bool(point.errors.sum() < self.upper.sum()))
        else:
            better = point.errors < self.upper
        self.x[better], self.upper[better] = point.x[better], point.errors[better]

    def offer_all(self, x: FloatArray) -> None:
        """Take over what is better in points (rows, n) of a like problem, where they are feasible in this one."""
        budget = self.problem.budget
        if budget is not None:
            fits = np.full(len(x), used_units(self.problem, x) <= budget)
        else:
            fits = np.array([self.problem.row(i).is_feasible(point) for i, point in enumerate(x)])
        self.offer(LayerPoint(x, np.where(fits, row_errors(self.problem, x), np.inf)))

    def offer_row(self, i: int, x: FloatArray) -> None:
        """Take over a feasible point (n,) of row i if it is better."""
        error = self.problem.row(i).certified(x).upper
        if error < self.upper[i]:
            self.upper[i], self.x[i] = error, x

    def add(self, i: int, result: Result, gap: float) -> None:
        """Take over what a solver proved of row i."""
        if result.upper < self.upper[i]:
            self.upper[i], self.x[i] = result.upper, result.x
        if result.lower > self.upper[i] + ROUNDING * max(self.upper[i], 1e-3 * self.references[i]):
            # a bound above a feasible error is wrong: nothing this solver says of the row counts
            self.failed.append(self.problem.rows[i])
            return
        if result.reason is Reason.FAILURE:
            self.failed.append(self.problem.rows[i])
        if result.lower > self.lower[i]:
            self.lower[i], self.kind[i] = min(result.lower, self.upper[i]), result.bound_kind
        self.lower[i] = min(self.lower[i], self.upper[i])
        self.closed[i] = closed(self.lower[i], self.upper[i], result.rounding, gap)

    def open_rows(self) -> list[int]:
        """Rows that are not solved yet, the one with the widest interval first."""
        width = np.where(self.closed, -1.0, self.upper - self.lower)
        order = np.argsort(-width, kind="stable")
        return [int(i) for i in order if not self.closed[i]]

    def bound_kind(self) -> BoundKind:
        """The weakest kind among the rows that have a bound; rows without one add 0, which holds."""
        proven = {kind for kind in self.kind if kind is not BoundKind.NONE}
        if not proven:
            return BoundKind.NONE
        return BoundKind.RIGOROUS if proven == {BoundKind.RIGOROUS} else BoundKind.NUMERICAL

    def as_json(self, bits: float, macs: float) -> dict[str, Any]:
        """The side of a pair in `pvq.compare/1`; `bits` of storage and `macs` left, a weight."""
        interval, reference = self.interval, self.reference
        return {
            "lower": interval.lower,
            "upper": interval.upper,
            "reference": reference,
            "bound_kind": self.bound_kind().value,
            "sqnr_min_db": sqnr_db(reference, interval.upper),
            "sqnr_max_db": sqnr_db(reference, interval.lower),
            "rows_bounded": sum(kind is not BoundKind.NONE for kind in self.kind),
            "rows_optimal": int(self.closed.sum()),
            "storage_bits": bits,
            "macs": macs,
            "empirical": dict(self.empirical),
            "failed_rows": list(self.failed),
            **(
                {}
                if self.model is None
                else {"model": within(self.model.as_json(), interval.lower, interval.upper)}
            ),
            **({} if self.outliers_db is None else {"outliers_db": self.outliers_db}),
            **({} if self.zero is None else {"zero_without_shift": self.zero.as_json()}),
        }


def merge(old: Mapping[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new side, with what an earlier run of the same problem proved beyond it."""
    merged = dict(new)
    if old["upper"] < new["upper"]:
        merged["upper"], merged["sqnr_min_db"] = old["upper"], old["sqnr_min_db"]
    if old["lower"] > new["lower"]:
        for name in ("lower", "sqnr_max_db", "bound_kind", "rows_bounded", "rows_optimal"):
            merged[name] = old[name]
    merged["lower"] = min(merged["lower"], merged["upper"])  # a float64 bound may be above by its rounding
    merged["empirical"] = {**old["empirical"], **new["empirical"]}
    if "model" in old:
        merged.setdefault("model", old["model"])
    if "model" in merged and "drawn" not in merged["model"]:  # of drawn rows, whose ends are not these
        merged["model"] = within(merged["model"], merged["lower"], merged["upper"])
    return merged
