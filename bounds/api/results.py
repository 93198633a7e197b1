"""What `pvq.bound` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from pvq.bounds.candidate import judge, selected
from pvq.bounds.certificate import Certificate
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.sqnr import format_db, sqnr_db
from pvq.bounds.zero import WithoutShift
from pvq.layers.arrays import Plain, plain
from pvq.layers.format import Layer
from pvq.layers.solutions import Solution
from pvq.solvers.certify import build_certificate
from pvq.solvers.result import Status
from pvq.solvers.rows import LayerResult, RowResult
from pvq.solvers.sample import Sample

from .shown import Recorded, html_table, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pvq.bounds.volume import Model


class Interval(NamedTuple):
    """Two ends of what is known of a number."""

    min: float
    max: float


@dataclass(frozen=True)
class Score:
    """Somebody's weights against the proven interval.

    Attributes
    ----------
    error : float
        e(x) of the weights as they were given, summed over the rows.
    sqnr_db : float
        10 log10(r / e).
    from_optimum_db : Interval
        At least and at most so many dB above the least error there is, infinity where nothing is proven; NaN for
        weights that are not feasible.
    feasible : bool
        Whether they satisfy the problem.
    reason : str or None
        The first constraint that they break.
    """

    error: float
    sqnr_db: float
    from_optimum_db: Interval
    feasible: bool = True
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For the document `pvq.result/1`; null where there is no number, as dB above an optimum of 0."""
        numbers = (self.sqnr_db, *self.from_optimum_db)
        sqnr, least, most = (x if math.isfinite(x) and self.error > 0 else None for x in numbers)
        return {
            "feasible": self.feasible,
            "reason": self.reason,
            "error": self.error,
            "sqnr_db": sqnr,
            "above_optimum_min_db": least,
            "above_optimum_max_db": most,
        }


