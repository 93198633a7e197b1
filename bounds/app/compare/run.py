"""A comparison from its settings to its outputs: checks, progress, files, what an interrupt leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pvq.layers.files import Record, write_each, write_json
from pvq.layers.format import LayerError
from pvq.layers.lock import only_writer
from pvq.layers.outputs import check_outputs
from pvq.solvers.base import Solver, SolverUnavailable, UnsupportedProblem
from pvq.solvers.bound.shared_diagonal import SharedDiagonal
from pvq.solvers.compare.layer import Comparison
from pvq.solvers.compare.network import Task, compare_all, find_tasks
from pvq.solvers.registry import get_solver, solver_class, solver_names

from ...errors import ProblemError
from ..figures import FORMATS, check_matplotlib
from ..interrupt import stop_on_interrupt
from ..report import environment
from .document import add_failure, add_pair, known_pairs, new_document, read_document, settings, summarise
from .figure import PANELS, comparison_figure
from .gap_table import SUFFIXES, write_gap_table
from .progress import pair_progress
from .text import print_comparison

LADDER = ("bound", "bnb")
"""`--solver auto`: one diagonal for the layer, then relaxations of each row, then exact search."""
WRITE_EVERY = 1.0
"""Seconds between two writes of the JSON file while the comparison runs."""


@dataclass(frozen=True)
class Output:
    """Where results go."""

    json: str | None
    table: Path | None
    figure: Path | None
    resume: bool
    quiet: bool

    def check(self, inputs: Sequence[str | Path]) -> None:
        """Raise `ProblemError` before any work for what cannot be written."""
        if self.resume and self.json in (None, "-"):
            raise ProblemError("--resume needs --json FILE, the file to go on from")
        check_outputs(
            {"--json": self.json, "--table": self.table, "--figure": self.figure},
            inputs,
            {"--table": SUFFIXES, "--figure": FORMATS},
        )
        if self.figure is not None:
            check_matplotlib()


def engines_by_name(name: str) -> list[Solver]:
    """The solvers that bounds come from, in the order they are asked.

    Raises
    ------
    ProblemError, SolverUnavailable
        Unknown, proves nothing, or not installed.
    """
    engines = [SharedDiagonal(), *map(get_solver, LADDER)] if name == "auto" else [get_solver(name)]
    for engine in engines:
        if engine.proves == "nothing":
            raise UnsupportedProblem(f"'{engine.name}' proves nothing; --solver takes a solver that bounds")
        if not engine.is_available():
            hint = f"; pip install 'pvq-bound[{engine.extra}]'" if engine.extra else ""
            raise SolverUnavailable(f"solver '{engine.name}' is not installed{hint}")
    return engines


def methods_by_name(names: str | None, update: bool) -> list[Solver]:
    """Empirical methods by name; `all` means all there are.

    Raises
    ------
    ProblemError, UnsupportedProblem
        An unknown name, a solver that bounds, or a method that needs free weights where they are fixed.
    """
    if names is None:
        return []
    if names == "all":
        return [get_solver(name) for name in solver_names() if solver_class(name).proves == "nothing"]
    methods = [get_solver(name.strip()) for name in names.split(",") if name.strip()]
    for method in methods:
        if method.proves != "nothing":
            raise UnsupportedProblem(f"--compare is for empirical methods; '{method.name}' bounds: use --solver")
        if not (update or method.no_update or "quant" in method.methods):
            raise UnsupportedProblem(f"'{method.name}' cannot keep the weights fixed (--no-update)")
    return methods


def run_comparison(paths: Sequence[Path], what: Comparison, solver: str, jobs: int, output: Output) -> bool:
    """Compare, write and print; whether it was interrupted.

    Raises
    ------
    LayerError
        Layers could not be read again when it was their turn; everything else is compared, printed and written.
    """
    with only_writer(output.json):
        return _run(paths, what, solver, jobs, output)


def _run(paths: Sequence[Path], what: Comparison, solver: str, jobs: int, output: Output) -> bool:
    begin = time.perf_counter()
    tasks = find_tasks(paths)
    chosen = settings(what, solver)
    earlier = read_document(Path(output.json), tasks, chosen) if output.resume and output.json else None
    document = new_document(tasks, chosen, what.bits, earlier)
    compared = sum(task.skipped is None for task in tasks)
    if output.figure is not None and compared <= PANELS:  # bands need both ends of both sides, verdicts do not
        what = replace(what, full=True)
    kept = Record(output.json, WRITE_EVERY)
    failures: list[str] = []

    def current() -> dict[str, Any]:
        summarise(document)
        return document

    with (
        stop_on_interrupt() as stop,
        pair_progress(compared * len(what.bits), output.quiet) as advance,
    ):
        what = replace(what, options=replace(what.options, stop=stop))

        def on_pair(task: Task, pair: dict[str, Any]) -> None:
            add_pair(document, task.name, pair)
            advance(task.name, pair)
            kept.update(current)

        def on_failed(task: Task, why: str) -> None:
            failures.append(why)
            add_failure(document, task.name, why)

        compare_all(tasks, what, jobs, known_pairs(earlier), on_pair, on_failed)
    summarise(document)
    interrupted = stop.is_set()
    document["environment"] = {
        **environment(solver, jobs, 0.0, time.perf_counter() - begin),
        "interrupted": interrupted,
    }
    write_each(
        lambda: print_comparison(document),
        (output.json, lambda path: write_json(path, document)),
        (output.table, lambda path: write_gap_table(Path(path), document)),
        (output.figure, lambda path: comparison_figure(Path(path), document)),
    )
    if failures and not interrupted:
        raise LayerError("; ".join(failures))
    return interrupted
