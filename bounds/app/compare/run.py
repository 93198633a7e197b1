"""A comparison from its settings to its outputs: checks, progress, files, what an interrupt leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pvq.layers.files import Record, write_each, write_json
from pvq.layers.format import LayerError
from pvq.layers.lock import only_writer
from pvq.layers.outputs import check_outputs
from pvq.solvers.compare.document import (
    add_failure,
    add_pair,
    known_pairs,
    new_document,
    read_document,
    settings,
    summarise,
)
from pvq.solvers.compare.layer import Comparison
from pvq.solvers.compare.network import Task, compare_all, find_tasks
from pvq.solvers.document import environment
from pvq.solvers.interrupt import stop_on_interrupt
from pvq.solvers.watch import watched

from ...errors import ProblemError
from ..figures import FORMATS, check_matplotlib
from ..progress import stages
from .figure import PANELS, comparison_figure
from .gap_table import SUFFIXES, write_gap_table
from .progress import pair_progress
from .text import print_comparison

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
    with stages("reading layers", output.quiet):
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

        lock, left = threading.Lock(), False  # what is left behind must not touch the document any more

        def on_pair(task: Task, pair: dict[str, Any]) -> None:
            with lock:
                if not left:
                    add_pair(document, task.name, pair)
                    advance(task.name, pair)
                    kept.update(current)

        def on_failed(task: Task, why: str) -> None:
            with lock:
                if not left:
                    failures.append(why)
                    add_failure(document, task.name, why)

        def work() -> bool:
            compare_all(tasks, what, jobs, known_pairs(earlier), on_pair, on_failed)
            return True

        ended = watched(work, stop)
        with lock:
            left = True
        if ended is None:
            for name, known in list(what.running.items()):
                add_pair(document, name, known())
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