@dataclass(frozen=True)
class Row:
    """One row (output channel): an interval of its least error, and how it ended.

    Attributes
    ----------
    row : int
        Its number in the layer.
    lower : float or None
        Lower end of the interval; None where rows share a budget (scope layer) or a scale that is searched.
    upper : float
        Upper end, the error of weights that were found.
    reference : float
        r = w'Hw.
    status : str
        How it ended: optimal, time_limit, node_limit, bound_only, feasible_only, interrupted or failed.
    reason : str
        Why the solver stopped: finished, time, nodes, memory, interrupt or failure.
    bound_kind : str
        What lower is worth: rigorous, numerical or none.
    solver : str
        Who found it.
    nodes : int
        Nodes of the search.
    seconds : float
        Preparation and solve of the row, without compilation, layer-wide work and verification.
    verify_seconds : float
        What checking its proof took.
    methods : Mapping[str, float]
        Error of each empirical method.
    """

    row: int
    lower: float | None
    upper: float
    reference: float
    status: str
    reason: str
    bound_kind: str
    solver: str
    nodes: int
    seconds: float
    verify_seconds: float
    methods: Mapping[str, float]

    @classmethod
    def of(cls, row: RowResult) -> Row:
        """From the row of an engine.

        Parameters
        ----------
        row : RowResult
            As solvers give it.
        """
        found = row.result
        return cls(
            row=row.row,
            lower=row.lower,
            upper=found.upper,
            reference=row.reference,
            status=found.status.value,
            reason=found.reason.value,
            bound_kind=found.bound_kind.value,
            solver=found.solver,
            nodes=found.nodes,
            seconds=found.seconds,
            verify_seconds=found.verify_seconds,
            methods=dict(row.empirical),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Result(Recorded):
    """lower <= least error of the layer under the problem <= upper, with the weights that reach upper.

    Errors are (w - x)'H(w - x), summed over the rows; H = X X' / samples.
    """

    layer: Layer
    problem: LayerProblem
    solved: LayerResult
    document: dict[str, Any]
    """`pvq.result/1`, as the command line writes it."""
    model: Model | None = None
    """What the volume model says beside it: an estimate, no bound; None where nothing is quantized."""
    notes: tuple[str, ...] = ()
    """What the reader should know, a line each: methods that were asked for and cannot take the problem."""
    sample: Sample | None = None
    """What the rows say of all rows where they are a sample of them; everything else is about the drawn rows."""
    zero_without_shift: WithoutShift | None = None
    """Whether all rows would reach an error of 0 if H had no shift; None where it has none."""

    @property
    def lower(self) -> float:
        """No weights within the constraints have a smaller error."""
        return self.solved.lower

    @property
    def upper(self) -> float:
        """Error of `weights`."""
        return self.solved.upper

    @property
    def reference(self) -> float:
        """r, the error of the layer without its weights."""
        return self.solved.reference

    @property
    def gap(self) -> float:
        """(upper - lower) / upper, 0 for an error of 0."""
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0

    @property
    def status(self) -> str:
        """optimal, time_limit, node_limit, bound_only, feasible_only, interrupted or failed."""
        return self.solved.status.value

    @property
    def reason(self) -> str:
        """Why the work stopped: finished, time, nodes, memory, interrupt or failure; the worst of the rows."""
        return self.solved.reason.value

    @property
    def bound_kind(self) -> str:
        """What lower is worth: rigorous, numerical or none."""
        return self.solved.bound_kind.value

    @property
    def is_optimal(self) -> bool:
        """Whether both ends agree up to the gap that was asked for."""
        return self.status == "optimal"

    @property
    def sqnr_db(self) -> Interval:
        """Best possible SQNR, 10 log10(r / e): at least and at most."""
        return Interval(self._db(self.upper), self._db(self.lower))

    @property
    def weights(self) -> FloatArray:
        """(rows, inputs) best weights found, of the selected rows and inputs."""
        return self.solved.weights

    @property
    def methods(self) -> dict[str, Score]:
        """Each empirical method that was scored on every row."""
        return {name: self._score(error) for name, error in self.solved.empirical.items()}

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows, in order."""
        return tuple(Row.of(row) for row in self.solved.rows)

    def score(self, weights: Any) -> Score:
        """Score weights of your own.

        Parameters
        ----------
        weights : array, torch tensor or list
            Of the layer, (out, in), or of the selected rows and inputs. A weight counts as on its level if it is
            the level rounded to the array's type.

        Returns
        -------
        Score
            Whether they satisfy the problem, their error, and how far above the proven interval.

        Raises
        ------
        ProblemError
            Another shape, or entries that are not finite.
        """
        given = numbers("weights", weights)
        problem = self.problem
        part = selected(given.array, self.layer.out, self.layer.inputs, problem.rows, problem.inputs)
        candidate = judge(problem, part, given.eps)
        return self._score(float(candidate.errors.sum()), candidate.violation)

    def certificate(self) -> Certificate:
        """The proofs, to `save` and to be checked by `pvq.verify`; rows without one claim 0.

        Raises
        ------
        ProblemError
            The rows are a sample: there are no certificates of that yet.
        """
        if self.problem.drawn_from is not None:
            raise ProblemError("a sample of rows has no certificate; give `rows` instead of `sample_rows`")
        return build_certificate(self.layer, self.problem, self.solved)

    def solution(self) -> Solution:
        """The weights with what is needed to put them back into their model, as `--solution` writes them."""
        setting = self.problem.setting
        about = {"technique": setting.method, "bits": setting.bits, "sparsity": setting.sparsity}
        rows, inputs = self.problem.rows, self.problem.inputs
        # a ridge is part of the problem, not of what the outputs differ by
        error = self.layer.error(self.weights, rows, inputs) if setting.ridge else self.upper
        return Solution.of(self.layer, self.weights, rows, inputs, error, **about)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The proven interval of the best possible SQNR, and each method.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure without.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        ax = new_axes(6.0, 1.2 + 0.35 * (1 + len(self.methods))) if ax is None else ax
        least, most = self.sqnr_db
        scores = sorted(self.methods.items(), key=lambda item: item[1].error)
        ends = [least, most, *(score.sqnr_db for _, score in scores)]
        shown = [value for value in ends if math.isfinite(value)]
        right = most if math.isfinite(most) else max(shown, default=0.0) + 10.0
        left = least if math.isfinite(least) else right
        ax.barh(0, max(right - left, 0.0), left=left, height=0.5, color="none", edgecolor="black", hatch="////")
        ax.plot([left], [0], marker="|", markersize=14, color="black")
        for place, (_, score) in enumerate(scores, start=1):
            if math.isfinite(score.sqnr_db):
                ax.plot([score.sqnr_db], [place], marker="o", color="0.25", markerfacecolor="none")
        ax.set_yticks(range(len(scores) + 1), ["best possible", *(name for name, _ in scores)])
        ax.invert_yaxis()
        ax.set_xlabel("SQNR of the layer output (dB)")
        ax.set_title(f"{self.layer.name}: {self.bound_kind} bound, {self.status}", fontsize=10, parse_math=False)
        return ax

    def __repr__(self) -> str:
        least, most = self.sqnr_db
        return (
            f"<pvq.Result {self.layer.name!r}: {self.status}, {self.lower:.6g} <= error <= {self.upper:.6g}, "
            f"best possible SQNR {least:z.2f} to {most:z.2f} dB ({self.bound_kind})>"
        )

    def _repr_html_(self) -> str:
        lines = [("lower bound", self.lower, "")] if self.bound_kind != "none" else []
        lines += [(best_name(self.solved.status), self.upper, "")]
        lines += [
            (name, score.error, "{:.2f} to {:.2f}".format(*score.from_optimum_db))
            for name, score in sorted(self.methods.items(), key=lambda item: item[1].error)
        ]
        if self.model is not None and self.model.optimum is not None:
            lines.append(("modelled optimum (no bound)", self.model.optimum, ""))
        body = [
            (escape(name), f"{error:.6g}", format_db(self.reference, error), distance)
            for name, error, distance in lines
        ]
        caption = f"{self.layer.name}: {self.status}, {self.bound_kind}"
        return html_table(caption, ("", "error", "SQNR (dB)", "dB from the optimum"), body)

    def _records(self) -> tuple[list[dict[str, Any]], str]:
        names = [name for name in Row.__dataclass_fields__ if name != "methods"]
        records = []
        for row in self.rows:
            scores = {name: row.methods.get(name) for name in self.solved.empirical}
            records.append({name: getattr(row, name) for name in names} | scores)
        return records, "row"

    def _db(self, error: float) -> float:
        return decibels(self.reference, error)

    def _score(self, error: float, reason: str | None = None) -> Score:
        far = Interval(math.nan, math.nan)
        if reason is None:
            far = Interval(_above(error, self.upper), _above(error, self.lower))
        return Score(error, self._db(error), far, reason is None, reason)


def best_name(status: Status) -> str:
    """What the upper end is called in tables; weights of a method that proves nothing are its score."""
    return {Status.OPTIMAL: "optimum", Status.FEASIBLE_ONLY: "score"}.get(status, "best found")


def numbers(name: str, values: Any) -> Plain:
    """A parameter as an array; `ProblemError` for what holds no numbers."""
    try:
        return plain(values)
    except (ValueError, TypeError) as error:
        raise ProblemError(f"`{name}` {' '.join(str(error).split())}") from None


def decibels(reference: float, error: float) -> float:
    """10 log10(r / e): infinite for no error, NaN for no reference."""
    value = sqnr_db(reference, error)
    if value is None:
        return math.inf if error <= 0 < reference else math.nan
    return value


def _above(error: float, end: float) -> float:
    """dB of an error above an end of the interval; a rounded point may lie below it by its rounding."""
    if end <= 0:
        return math.inf if error > 0 else 0.0
    return max(0.0, 10 * math.log10(error / end)) if error > 0 else 0.0
