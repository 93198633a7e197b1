"""Branch and bound over the scale of a layer's grid (`--range optimal`): certified over an interval of scales."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from pvq.bounds.certified import FLOOR
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outward import closed, sum_up
from pvq.bounds.presolve import presolve
from pvq.bounds.proof import Scales
from pvq.bounds.stages import part

from .base import Clock, Options, Solver, fallback_point
from .checked import WORTH, checked
from .free_scale import LITTLE, MUCH, Found, FreeRow, Interval, best_scale, compile_search, interval_bound, needed
from .limits import GRACE, LAST, OVERSHOOT, SHARE, Pace, in_time, latest
from .result import BoundKind, Outcome, Reason
from .rows import LayerResult, OnRow, RowResult, row_words, score, summarise
from .scale_proof import Together, prove_together, scale_proofs

SCAN = 41
"""Scales at which a heuristic point is made before the search."""
STIFFNESS = 2.0
"""k / U of a single row. Small values lose little to the width of an interval but weaken G along w."""
SHARED = 2.0
"""k / U times the relative half-width, for rows that share a scale."""
LEAST = 0.1
"""Part of a row's fair share of the error that counts as its own at least, where rows share a scale."""
FIRST = 8
"""Intervals at the start."""
NARROW = 2.0**-6
"""Part of what may be missing that the width of an interval takes when it is not halved any more."""
NO_TIME = "the time ended before every scale was searched"


def solve_scales(
    problem: LayerProblem,
    options: Options,
    compare: Sequence[Solver] = (),
    jobs: int = 1,
    on_row: OnRow | None = None,
) -> tuple[LayerProblem, LayerResult]:
    """Bound every row over all grid points and all scales: one scale a row, or one for all rows.

    Returns the problem with the best scales found, and the result. With one scale for all rows only the sum of the
    rows is bounded: a row by itself may be as good as at a scale of its own. The time limit holds for each row,
    or times their number for all of them together.

    Raises
    ------
    ProblemError
        A setting in which the scale is not one number a row or a layer.
    """
    check_free_scale(problem)
    assert problem.grid is not None
    compile_search(problem.sparsity is not None)
    together = len(problem.grid.scale) == 1 and len(problem) > 1
    groups = [list(range(len(problem)))] if together else [[i] for i in range(len(problem))]
    best = problem
    results: list[RowResult] = []
    for rows in groups:
        part(f"scale of {row_words(range(rows[0], rows[-1] + 1), len(problem))}")
        search = ScaleSearch(problem, rows, options, jobs)
        search.run()
        best = with_scale(best, rows[0], search.scale)
        results += search.results()
        for row in results[-len(rows) :]:
            if on_row:
                on_row(row)
    scored = [_with_scores(best, i, row, compare, options) for i, row in enumerate(results)]
    total = summarise(scored, options)
    return best, search.total(total) if together else total


def with_scale(problem: LayerProblem, row: int, scale: float) -> LayerProblem:
    """The problem with another scale for a row, or for all rows where they share one."""
    assert problem.grid is not None
    scales = problem.grid.scale.copy()
    scales[problem.rows[row] if len(scales) > 1 else 0, 0] = scale
    return dataclasses.replace(problem, grid=dataclasses.replace(problem.grid, scale=scales))


def check_free_scale(problem: LayerProblem, solver: str = "bnb") -> None:
    """Raise `ProblemError` unless the scale is one number for each row or for the layer, for `bnb` to search."""
    if problem.budget is not None:
        raise ProblemError("`range` optimal takes `scope` row")
    if solver not in ("auto", "bnb"):
        raise ProblemError(f"`range` optimal takes `solver` bnb, not {solver}")


def _with_scores(
    problem: LayerProblem, i: int, row: RowResult, compare: Sequence[Solver], options: Options
) -> RowResult:
    """The row with the empirical methods at its scale."""
    scores = {} if options.stop.is_set() else score(problem.row(i), compare, options)
    return dataclasses.replace(row, empirical={name: scored.upper for name, scored in scores.items()})


