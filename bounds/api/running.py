"""One run of `bound` or `curve`: stated and checked, prepared, solved, modelled; Ctrl-C keeps what is proven."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from signal import SIGINT
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pvq.bounds.durations import seconds_of
from pvq.bounds.errors import ProblemError, check_number
from pvq.bounds.layer_problem import LayerProblem, at_sparsity, drawn, state_problem
from pvq.bounds.sampling import draw
from pvq.bounds.zero import zero_without_shift
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.budget import first_solver, solve_within
from pvq.solvers.certify import UNCHECKED
from pvq.solvers.compile_time import working_seconds
from pvq.solvers.curve import solve_curve
from pvq.solvers.device import check_device, device_note
from pvq.solvers.document import environment, packages, result_document
from pvq.solvers.interrupt import stop_on_interrupt
from pvq.solvers.layer import solve_layer
from pvq.solvers.layer_scope import unfinished
from pvq.solvers.methods import empirical_methods, left_out
from pvq.solvers.modelled import AHEAD, before_proofs, check_odds, modelled
from pvq.solvers.options import check_effort
from pvq.solvers.registry import get_solver
from pvq.solvers.result import Reason
from pvq.solvers.row_curve import row_curves
from pvq.solvers.rows import CUT_SHORT, LayerResult, RowResult, prepare
from pvq.solvers.sample import Beside, Sample
from pvq.solvers.scale import check_free_scale, solve_scales
from pvq.solvers.watch import Calls, Done, ahead, unhurried, watched

from .problems import Problem, setting_of
from .results import Result, Row
from .scales import AmbiguousScales, given_scales
from .threads import one_blas_thread

if TYPE_CHECKING:
    from pvq.bounds.volume import BeforeProofs, Model

PREPARING, ROWS, SAMPLE, MODEL = "preparing", "rows", "quick errors of all rows", "volume model"
"""Stages of a run, as `stage` is told of them."""


class Part(NamedTuple):
    """What of the layer is bounded, as in `bound`."""

    rows: Any = None
    inputs: Any = None
    ridge: float = 0.0
    scales: Any = None
    sample_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the optimum is looked for; the parameters of `bound`.

    Raises
    ------
    ProblemError
        A limit that is none; NaN is none.
    """

    solver: str = "auto"
    methods: Sequence[str] | str | None = None
    time_limit: float | None = 10.0
    gap: float = 1e-6
    jobs: int = 1
    seed: int = 0
    device: str = "cpu"
    effort: str = "normal"
    budget: float | str | None = None
    odds: float | None = None
    explain: bool = False
    certify: bool = False
    progress: Callable[[Row], object] | None = None
    stage: Callable[[str], object] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.solver, str):
            raise ProblemError(f"`solver` must be a name (pvq.installed_solvers()), not {self.solver!r}")
        names = [] if self.methods is None or isinstance(self.methods, str) else self.methods
        if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
            raise ProblemError(f"`methods` must be names, as ['gptq'], not {self.methods!r}")
        for name in ("progress", "stage"):
            if not (getattr(self, name) is None or callable(getattr(self, name))):
                raise ProblemError(f"`{name}` must be a function, not {getattr(self, name)!r}")
        check_number("seed", self.seed, whole=True)
        check_limits(self.time_limit, self.gap, self.jobs)
        check_device(self.device)
        check_effort(self.effort)
        check_odds(self.odds)
        if self.budget is not None:
            seconds_of("`budget`", self.budget)

    def options(self, stop: threading.Event) -> Options:
        """For the solvers."""
        return Options(
            time_limit=self.time_limit or None,
            gap=self.gap,
            seed=self.seed,
            device=self.device,
            effort=self.effort,
            prove=self.certify,
            stop=stop,
        )


def check_limits(time_limit: float | None, gap: float, jobs: int) -> None:
    """Raise `ProblemError` for limits that are none; NaN is none."""
    for name, value in (("time_limit", time_limit), ("gap", gap)):
        if value is not None or name == "gap":
            check_number(name, value)
    check_number("jobs", jobs, whole=True)
    if not (time_limit is None or time_limit >= 0):
        raise ProblemError(f"`time_limit` must not be negative (0: none) and is {time_limit}")
    if not gap >= 0:
        raise ProblemError(f"`gap` must not be negative and is {gap}")
    if jobs < 1:
        raise ProblemError(f"`jobs` must be at least 1, not {jobs}")


