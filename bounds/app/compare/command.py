"""`pvq compare LAYER.npz...`: quantization or pruning at equal cost, with proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from .. import options
from ..options import OUTPUT, PROBLEM, SEARCH


def compare(
    layers: Annotated[
        list[Path], Argument(metavar="LAYER.npz|DIR...", help="Layer files, or folders of layer files.")
    ],
    bits: options.BitRange = None,
    base: options.Base = 16,
    mask: options.Mask = "none",
    scale_bits: options.ScaleBits = 0,
    grid: options.Grid = "int",
    granularity: Annotated[
        str,
        Option(
            metavar="NAME[,...]",
            help="Weights that share a scale: tensor, channel or group:G; of several each is compared.",
            rich_help_panel=PROBLEM,
        ),
    ] = "tensor",
    range_: options.Range = "mse",
    nm: Annotated[
        int | None,
        Option(metavar="M", help="N:M sparsity, N the most that the bits pay for.", rich_help_panel=PROBLEM),
    ] = None,
    against: Annotated[
        str | None,
        Option(
            metavar="S|N:M[,...]",
            help="A sparsity, or N:M, whatever it costs beside the bits; of several each is compared.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    block: options.Block = None,
    update: options.Update = True,
    scope: options.Scope = "row",
    sample_rows: options.SampleRows = None,
    solver: options.Solver = "auto",
    methods: options.Methods = None,
    time_limit: Annotated[
        float | None,
        Option(
            metavar="SEC",
            help="Seconds for the bounds of a pair (60), with --ledger or --cluster of a row (10); 0 for none.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    budget: options.Budget = None,
    full: Annotated[
        bool,
        Option(
            "--full", help="Bound both sides on all rows, also where a verdict needs less.", rich_help_panel=SEARCH
        ),
    ] = False,
    gap: options.Gap = 1e-6,
    jobs: Annotated[
        int, Option(help="Layers (rows of a single layer) at the same time.", rich_help_panel=SEARCH)
    ] = 1,
    cluster: options.Cluster = None,
    send: options.Send = False,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    effort: options.Effort = "normal",
    odds: options.Odds = None,
    json_: options.Json = None,
    ledger: options.Ledger = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on from what the file of --json has.", rich_help_panel=OUTPUT)
    ] = False,
    save_solutions: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Write the best weights of both sides of each pair, for `pvq apply`.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="dB of each method from the optimum (.md, .tex, .csv); implies --full.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Up to 6 layers: SQNR against compression with certified bands, implies --full; more: a map of "
            "the verdicts (.png or .svg).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Which is better at equal cost, b-bit quantization or sparsity 1 - b/16, with proof.

    A technique is proven better if its worst case (upper end: weights that reach it) is below the other's best
    case (lower end: nothing gets below it). Time is spent where the verdict is open.

    Example: pvq compare layer.npz --bits 2:8 --figure pair.png

    Example: pvq compare layers/ --jobs 2 --json network.json

    Example: pvq compare layers/ --bits 4 --granularity channel --against 2:4

    Example: pvq compare layers/ --bits 3:3 --granularity channel,group:128 --against 2:4,0.5 --json all.json

    Example: pvq compare layers/ --cluster tcp://head:8786 --ledger network

    Ctrl-C stops, and prints and writes what is proven so far (exit code 130); --resume goes on from there.
    """
    from pvq.solvers.compare.network import layer_files

    from ..arguments import names_of, one_or_more
    from ..bits import bit_list
    from ..run.through import refuse
    from .figure import PANELS
    from .run import Output, run_comparison, run_through

    if sample_rows is not None and table is not None:
        raise typer.BadParameter("--table is of all rows, not of a sample; leave out one of them")
    if table is not None and "," in f"{granularity}{against or ''}":
        raise typer.BadParameter(
            "--table is of one --granularity and one --against; leave it out, or give one of each"
        )
    output = Output(json_, table, figure, save_solutions, resume, quiet)
    files = layer_files(layers)
    output.check([*files, grid])
    both_ends = full or table is not None or (PANELS if figure is not None else False)  # bands need both ends
    made = {
        "bits": bit_list(bits),
        "grid": grid,
        "granularity": one_or_more(granularity),
        "range": range_,
        "nm": nm,
        "block": block,
        "update": update,
        "base": base,
        "mask": mask,
        "scale_bits": scale_bits,
        "gap": gap,
    }
    search = {"solver": solver, "methods": names_of(methods), "jobs": jobs, "seed": seed, "device": device}
    search["effort"] = effort
    alone = {"sample_rows": sample_rows, "budget": budget}
    if ledger is None and cluster is None and not send:
        limit = {"time_limit": 60.0 if time_limit is None else time_limit, "full": both_ends}
        where = {"scope": scope, "against": one_or_more(against), "solutions": save_solutions}
        if run_comparison(layers, {**made, **search, **alone, **limit, **where, "odds": odds}, output):
            raise typer.Exit(130)
        return
    if "," in granularity:
        raise typer.BadParameter("--ledger and --cluster compare one --granularity; make a run of each")
    refuse({"--scope": scope if scope != "row" else None, "--sample-rows": sample_rows, "--budget": budget})
    refuse({"--resume": resume, "--save-solutions": save_solutions, "--against": against})
    more = {
        "time_limit": 10.0 if time_limit is None else time_limit,
        "full": both_ends if isinstance(both_ends, bool) else len(files) <= both_ends,
        "cluster": cluster,
        "send": send,
        "odds": odds,
    }
    raise typer.Exit(run_through(ledger, layers, made, {**search, **more}, output))
