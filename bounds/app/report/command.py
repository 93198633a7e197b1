"""`pvq report RUN|run.json`: everything in one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from ..options import OUTPUT


def report(
    source: Annotated[
        Path, Argument(metavar="RUN|run.json", help="A run's folder, or a file that `pvq compare --json` wrote.")
    ],
    output: Annotated[
        Path | None,
        Option(*("-o", "--output"), metavar="FILE.html", help="Where the page goes.", rich_help_panel=OUTPUT),
    ] = None,
    live: Annotated[
        bool,
        Option(
            "--live",
            help="Show it on 127.0.0.1 instead, made anew as the run goes on.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    port: Annotated[int, Option(help="Port of --live, 0 for any.", rich_help_panel=OUTPUT)] = 0,
) -> None:
    """One page of all results, with everything that it needs inside: verdicts, curves, methods, proofs, time.

    Example: pvq report night -o night.html
    """
    from pvq.layers.files import write_text
    from pvq.layers.outputs import check_outputs
    from pvq.solvers.ledger.schema import files_of_run

    from ..console import Printer
    from .live import serve
    from .page import check_extra, page_of

    if live == (output is not None):
        raise BadParameter("give either -o FILE.html or --live")
    check_extra()
    if output is None:
        serve(source, port, lambda address: Printer().say(f"{address} (Ctrl-C ends it)"))
        return
    check_outputs({"--output": output}, [source, *files_of_run(source)], {"--output": (".html",)})
    write_text(output, page_of(source, output.parent))