class ScaleSearch:
    """Rows that share one scale; `lower` bounds their total error over the interval whenever it stops."""

    def __init__(self, problem: LayerProblem, rows: list[int], options: Options, jobs: int) -> None:
        self.begin = time.perf_counter()
        self.problem, self.numbers, self.options, self.jobs = problem, rows, options, jobs
        grid = problem.row(rows[0]).levels
        assert grid.free is not None
        assert grid.scale is not None
        self.low, self.high, scale = grid.free.low, grid.free.high, float(grid.scale[0])
        self.limit = None if options.time_limit is None else options.time_limit * len(rows)
        self.clock, self.end = (
            Clock(dataclasses.replace(options, time_limit=self.limit)),
            latest(options, rows=len(rows)),
        )
        self.proof_by = latest(options, LAST, len(rows))
        stated = [FreeRow(problem.row(i)) for i in rows]
        self.all_rows = stated
        self.rows = [row for row in stated if row.searched]
        self.nodes, self.searches, self.tickets = 0, 0, itertools.count()
        self.lower, self.upper, self.scale = 0.0, 0.0, scale
        self.reason = Reason.FINISHED
        self.heap: list[tuple[float, int, Interval]] = []
        """Bound, ticket and interval; all of them together are all scales."""
        self.to_prove = 0.0
        """Seconds that the searches of these intervals took."""
        self.proven = Together()
        self.points: list[FloatArray] = []
        """c of each live row at the best scale."""

    @property
    def tolerance(self) -> float:
        """Gap that counts as closed."""
        # the search adds rows up in float64: what it ends with is judged anew from the weights themselves
        width, rounding = self.options.gap * self.upper, FLOOR * sum(row.reference for row in self.rows)
        if width < rounding and len(self.numbers) == 1:
            rounding = self.rows[0].rounding(self.scale, self.points[0])
        return max(width, rounding)

    def run(self) -> None:
        """Halve the interval of least bound until the gap is closed or a limit is met."""
        if not self.rows:
            return
        if self.clock.ended() is Reason.INTERRUPT:
            self.reason = Reason.INTERRUPT
            return
        self._start()
        edges = np.geomspace(1 / self.high, 1 / self.low, FIRST + 1)
        for a, b in itertools.pairwise(edges.tolist()):
            self._push(self._bound(a, b))
        while True:
            self.lower = min(self.heap[0][0], self.upper)
            self.clock.tell(self.lower, self.upper)
            if self.upper - self.lower <= self.tolerance:
                return
            ended = self.clock.ended() or self._proof_is_due()
            if ended is not None:
                self.reason = ended
                return
            widest = self.heap[0][2]
            middle = math.sqrt(widest.a * widest.b)
            if not widest.a < middle < widest.b or self._is_narrow(widest):
                return  # no number lies between, or none that would say more
            heapq.heappop(self.heap)
            self.to_prove -= widest.seconds
            for ends in ((widest.a, middle), (middle, widest.b)):
                self._push(self._bound(*ends).better(widest))

    def _is_narrow(self, interval: Interval) -> bool:
        """Whether what a bound lacks is rounding: its interval takes next to nothing of it."""
        if len(self.numbers) > 1:
            return False
        half = (interval.b - interval.a) / (interval.b + interval.a)
        # see `free_scale`: with k = STIFFNESS U
        lost = STIFFNESS * half * half
        return lost <= NARROW * self.tolerance / self.upper

    def _push(self, interval: Interval) -> None:
        heapq.heappush(self.heap, (interval.bound, next(self.tickets), interval))
        self.to_prove += interval.seconds

    def _proof_is_due(self) -> Reason | None:
        """TIME where the proof takes what is left: rows that share a scale have nothing that is proven without."""
        limit = self.limit
        if limit is None or len(self.numbers) == 1:
            return None
        beyond = (limit * OVERSHOOT + GRACE) / 2
        kept = min(SHARE * limit, self.to_prove / self.jobs - beyond)
        return Reason.TIME if self.clock.left < kept else None

    def _start(self) -> None:
        """Heuristic points at many scales, each then at the scale that is best for them."""
        self.upper, pace = math.inf, Pace(self.clock)
        for scale in np.geomspace(self.low, self.high, SCAN):
            cs = [row.heuristic(float(scale)) for row in self.rows]
            self._offer(cs)
            if pace.ended():
                return
        for _ in range(5):
            if pace.ended():
                return
            before = self.upper
            self._offer([row.heuristic(self.scale) for row in self.rows])
            if not self.upper < before:
                break

    def _offer(self, cs: list[FloatArray]) -> None:
        """Take points over if they are the best so far at their best common scale."""
        scale, error = best_scale(self.rows, cs, self.low, self.high)
        if error < self.upper:
            self.scale, self.upper, self.points = scale, error, cs
            for row, c in zip(self.rows, cs, strict=True):
                row.share = row.error(scale, c)

    def _bound(self, a: float, b: float) -> Interval:
        """Lower bound of the total error for u = 1 / scale in [a, b]; 0 where the time ends before it is there."""
        centre, half = (a + b) / 2, (b - a) / 2 * (1 + 1e-12)
        limit = self.clock.limit(1e-3)
        left = None if limit is None else limit / len(self.rows)
        inner = dataclasses.replace(self.options, time_limit=left, gap=self.options.gap / 4, report=None)
        single = len(self.rows) == 1
        starts = self.points if single else [row.heuristic(1 / centre) for row in self.rows]
        stiffness = self._stiffness(centre, half, starts)

        def one(i: int) -> tuple[float, Found, float] | None:
            if self.clock.ended() is not None:
                return None
            row, start, begin = self.rows[i], starts[i], time.perf_counter()
            slope = 2 * row.share * centre if single else row.slope(centre, start)
            enough = needed(self.upper, slope, stiffness[i], centre, half) if single else math.inf
            given = centre, slope, stiffness[i], inner, start, enough
            least = in_time(lambda: row.least(*given), self.end, len(start))
            return None if least is None else (slope, least, time.perf_counter() - begin)

        if self.jobs == 1 or single:
            found_of = [one(i) for i in range(len(self.rows))]
        else:
            with ThreadPoolExecutor(self.jobs) as pool:
                found_of = list(pool.map(one, range(len(self.rows))))
        known = [each for each in found_of if each is not None]
        if len(known) < len(found_of):
            return Interval(0.0, a, b, (NO_TIME,) * len(found_of), 0.0)
        slopes, found, seconds = zip(*known, strict=True)
        self.nodes += sum(each.nodes for each in found)
        self.searches += len(found)
        self._offer([each.x for each in found])
        least = math.fsum(each.least for each in found)
        bound = interval_bound(least, math.fsum(slopes), math.fsum(row.k for row in self.rows), centre, half)
        return Interval(bound, a, b, tuple(each.piece for each in found), math.fsum(seconds))

    def _stiffness(self, centre: float, half: float, starts: Sequence[FloatArray]) -> list[float]:
        """k of each row.

        A single row slides only to worse errors, if its slope is that of the best one known. Rows that share a
        scale would each slide to their own best one: that must cost more the narrower the interval, and more where
        there is more to be had. Powers of two, so that intervals have the same matrix.
        """
        if len(self.rows) == 1:
            row = self.rows[0]
            return [STIFFNESS * max(row.share, 1e-9 * self.upper, 1e-14 * row.reference, LITTLE)]
        here = [row.error(1 / centre, start) for row, start in zip(self.rows, starts, strict=True)]
        least = LEAST * max(math.fsum(here), self.upper) / len(here)
        units = [max(row.share, e, least, 1e-14 * row.reference) for row, e in zip(self.rows, here, strict=True)]
        times = max(STIFFNESS, SHARED * centre / half)
        return [2.0 ** round(math.log2(min(max(times * unit, LITTLE), MUCH))) for unit in units]

    def _intervals(self) -> list[Interval]:
        return sorted((interval for _, _, interval in self.heap), key=lambda interval: interval.a)

    def results(self) -> list[RowResult]:
        """Each row at the best scale; a lower bound for it only if it has the scale for itself."""
        points, alone = iter(self.points), len(self.numbers) == 1
        best = with_scale(self.problem, self.numbers[0], self.scale)
        seconds = (time.perf_counter() - self.begin) / len(self.numbers)
        info: dict[str, Any] = {"scale_low": self.low, "scale_high": self.high, "searches": self.searches}
        proofs = self._proofs(info)
        out = []
        for i, row in zip(self.numbers, self.all_rows, strict=True):
            whole = best.row(i)
            stated = presolve(whole)
            x = np.zeros(0) if stated.problem is None else fallback_point(stated.problem)
            if row.searched and self.points:
                x = self.scale * next(points)
            proof = next(proofs, None) if row.searched else None
            outcome = Outcome(
                x, self.lower if alone else 0.0, self.reason, self.nodes, info, proof if alone else None
            )
            result = checked("bnb", stated, self.options, outcome, seconds, self.proof_by)
            if not alone:  # what it proves of the row alone is that it is not below 0
                each = self.proven.seconds / len(self.numbers)
                result = dataclasses.replace(result, proof=proof, verify_seconds=each)
            own = result.lower if alone else None
            out.append(RowResult(self.problem.rows[i], whole.reference, result, {}, own))
        return out

    def _proofs(self, info: dict[str, Any]) -> Iterator[Scales]:
        """Of the rows that were searched; the reason goes to `info` where there are none."""
        if not self.lower > 0 or self.options.stop.is_set():
            return iter(())
        if len(self.numbers) == 1:
            proofs = scale_proofs(self.rows, self.lower, self._intervals())
            if isinstance(proofs, str):
                info["unproven"] = proofs
                return iter(())
            return iter(proofs)
        part("proof of rows that share a scale")
        given = self.rows, self.lower, self._intervals(), self.proof_by, self.nodes, self.jobs
        self.proven = prove_together(*given)
        if self.proven.why is not None:
            info["unproven"] = self.proven.why
        return iter(self.proven.proofs)

    def total(self, rows: LayerResult) -> LayerResult:
        """Of rows that share a scale: what holds of their sum."""
        rounding, gap = sum_up(row.result.rounding for row in rows.rows), self.options.gap
        lower, proven = min(self.lower, rows.upper), min(self.proven.lower, rows.upper)
        kind = BoundKind.NUMERICAL if lower > 0 else BoundKind.NONE
        solved = closed(lower, rows.upper, rounding, gap)
        # what is proven counts if it says the same, as with a row
        same = closed(proven, rows.upper, rounding, gap) if solved else proven >= lower * WORTH
        if proven > 0 and same:
            lower, kind = proven, BoundKind.RIGOROUS
        reason = Reason.FINISHED if solved else self.reason
        return dataclasses.replace(
            rows, lower=lower, reason=reason, bound_kind=kind, solved=solved, proven=self.proven.lower
        )