class Run:
    """What is asked of a layer, checked; `one` and `several` answer it."""

    @classmethod
    def start(cls, layer: Layer, problem: Problem, part: Part, search: Search, stop: threading.Event) -> Run:
        """State it where Ctrl-C is heard; raises KeyboardInterrupt where it came before anything is known."""
        run = watched(lambda: cls(layer, problem, part, search, stop), stop)
        if run is None:
            raise KeyboardInterrupt
        if run.doubt is not None:
            warnings.warn(run.doubt, AmbiguousScales, stacklevel=3)
        return run

    def __init__(self, layer: Layer, problem: Problem, part: Part, search: Search, stop: threading.Event) -> None:
        """Check everything and state the problem; raises as `bound` does."""
        self.begin, self.began = time.perf_counter(), working_seconds()
        if not isinstance(layer, Layer):
            kind = type(layer).__name__
            raise ProblemError(f"`layer` must be a pvq.Layer, not {kind}; pvq.load_layer reads a file")
        self.layer, self.search, self.options, self.calls = layer, search, search.options(stop), Calls()
        setting, levels = setting_of(problem, part.rows, part.inputs, part.ridge)
        own, self.doubt = None, None
        if part.scales is not None:
            setting, own, self.doubt = given_scales(part.scales, setting, levels, layer)
        self.engine = get_solver(search.solver)
        self.problem = state_problem(
            layer.weight, layer.grams, setting, levels=levels, free_scale=True, scales=own
        )
        if self.is_free:
            check_free_scale(self.problem, self.engine.name)
            if search.budget is not None:
                raise ProblemError("`budget` is not for `range` optimal; give `time_limit`")
        self.engine.check(self.problem.row(0))
        self.methods = empirical_methods(search.methods, self.problem.row(0))
        skipped = left_out(search.methods, self.problem.row(0))
        notes = [] if self.doubt is None else [self.doubt]
        self.notes = (*notes, *(f"not scored: {why}" for why in skipped))
        packages()
        self.whole: LayerProblem | None = None
        self.modelling: Done[BeforeProofs | None] | None = None
        if part.sample_rows is not None:
            self.sample(part.sample_rows)
        busy = max(1, min(search.jobs, len(self.problem)))  # cores that no row takes are those of the others
        self.options = replace(self.options, threads=max(1, (os.cpu_count() or 1) // busy))
        self.curves = None if self.problem.budget is None else row_curves(self.problem)

    def sample(self, count: int) -> None:
        """Take some of the rows at random; `whole` is the problem of all of them."""
        chosen = draw(self.problem.span, count, self.search.seed, self.layer.sha256)
        if len(chosen) == len(self.problem):
            return
        if self.is_free:
            raise ProblemError("`range` optimal is for all rows, not for a sample: they may share the scale")
        self.whole, self.problem = self.problem, drawn(self.problem, chosen)

    @property
    def is_free(self) -> bool:
        """Whether the scale is part of the search."""
        return self.problem.setting.quantizes and self.problem.setting.range == "optimal"

    def one(self) -> Result:
        """Bound the layer."""
        known: list[RowResult] = []

        def keep(row: RowResult) -> None:
            known.append(row)
            self.tell(row)

        def solve() -> tuple[LayerProblem, LayerResult] | None:
            if self.is_free:  # rows are judged anew at the scale that is found
                return solve_scales(self.problem, self.options, self.methods, self.search.jobs, self.tell)
            jobs, curves = self.search.jobs, self.curves
            if self.search.budget is not None:
                left = seconds_of("`budget`", self.search.budget) - (working_seconds() - self.began)
                within = replace(self.options, time_limit=max(left, 0.0))
                found = solve_within(self.problem, self.engine, within, self.methods, jobs, keep, known.append)
                late = [method.name for method in self.methods if method.name not in found.empirical]
                if late and not self.options.stop.is_set():
                    self.notes = (*self.notes, f"not scored: no time left for {', '.join(late)} on every row")
                return self.problem, found
            found = solve_layer(
                self.problem, self.engine, self.options, self.methods, jobs, keep, curves, fill=False
            )
            return (self.problem, found) if len(found.rows) == len(self.problem) else None

        if self.search.jobs > 1 and len(self.problem.inputs) >= AHEAD:
            self.modelling = ahead(lambda: before_proofs(self.problem, self.search.odds, self.layer.weight))
        prepared, found = self.prepared(), None
        if prepared is not None:
            found = watched(solve, self.options.stop, calls=self.calls)
        if found is None:
            found = self.problem, unfinished(self.problem, self.engine, self.options, known, self.curves)
        return self.results([found], prepared)[0]

    def several(self, sparsities: Sequence[float]) -> list[Result]:
        """Bound the layer at several sparsities."""
        problems = [at_sparsity(self.problem, sparsity) for sparsity in sparsities]
        so_far: list[list[RowResult]] = [[] for _ in problems]

        def solve() -> list[LayerResult]:
            jobs, tell = self.search.jobs, self.tell
            return solve_curve(problems, self.engine, self.options, self.methods, jobs, tell, so_far, self.curves)

        prepared, found = self.prepared(), None
        if prepared is not None:
            found = watched(solve, self.options.stop, calls=self.calls)
        if found is None:
            known = zip(problems, so_far, strict=True)
            found = [unfinished(p, self.engine, self.options, list(rows), self.curves) for p, rows in known]
        return self.results(list(zip(problems, found, strict=True)), prepared)

    def prepared(self) -> float | None:
        """Seconds that came before the first row; None where Ctrl-C came in between."""
        self.stage(PREPARING)

        def work() -> bool:
            # with a budget, what rows need one by one is prepared when their turn comes
            engine = self.engine if self.search.budget is None else first_solver(self.problem, self.engine)
            return prepare(self.problem, (engine, *self.methods), self.options, self.search.jobs)

        whole = watched(work, self.options.stop)
        if whole is None:
            return None
        if not whole:
            self.notes = (*self.notes, CUT_SHORT)
        self.stage(ROWS)
        return time.perf_counter() - self.begin

    def stage(self, name: str) -> None:
        """Say what begins."""
        if self.search.stage is not None:
            self.search.stage(name)

    def tell(self, row: RowResult) -> None:
        """Hand a finished row to the caller, in its own thread."""
        progress = self.search.progress
        if progress is None:
            return
        try:
            self.calls.make(lambda: progress(Row.of(row)))
        except KeyboardInterrupt:
            self.options.stop.set()

    def results(self, solved: Sequence[tuple[LayerProblem, LayerResult]], prepared: float | None) -> list[Result]:
        """Each with its model and what it took."""
        models = [self.model(*pair) for pair in solved]
        seconds = time.perf_counter() - self.begin
        used = environment(self.engine.name, self.search.jobs, seconds if prepared is None else prepared, seconds)
        results = []
        for (stated, found), model in zip(solved, models, strict=True):
            said = None if model is None else model.as_json(self.search.explain)
            sample = self.estimated(stated, found)
            zero = None
            if not self.options.stop.is_set():
                zero = zero_without_shift(stated, self.layer.grams, self.layer.out)
            document = result_document(self.layer, stated, self.options, found, used, said, sample, zero)
            place = device_note((row.result for row in found.rows), self.search.device)
            notes = self.notes if place is None else (*self.notes, place)
            if self.search.certify and found.reason is Reason.INTERRUPT:
                notes = (*notes, UNCHECKED)
            results.append(Result(self.layer, stated, found, document, model, notes, sample, zero))
        return results

    def estimated(self, problem: LayerProblem, result: LayerResult) -> Sample | None:
        """What the drawn rows say of all, None where none were drawn or Ctrl-C came."""
        stop, whole = self.options.stop, self.whole
        if whole is None or stop.is_set():
            return None
        if problem.setting.sparsity is not None:
            whole = at_sparsity(whole, problem.setting.sparsity)
        self.stage(SAMPLE)
        beside = watched(lambda: Beside.of(whole, self.options), stop)
        return None if beside is None else Sample.take(problem, result, beside, self.search.seed)

    def model(self, problem: LayerProblem, result: LayerResult) -> Model | None:
        """What the volume model says beside the result, with the proven ends for the rows that it leaves out."""
        stop, odds = self.options.stop, self.search.odds
        if stop.is_set():
            return None
        if problem.setting.method == "quant":
            self.stage(MODEL)
        lower = np.array([row.lower or 0.0 for row in result.rows])
        upper = np.array([row.result.upper for row in result.rows])
        begun = self.modelling if problem is self.problem else None

        def state() -> Model | None:
            if begun is None:
                return modelled(problem, odds, self.layer.weight, lower, upper)
            found = begun.wait()
            return None if found is None else found.beside(lower, upper)

        return watched(state, stop)


@contextmanager
def quiet_machine(stop: threading.Event | None) -> Iterator[threading.Event]:
    """One BLAS thread, and an event that Ctrl-C sets; where the caller has an event, signals are the caller's."""
    try:
        with one_blas_thread():
            if stop is not None:
                yield stop
                return
            with stop_on_interrupt(SIGINT) as event:
                yield event
    finally:
        unhurried()
