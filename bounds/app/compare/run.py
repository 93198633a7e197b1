"""A comparison from its settings to its outputs: checks, progress, files, what an interrupt leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pvq.layers.files import write_json
from pvq.solvers.base import Solver, SolverUnavailable, UnsupportedProblem
from pvq.solvers.bound.shared_diagonal import SharedDiagonal
from pvq.solvers.compare.layer import Comparison
from pvq.solvers.compare.network import Task, compare_all, find_tasks
from pvq.solvers.registry import get_solver, solver_class, solver_names

from ...errors import ProblemError
from ..interrupt import stop_on_interrupt
from ..output import check_writable
from ..report import environment
from .document import add_pair, known_pairs, new_document, read_document, settings, summarise
from .gap_table import SUFFIXES, write_gap_table
from .progress import pair_progress
from .text import print_comparison

LADDER = ("bound", "bnb")
"""`--solver auto`: one diagonal for the layer, then relaxations of each row, then exact search."""
WRITE_EVERY = 5.0
"""Seconds between two writes of the JSON file while the comparison runs."""


@dataclass(frozen=True)
class Output:
    """Where results go."""

    json: str | None
    table: Path | None
    figure: Path | None
    resume: bool
    quiet: bool

    def check(self) -> None:
        """Raise `ProblemError` before any work for what cannot be written."""
        if self.resume and self.json in (None, "-"):
            raise ProblemError("--resume needs --json FILE, the file to go on from")
        check_writable(self.json)
        check_writable(self.table, suffixes=SUFFIXES)
        if self.figure is not None:
            from ..figures import FORMATS, check_matplotlib

            check_writable(self.figure, suffixes=FORMATS)
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
    """Compare, write and print; whether it was interrupted."""
    begin = last = time.perf_counter()
    tasks = find_tasks(paths)
    chosen = settings(what, solver)
    earlier = read_document(Path(output.json), tasks, chosen) if output.resume and output.json else None
    document = new_document(tasks, chosen, what.bits, earlier)
    compared = sum(task.skipped is None for task in tasks)
    if output.figure is not None:
        from .figure import PANELS, comparison_figure

        if compared <= PANELS:  # bands need both ends of both sides, verdicts do not
            what = replace(what, full=True)
    with (
        stop_on_interrupt() as stop,
        pair_progress(compared * len(what.bits), output.quiet) as advance,
    ):
        what = replace(what, options=replace(what.options, stop=stop))

        def on_pair(task: Task, pair: dict[str, Any]) -> None:
            nonlocal last
            add_pair(document, task.name, pair)
            advance(task.name, pair)
            if output.json not in (None, "-") and time.perf_counter() - last > WRITE_EVERY:
                summarise(document)
                write_json(str(output.json), document)
                last = time.perf_counter()

        compare_all(tasks, what, jobs, known_pairs(earlier), on_pair)
    summarise(document)
    interrupted = stop.is_set()
    document["environment"] = {
        **environment(solver, jobs, 0.0, time.perf_counter() - begin),
        "interrupted": interrupted,
    }
    if output.json is not None:
        write_json(output.json, document)
    if output.table is not None:
        write_gap_table(output.table, document)
    if output.figure is not None:
        comparison_figure(output.figure, document)
    if output.json != "-":
        print_comparison(document)
    return interrupted
