"""The work of one chunk: a function of plain values, wherever it runs, with what a layer shares kept beside it."""

from __future__ import annotations

import io
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pvq.bounds.certificate import save_certificate
from pvq.bounds.gram import Gram
from pvq.bounds.layer_problem import LayerProblem, Setting, state_problem
from pvq.bounds.outliers import outliers_db
from pvq.bounds.outward import sum_up
from pvq.layers.format import Layer, LayerError, load_layer
from pvq.layers.solutions import Solution, put_solution

from ..base import Options, Solver
from ..certify import build_certificate
from ..compare.bounds import BREAKS
from ..compare.engines import methods_by_name
from ..document import packages, row_grid
from ..methods import empirical_methods
from ..registry import get_solver
from ..result import BoundKind, Reason
from ..rows import RowResult, applicable, not_solved, prepare, solve_rows, summarise
from .record import Piece, Record, effort_of
from .told import OUTLIERS

KEPT_LAYERS, KEPT_PROBLEMS = 2, 8
"""Layers and problems that a worker keeps: a layer of 4096 inputs is 0.3 GB, its factors as much again."""


@dataclass(frozen=True)
class RowSearch:
    """How rows are bounded; one row's time limit, None for none."""

    solver: str = "auto"
    methods: tuple[str, ...] | str | None = ()
    """Empirical methods to score and to start from; None for the usual one of a problem."""
    time_limit: float | None = 10.0
    gap: float = 1e-6
    seed: int = 0
    device: str = "cpu"
    high: bool = False
    """Whether rows that no search ends get blocks of their own, as with `effort` high of `Options`."""
    weights: bool = False
    """Hand over files of the best weights."""
    certificates: bool = False
    """Hand over files of the proofs."""

    @property
    def effort(self) -> float:
        """Seconds a row."""
        return effort_of(self.time_limit)

    @property
    def asked(self) -> str:
        """The solver, and whether it was to make an effort: rows are due again where another one is asked for."""
        return f"{self.solver}, effort high" if self.high and self.solver else self.solver

    @property
    def scores_only(self) -> bool:
        """Whether nothing is to be proven."""
        return self.solver == ""


@dataclass(frozen=True)
class Chunk:
    """Rows of one layer under one setting that are to be bounded."""

    id: int
    path: Path
    sha256: str
    setting: Setting
    levels: tuple[float, ...] | None
    first: int
    stop: int
    rows: tuple[int, ...]
    """Those of first ... stop - 1 that are due."""
    task: int
    search: RowSearch


