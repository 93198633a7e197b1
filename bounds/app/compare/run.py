"""A comparison from its settings to its outputs: checks, progress, files, what an interrupt leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pvq
from pvq.bounds.errors import ProblemError
from pvq.layers.files import Record, write_each, write_json
from pvq.layers.format import LayerError
from pvq.layers.lock import only_writer
from pvq.layers.outputs import OutputError, check_outputs
from pvq.solvers.interrupt import stop_on_interrupt

from ..figures import FORMATS, check_matplotlib
from ..run.text import say_faults
from ..run.through import bounded, exit_code
from .figure import comparison_figure
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
    solutions: Path | None
    resume: bool
    quiet: bool

    def check(self, inputs: Sequence[str | Path]) -> None:
        """Raise `ProblemError` before any work for what cannot be written."""
        if self.resume and self.json in (None, "-"):
            raise ProblemError("--resume needs --json FILE, the file to go on from")
        files = {"--json": self.json, "--table": self.table, "--figure": self.figure}
        for option, path in files.items():
            if path is not None and Path(path).absolute() == (self.solutions and self.solutions.absolute()):
                raise OutputError(f"cannot write {option} {path}: it is the folder of --save-solutions")
        check_outputs(
            files,
            inputs,
            {"--table": SUFFIXES, "--figure": FORMATS},
        )
        if self.figure is not None:
            check_matplotlib()

    def write(self, document: Mapping[str, Any]) -> None:
        """Print a comparison, and write what was asked for."""
        write_each(
            lambda: print_comparison(document),
            (self.json, lambda path: write_json(path, document)),
            (self.table, lambda path: write_gap_table(Path(path), document)),
            (self.figure, lambda path: comparison_figure(Path(path), document)),
        )


def run_through(
    ledger: Path | None,
    paths: Sequence[Path],
    made: Mapping[str, Any],
    search: Mapping[str, Any],
    output: Output,
) -> int:
    """Compare in a run, which is kept where `ledger` names its folder; the exit code."""
    with bounded(ledger, paths, made, search, output.quiet) as (run, ended):
        output.write(run.document())
        say_faults(ended)
    return exit_code(ended)


def run_comparison(paths: Sequence[Path], asked: Mapping[str, Any], output: Output) -> bool:
    """Compare, write and print; whether it was interrupted.

    Parameters
    ----------
    asked : parameters of `pvq.compare`.

    Raises
    ------
    LayerError
        Layers could not be read again when it was their turn; everything else is compared, printed and written.
    """
    with only_writer(output.json):
        kept = Record(output.json, WRITE_EVERY)
        with stop_on_interrupt() as stop, pair_progress(output.quiet) as shown:

            def keep(comparison: pvq.Comparison) -> None:
                shown.of(comparison.document, comparison.bits)
                kept.update(lambda: comparison.document)

            found = pvq.compare(
                paths,
                **asked,
                earlier=output.json if output.resume else None,
                progress=shown.pair,
                keep=keep,
                stop=stop,
            )
        output.write(found.document)
    if found.failures and not found.is_interrupted:
        raise LayerError("; ".join(found.failures))
    return found.is_interrupted
