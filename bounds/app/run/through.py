"""Commands whose rows go through a run: one that is named and kept, or one for the moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pvq
from pvq.bounds.errors import ProblemError
from pvq.layers.files import write_each, write_json
from pvq.layers.outputs import OutputError
from pvq.solvers.interrupt import stop_on_interrupt

from .progress import row_progress
from .text import print_layers


def refuse(asked: Mapping[str, object]) -> None:
    """Raise `ProblemError` for the first option that was given and that runs do not have."""
    for option, value in asked.items():
        if value not in (None, False):
            raise ProblemError(f"{option} is for one layer in this process, without --ledger and --cluster")


@contextmanager
def bounded(
    folder: Path | None, layers: Sequence[Path], made: Mapping[str, Any], search: Mapping[str, Any], quiet: bool
) -> Iterator[tuple[pvq.Ledger, dict[str, Any]]]:
    """Make a run, or take the one that is there, and bound what is due; the run and how it ended.

    Parameters
    ----------
    folder : of the run; None for one that is gone afterwards.
    made, search : parameters of `pvq.Ledger.create` and `pvq.Ledger.go`.
    """
    with _for_the_moment() if folder is None else nullcontext(folder) as place:
        run = pvq.Ledger.create(place, layers, **made, again=True)
        before = run.status()
        with stop_on_interrupt() as stop, row_progress(before["rows"], before["known"], quiet) as shown:
            ended = run.go(**search, progress=shown, stop=stop)
        yield run, ended


@contextmanager
def _for_the_moment() -> Iterator[Path]:
    """Of a run that is gone afterwards; raises `OutputError` where nothing temporary can be written."""
    try:
        folder = TemporaryDirectory(prefix="pvq-run-")
    except OSError as error:
        raise OutputError.of("a temporary folder (TMPDIR names one)", error) from None
    with folder as path:
        yield Path(path) / "run"


def exit_code(ended: Mapping[str, Any]) -> int:
    """Of a run that ended so."""
    return 130 if ended["interrupted"] else 1 if ended["faults"] else 0


def bound_in_run(
    folder: Path | None,
    layers: Sequence[Path],
    made: Mapping[str, Any],
    search: Mapping[str, Any],
    json: str | None,
    quiet: bool,
) -> int:
    """Bound layers in a run, print a line for each and write the results; the exit code."""
    with bounded(folder, layers, made, search, quiet) as (run, ended):
        document = run.document() if ended["known"] else ended
        write_each(lambda: print_layers(document, ended), (json, lambda path: write_json(path, document)))
    return exit_code(ended)
