"""`pvq run init | go | status | export`: a run in a folder, every result of which is kept at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from .. import options
from ..options import OUTPUT, PROBLEM, SEARCH

Folder = Annotated[Path, Argument(metavar="RUN", help="The run's folder.")]


def init(
    run: Annotated[Path, Argument(metavar="RUN", help="A new folder.")],
    layers: Annotated[
        list[Path],
        Option("--layers", metavar="DIR|FILE", help="Layer files, or folders of them.", rich_help_panel=PROBLEM),
    ],
    method: Annotated[
        str,
        Option(
            metavar="NAME",
            help="quant, prune, joint, or both: quantization and pruning at equal cost, for verdicts.",
            rich_help_panel=PROBLEM,
        ),
    ] = "both",
    bits: options.BitRange = None,
    grid: options.Grid = "int",
    granularity: options.Granularity = "tensor",
    range_: options.Range = "mse",
    sparsity: Annotated[
        list[str] | None,
        Option(
            metavar="S|A:B:STEP",
            help="Shares of weights that are zero, for prune and joint; may be given several times.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    nm: Annotated[
        str | None,
        Option(
            metavar="N:M|M",
            help="Keep N of every M inputs, as 2:4; for both M alone, N the most that the bits pay for.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    block: options.Block = None,
    update: options.Update = True,
    base: options.Base = 16,
    mask: options.Mask = "none",
    scale_bits: options.ScaleBits = 0,
    gap: options.Gap = 1e-6,
) -> None:
    """Make a run: which layers are bounded, and under which settings.

    Example: pvq run init night --layers layers/ --bits 2:8
    """
    import pvq

    from ..arguments import sparsities_of
    from ..bits import bit_list
    from .text import print_status

    made = pvq.Ledger.create(
        run,
        layers,
        method,
        bits=bit_list(bits),
        grid=grid,
        granularity=granularity,
        range=range_,
        sparsity=[share for text in sparsity or [] for share in sparsities_of(text)],
        nm=int(nm) if nm is not None and nm.isdecimal() else nm,
        block=block,
        update=update,
        base=base,
        mask=mask,
        scale_bits=scale_bits,
        gap=gap,
    )
    print_status(made.folder, made.status())


def go(
    run: Folder,
    solver: options.Solver = "auto",
    methods: options.Methods = None,
    time_limit: Annotated[
        float, Option(metavar="SEC", help="Seconds per row, 0 for none.", rich_help_panel=SEARCH)
    ] = 10.0,
    full: Annotated[
        bool,
        Option(
            "--full", help="Bound both sides of pairs, also where the verdict is proven.", rich_help_panel=SEARCH
        ),
    ] = False,
    jobs: Annotated[int, Option(help="Chunks of rows at the same time.", rich_help_panel=SEARCH)] = 1,
    cluster: options.Cluster = None,
    send: options.Send = False,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    effort: options.Effort = "normal",
    odds: options.Odds = None,
    weights: Annotated[
        bool,
        Option("--weights", help="Keep the best weights of rows, in RUN/weights.", rich_help_panel=OUTPUT),
    ] = False,
    certificates: Annotated[
        bool,
        Option(
            "--certificates",
            help="Keep the proofs, in RUN/certificates, for `pvq verify`.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Bound what is due, and go on where an earlier `pvq run go` ended, however it ended.

    Rows that are solved stay; open ones are taken up again where --time-limit is longer, or --solver or
    --effort another one.

    Example: pvq run go night --jobs 2 --time-limit 60

    Example: pvq run go night --cluster tcp://head:8786

    Ctrl-C stops, and what is proven is kept (exit code 130).
    """
    import pvq
    from pvq.solvers.interrupt import stop_on_interrupt

    from ..arguments import names_of
    from .progress import row_progress
    from .text import print_status
    from .through import exit_code

    opened = pvq.Ledger(run)
    before = opened.status()
    with stop_on_interrupt() as stop, row_progress(before["rows"], before["known"], quiet) as shown:
        found = opened.go(
            solver=solver,
            methods=names_of(methods),
            time_limit=time_limit,
            full=full,
            jobs=jobs,
            cluster=cluster,
            send=send,
            seed=seed,
            device=device,
            effort=effort,
            odds=odds,
            weights=weights,
            certificates=certificates,
            progress=shown,
            stop=stop,
        )
    print_status(run, found)
    raise typer.Exit(exit_code(found))


def status(run: Folder, json_: options.Json = None) -> None:
    """How far a run is, also while it goes on.

    Example: pvq run status night
    """
    import pvq
    from pvq.layers.files import write_each, write_json
    from pvq.layers.outputs import check_outputs
    from pvq.solvers.ledger.schema import files_of_run

    from .text import print_status

    check_outputs({"--json": json_}, files_of_run(run))
    found = pvq.Ledger(run).status()
    write_each(lambda: print_status(run, found), (json_, lambda path: write_json(path, found)))


def export(
    run: Folder,
    output: Annotated[
        Path,
        Option(
            *("-o", "--output"),
            metavar="FILE",
            help=".json: as `pvq compare` or `pvq bound` write it; .csv, .parquet: a line for each row.",
            rich_help_panel=OUTPUT,
        ),
    ],
) -> None:
    """Write what a run knows to a file, also while it goes on.

    Example: pvq run export night -o rows.parquet
    """
    import pvq
    from pvq.layers.outputs import check_outputs
    from pvq.solvers.ledger.schema import files_of_run

    check_outputs({"--output": output}, files_of_run(run))
    pvq.Ledger(run).export(output)


COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    *(("init", init), ("go", go)),
    *(("status", status), ("export", export)),
)
