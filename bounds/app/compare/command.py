"""`pvq compare LAYER.npz...`: quantization or pruning at equal cost, with proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

PAIR, SEARCH, OUTPUT = "The pairs", "The search", "Output"


def compare(
    layers: Annotated[
        list[Path], Argument(metavar="LAYER.npz|DIR...", help="Layer files, or folders of layer files.")
    ],
    bits: Annotated[
        str | None,
        Option(
            metavar="A:B",
            help="A to B bits, both included. Default 2:8 for int grids.",
            rich_help_panel=PAIR,
        ),
    ] = None,
    base: Annotated[
        int, Option(metavar="16|32", help="Bits of a weight that is not quantized.", rich_help_panel=PAIR)
    ] = 16,
    mask: Annotated[
        str,
        Option(
            metavar="none|bitmask|index",
            help="What the sparsity pays for saying which weights are kept: nothing (as in the paper), a bit for "
            "every weight, or an index for every kept one.",
            rich_help_panel=PAIR,
        ),
    ] = "none",
    scale_bits: Annotated[
        int, Option(help="Bits of each scale, 0 to leave scales out of the cost.", rich_help_panel=PAIR)
    ] = 0,
    grid: Annotated[str, Option(metavar="NAME", help="As in `pvq bound`.", rich_help_panel=PAIR)] = "int",
    granularity: Annotated[
        str, Option(help="Weights that share a scale: tensor, channel or group:G.", rich_help_panel=PAIR)
    ] = "tensor",
    range_: Annotated[
        str,
        Option("--range", metavar="NAME", help="How scales are chosen: mse, minmax, gram.", rich_help_panel=PAIR),
    ] = "mse",
    nm: Annotated[
        int | None,
        Option(metavar="M", help="N:M sparsity, N the most that the bits pay for.", rich_help_panel=PAIR),
    ] = None,
    block: Annotated[
        int | None, Option(metavar="K", help="Prune K consecutive inputs together.", rich_help_panel=PAIR)
    ] = None,
    update: Annotated[
        bool,
        Option("--update/--no-update", help="Re-optimise the kept weights, or keep them.", rich_help_panel=PAIR),
    ] = True,
    scope: Annotated[
        str,
        Option(metavar="row|layer", help="The sparsity holds for each row or for all.", rich_help_panel=PAIR),
    ] = "row",
    solver: Annotated[
        str, Option(help="Where bounds come from, see `pvq solvers`.", rich_help_panel=SEARCH)
    ] = "auto",
    methods: Annotated[
        str | None,
        Option(
            "--compare",
            metavar="NAMES|all",
            help="Published methods to score, as gptq,obc.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    time_limit: Annotated[
        float,
        Option(metavar="SEC", help="Seconds for the bounds of one pair, 0 for none.", rich_help_panel=SEARCH),
    ] = 60.0,
    full: Annotated[
        bool,
        Option(
            "--full", help="Bound both sides on all rows, also where a verdict needs less.", rich_help_panel=SEARCH
        ),
    ] = False,
    gap: Annotated[
        float, Option(metavar="REL", help="Relative gap that counts as optimal.", rich_help_panel=SEARCH)
    ] = 1e-6,
    jobs: Annotated[
        int, Option(help="Layers (rows of a single layer) at the same time.", rich_help_panel=SEARCH)
    ] = 1,
    seed: Annotated[int, Option(help="For methods that draw at random.", rich_help_panel=SEARCH)] = 0,
    json_: Annotated[
        str | None,
        Option("--json", metavar="FILE|-", help="All results as JSON, kept up to date.", rich_help_panel=OUTPUT),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on from what the file of --json has.", rich_help_panel=OUTPUT)
    ] = False,
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
    quiet: Annotated[bool, Option("--quiet", help="No progress.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Which is better at equal cost, b-bit quantization or sparsity 1 - b/16, with proof.

    A technique is proven better if its worst case (upper end: weights that reach it) is below the other's best
    case (lower end: nothing gets below it). Time is spent where the verdict is open.

    Example: pvq compare layer.npz --bits 2:8 --figure pair.png

    Example: pvq compare layers/ --jobs 2 --json network.json

    Ctrl-C stops, and prints and writes what is proven so far (exit code 130); --resume goes on from there.
    """
    from pvq.solvers.base import Options
    from pvq.solvers.compare.engines import engines_by_name, methods_by_name
    from pvq.solvers.compare.layer import CLOSE, QUICK, Comparison
    from pvq.solvers.compare.network import layer_files
    from pvq.solvers.registry import get_solver

    from ...codebooks import file_levels
    from ...errors import ProblemError
    from ...layer_problem import Setting
    from ...storage import CostModel
    from ...theory.analytic import bit_widths
    from ..arguments import names_of
    from ..bits import bit_range
    from .run import Output, run_comparison

    if time_limit < 0 or gap < 0 or jobs < 1:
        raise typer.BadParameter("--time-limit and --gap must not be negative, --jobs at least 1")
    if nm is not None and (nm < 2 or scope == "layer" or block is not None):
        raise ProblemError("--nm M must be at least 2, and goes neither with --block nor with --scope layer")
    output = Output(json_, table, figure, resume, quiet)
    output.check([*layer_files(layers), grid])
    what = Comparison(
        bits=bit_widths(grid, None if bits is None else bit_range(bits)),
        quant=Setting("quant", grid=grid, granularity=granularity, range=range_),
        prune=Setting("prune", sparsity=0.5, block=block, update=update, scope=scope),
        cost=CostModel(base, mask, scale_bits),
        engines=engines_by_name(solver),
        quick=[get_solver(name) for name in QUICK],
        close=[get_solver(name) for name in CLOSE],
        methods=methods_by_name(names_of(methods), update),
        levels=file_levels(grid),
        nm=nm,
        time_limit=time_limit or None,
        full=full or table is not None,
        options=Options(time_limit=None, gap=gap, seed=seed),
    )
    if run_comparison(layers, what, solver, jobs, output):
        raise typer.Exit(130)