class Shelf:
    """Layers, and problems with what was prepared for them; the last few."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._layers: OrderedDict[str, _Once] = OrderedDict()
        self._problems: OrderedDict[Any, _Once] = OrderedDict()

    def layer(
        self, path: Path, sha256: str, read: Callable[[Path], Layer] = load_layer
    ) -> tuple[Layer, tuple[Gram, ...]]:
        """A layer and its Gram matrices; `read` is asked where it is not kept.

        Raises
        ------
        LayerError
            The file is gone, damaged, or has other numbers than when the run was made.
        """

        def load() -> tuple[Layer, tuple[Gram, ...]]:
            layer = read(path)
            if layer.sha256 != sha256:
                raise LayerError(f"{path}: has changed since the run was made")
            return layer, tuple(Gram.from_array(gram) for gram in layer.grams)

        found: tuple[Layer, tuple[Gram, ...]] = self._of(self._layers, sha256, KEPT_LAYERS).get(load)
        return found

    def problem(self, chunk: Chunk) -> tuple[Layer, LayerProblem]:
        """The problem of the whole layer."""
        layer, grams = self.layer(chunk.path, chunk.sha256)
        key = (chunk.sha256, chunk.setting, chunk.levels)

        def state() -> LayerProblem:
            return state_problem(layer.weight, layer.grams, chunk.setting, levels=chunk.levels, checked=grams)

        return layer, self._of(self._problems, key, KEPT_PROBLEMS).get(state)

    def prepared(self, chunk: Chunk, problem: LayerProblem, solvers: Sequence[Solver], options: Options) -> None:
        """Layer-wide work, once for a problem."""
        names = tuple(solver.name for solver in solvers)
        key = (chunk.sha256, chunk.setting, chunk.levels, names)
        self._of(self._problems, key, KEPT_PROBLEMS).get(lambda: prepare(problem, solvers, options))

    def outliers_db(self, chunk: Chunk, layer: Layer, problem: LayerProblem) -> float | None:
        """What one scale for all costs, looked at once for a problem."""
        key = (chunk.sha256, chunk.setting, chunk.levels, OUTLIERS)
        found: float | None = self._of(self._problems, key, KEPT_PROBLEMS).get(
            lambda: outliers_db(problem, layer.weight)
        )
        return found

    def _of(self, kept: OrderedDict[Any, _Once], key: Any, most: int) -> _Once:
        with self._lock:
            found = kept.setdefault(key, _Once())
            kept.move_to_end(key)
            while len(kept) > most:
                kept.popitem(last=False)
            return found


class _Once:
    """A value that the first who asks makes, while others wait for it."""

    def __init__(self) -> None:
        self._lock, self._value, self._made = threading.Lock(), None, False

    def get(self, make: Callable[[], Any]) -> Any:
        with self._lock:
            if not self._made:
                self._value, self._made = make(), True
            return self._value


def work_on(chunk: Chunk, shelf: Shelf, stop: threading.Event, tell: Callable[[Piece], object]) -> None:
    """Bound the rows of a chunk and tell of them as they are finished; what does not depend on which are left.

    Raises
    ------
    LayerError
        As `Shelf.layer`.
    """
    layer, problem = shelf.problem(chunk)
    search = chunk.search
    options = Options(
        time_limit=search.time_limit,
        gap=search.gap,
        seed=search.seed,
        device=search.device,
        effort="high" if search.high else "normal",
        prove=search.certificates,
        stop=stop,
    )
    example = problem.row(chunk.first)
    usual = empirical_methods(None, example)
    engine = usual[0] if search.scores_only else get_solver(search.solver)
    asked = usual if search.methods is None else methods_by_name(search.methods, update=True)
    named = applicable(asked, example)
    compare = [method for method in named if method.name != engine.name]
    shelf.prepared(chunk, problem, (engine, *compare), options)
    cost = shelf.outliers_db(chunk, layer, problem)
    facts = {"rank": problem.rank, "gram_shift": problem.gram_shift, "dead_inputs": problem.dead_inputs}
    facts |= {} if cost is None else {OUTLIERS: cost}
    grams = problem.gram_of_row
    size = engine.together(example) if grams[chunk.first] == grams[chunk.stop - 1] else 1
    due = set(chunk.rows)
    for first in range(chunk.first, chunk.stop, size):
        numbers = [row for row in range(first, min(first + size, chunk.stop)) if row in due]
        if not numbers:
            continue
        if stop.is_set():
            return
        rows = [problem.row(i) for i in numbers]
        try:
            found = solve_rows(numbers, rows, engine, options, compare)
        except BREAKS:
            broken = [replace(not_solved(row, engine), reason=Reason.FAILURE) for row in rows]
            found = [
                RowResult(number, row.reference, result, lower=0.0)
                for number, row, result in zip(numbers, rows, broken, strict=True)
            ]
        if search.scores_only:
            found = [_scored(row, engine.name) for row in found]
        told = [row for row in found if row.result.reason is not Reason.INTERRUPT or row.result.lower > 0]
        if told:
            tell(_piece(chunk, layer, problem, told, options, facts))


def _scored(row: RowResult, name: str) -> RowResult:
    """The score of the method that stood for the solver."""
    return replace(row, empirical={name: row.result.upper, **row.empirical})


def _piece(
    chunk: Chunk,
    layer: Layer,
    problem: LayerProblem,
    found: Sequence[RowResult],
    options: Options,
    facts: dict[str, Any],
) -> Piece:
    search, files = chunk.search, dict[str, bytes]()
    effort = -1.0 if search.scores_only else search.effort
    records: list[Record] = []
    word = ("all" if math.isinf(search.effort) else f"{search.effort:g}s") + "-high" * search.high
    for some in _runs(found):
        part = rows_of(problem, some[0].row, some[-1].row + 1)
        name = f"{chunk.task}/{some[0].row}-{some[-1].row}-{search.solver or 'scores'}-{word}.npz"
        weights = certificate = None
        if search.weights:
            weights = f"weights/{name}"
            files[weights] = _weights(layer, part, some, chunk.setting)
        if search.certificates and any(map(_is_proven, some)):
            certificate = f"certificates/{name}"
            buffer = io.BytesIO()
            save_certificate(buffer, build_certificate(layer, part, summarise(some, options)))
            files[certificate] = buffer.getvalue()
        for row in some:
            record = _record(chunk.id, problem, row, search.asked, effort)
            proof = certificate if _is_proven(row) else None
            records.append(replace(record, weights=weights, certificate=proof))
    return Piece(chunk.id, tuple(records), packages(), facts, files)


def _is_proven(row: RowResult) -> bool:
    """Whether a certificate says something of it: an error next to 0 needs no proof that it is not below."""
    return row.result.proof is not None or row.result.bound_kind is BoundKind.RIGOROUS


def _record(chunk: int, problem: LayerProblem, found: RowResult, asked: str, effort: float) -> Record:
    """A result of row `found.row` of a problem of a whole layer."""
    result = found.result
    rigorous = result.bound_kind is BoundKind.RIGOROUS
    grid = row_grid(problem, found.row)
    return Record(
        chunk=chunk,
        row=found.row,
        lower=result.lower,
        proven=result.lower if rigorous else 0.0,
        upper=result.upper,
        reference=found.reference,
        kind=result.bound_kind.value,
        solved=bool(result.solved),
        status=result.status.value,
        reason=result.reason.value,
        solver=result.solver,
        asked=asked,
        nodes=int(result.nodes),
        seconds=result.seconds,
        verify_seconds=result.verify_seconds,
        rounding=result.rounding,
        effort=-1.0 if result.reason is Reason.INTERRUPT else effort,
        grid=json.dumps(grid) if grid else None,
        empirical=json.dumps(dict(found.empirical)),
    )


def _runs(found: Sequence[RowResult]) -> list[list[RowResult]]:
    """Rows in runs of consecutive ones, as certificates have them."""
    runs: list[list[RowResult]] = []
    for row in found:
        if runs and runs[-1][-1].row + 1 == row.row:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def rows_of(problem: LayerProblem, first: int, stop: int) -> LayerProblem:
    """The problem of rows first ... stop - 1, which share a Gram matrix, of a problem of the whole layer."""
    return replace(
        problem,
        setting=replace(problem.setting, rows=(first, stop)),
        weight=problem.weight[first:stop],
        grams=(problem.grams[problem.gram_of_row[first]],),
        gram_of_row=problem.gram_of_row[first:stop] * 0,
        rows=range(first, stop),
    )


def _weights(layer: Layer, part: LayerProblem, found: Sequence[RowResult], setting: Setting) -> bytes:
    about = {"technique": setting.method, "bits": setting.bits, "sparsity": setting.sparsity}
    x = np.array([row.result.x for row in found])
    error = sum_up(row.result.upper for row in found)
    buffer = io.BytesIO()
    put_solution(buffer, Solution.of(layer, x, part.rows, part.inputs, error, **about))
    return buffer.getvalue()
