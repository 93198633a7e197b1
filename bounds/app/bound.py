"""`pvq-bound LAYER.npz`: bound the best possible error of one layer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from . import options
from .options import OUTPUT, PROBLEM, SEARCH

# numpy and numba load only when there is a layer to bound, so that --help is quick


def bound(
    layers: Annotated[
        list[Path],
        Argument(metavar="LAYER.npz|DIR...", help="Layer file (weights and Gram matrix), or several, or folders."),
    ],
    method: Annotated[str, Option(help="quant, prune or joint.", rich_help_panel=PROBLEM)],
    bits: Annotated[int | None, Option(help="Bits of an integer grid.", rich_help_panel=PROBLEM)] = None,
    grid: options.Grid = "int",
    granularity: options.Granularity = "tensor",
    range_: options.Range = "mse",
    scales: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Quantized weights of your own, whose scales the grid takes, or these scales "
            "(.npy, .npz, .safetensors, .pt).",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    sparsity: Annotated[
        str | None,
        Option(
            metavar="S|A:B:STEP",
            help="Share of weights that are zero, as 0.75, or several, as 0.5:0.9:0.05.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    nm: Annotated[
        str | None, Option(metavar="N:M", help="Keep N of every M inputs, as 2:4.", rich_help_panel=PROBLEM)
    ] = None,
    block: options.Block = None,
    update: options.Update = True,
    scope: options.Scope = "row",
    ridge: Annotated[
        float,
        Option(
            metavar="X",
            help="Add X times the mean of H's diagonal to it; part of the problem, for both ends.",
            rich_help_panel=PROBLEM,
        ),
    ] = 0.0,
    rows: Annotated[str | None, Option(metavar="A:B", help="Rows A to B-1 only.", rich_help_panel=PROBLEM)] = None,
    inputs: Annotated[
        str | None,
        Option(metavar="A:B", help="Inputs A to B-1 only: that sub-problem.", rich_help_panel=PROBLEM),
    ] = None,
    sample_rows: options.SampleRows = None,
    solver: options.Solver = "auto",
    compare: options.Methods = None,
    time_limit: Annotated[
        float,
        Option(
            metavar="SEC",
            help="Seconds per row with its proof, which may overrun them by a tenth and a second; 0 for none. "
            "What all rows share is prepared in the time of all rows; what does not fit is cut short, and said.",
            rich_help_panel=SEARCH,
        ),
    ] = 10.0,
    budget: options.Budget = None,
    odds: options.Odds = None,
    explain: Annotated[
        bool,
        Option(
            "--explain",
            help="Say all that the volume model assumes; --json has its level for each row.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    limits: Annotated[
        bool,
        Option(
            "--limits",
            help="Say what no code of as many bits reaches on average over Gaussian weights (quantization).",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    gap: options.Gap = 1e-6,
    jobs: Annotated[int, Option(help="Rows solved at the same time.", rich_help_panel=SEARCH)] = 1,
    cluster: options.Cluster = None,
    send: options.Send = False,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    effort: options.Effort = "normal",
    score: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Weights of your own (.npy, .npz, .safetensors, .pt): feasible? how far from the optimum?",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    json_: options.Json = None,
    ledger: options.Ledger = None,
    solution: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write the best weights (.npz or .safetensors).", rich_help_panel=OUTPUT),
    ] = None,
    certificate: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write the proofs (.npz), for `pvq verify`.", rich_help_panel=OUTPUT),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Bound the best possible error of a layer and say how far published methods are from it.

    Example: pvq-bound layer.npz --method prune --sparsity 0.75 --compare all

    Example: pvq bound layers/ --method quant --bits 4 --cluster local:8 --ledger night

    Ctrl-C stops the search and prints what is proven so far (exit code 130).
    """
    import pvq
    from pvq.bounds.candidate import selected
    from pvq.bounds.layer_problem import selection
    from pvq.layers.files import write_each, write_json
    from pvq.layers.outputs import check_outputs
    from pvq.layers.own_weights import read_own_scales, read_own_weights
    from pvq.layers.solutions import SUFFIXES, save_solution
    from pvq.problems import problem_of
    from pvq.scales import AmbiguousScales
    from pvq.solvers.compare.network import layer_files
    from pvq.solvers.document import curve_document
    from pvq.solvers.interrupt import stop_on_interrupt
    from pvq.solvers.registry import check_names

    from .arguments import interval, names_of, sparsities_of
    from .progress import run_progress, stages
    from .run.through import bound_in_run, refuse
    from .table import print_curve, print_result

    sparsities = [] if sparsity is None else sparsities_of(sparsity)
    several = len(sparsities) > 1
    for option, wanted in (("--limits", limits), ("--explain", explain), ("--odds", odds is not None)):
        if wanted and method != "quant":
            raise typer.BadParameter(f"{option} is for --method quant")
    if several and (solution or certificate or score):
        raise typer.BadParameter("--solution, --certificate and --score are for one sparsity, not for a range")
    if sample_rows is not None and certificate is not None:
        raise typer.BadParameter("--certificate is for a range of rows, not for a sample; give --rows A:B instead")
    problem = problem_of(
        method,
        bits=bits,
        grid=grid,
        granularity=granularity,
        range=range_,
        sparsity=sparsities[0] if sparsities else None,
        nm=nm,
        block=block,
        update=update,
        scope=scope,
    )
    files = layer_files(layers)
    in_run = ledger is not None or cluster is not None or send or layers != files or len(files) > 1
    part = (
        None if rows is None else interval("--rows", rows),
        None if inputs is None else interval("--inputs", inputs),
    )
    check_names([solver])
    check_outputs(
        {"--json": json_, "--solution": solution, "--certificate": certificate},
        inputs=(*files, grid, score, scales),
        suffixes={"--solution": SUFFIXES, "--certificate": (".npz",)},
    )
    if in_run:
        refuse({"--scope": scope if scope != "row" else None, "--rows": rows, "--inputs": inputs})
        refuse({"--sample-rows": sample_rows, "--ridge": ridge, "--scales": scales, "--budget": budget})
        refuse({"--explain": explain, "--limits": limits, "--score": score})
        refuse({"--solution": solution, "--certificate": certificate})
        made: dict[str, Any] = {"method": method, "bits": None if bits is None else [bits], "grid": grid, "nm": nm}
        made |= {"granularity": granularity, "range": range_, "block": block, "update": update, "gap": gap}
        search: dict[str, Any] = {"solver": solver, "methods": names_of(compare), "time_limit": time_limit}
        search |= {
            "jobs": jobs,
            "cluster": cluster,
            "send": send,
            "seed": seed,
            "device": device,
            "effort": effort,
            "odds": odds,
        }
        raise typer.Exit(bound_in_run(ledger, layers, {**made, "sparsity": sparsities}, search, json_, quiet))
    layer = files[0]
    with stages(f"reading {layer}", quiet):
        data = pvq.load_layer(layer)
        chosen = selection(*part, data.out, data.inputs)
        own = None if score is None else read_own_weights(score, data)
        if own is not None:  # what is wrong with it is said before any work
            selected(own.array, data.out, data.inputs, *chosen)
        given = None if scales is None else read_own_scales(scales, data)
    count = len(chosen[0]) if sample_rows is None else min(max(1, sample_rows), len(chosen[0]))
    limit = max(0.0, time_limit) * count / max(1, jobs) if budget is None else 0.0
    with (
        warnings.catch_warnings(),
        stop_on_interrupt() as stop,
        run_progress(count * max(1, len(sparsities)), limit, quiet) as shown,
    ):
        warnings.simplefilter("ignore", AmbiguousScales)  # the result has it as a note
        asked: dict[str, Any] = {
            "rows": part[0],
            "inputs": part[1],
            "ridge": ridge,
            "scales": given,
            "sample_rows": sample_rows,
            "solver": solver,
            "methods": names_of(compare),
            "time_limit": time_limit,
            "gap": gap,
            "jobs": jobs,
            "seed": seed,
            "device": device,
            "effort": effort,
            "budget": budget,
            "odds": odds,
            "explain": explain,
            "progress": shown.row,
            "stage": shown.stage,
            "stop": stop,
        }
        if several:
            results = pvq.curve(data, problem, sparsities, **asked)
        else:
            results = [pvq.bound(data, problem, certify=certificate is not None, **asked)]
    result = results[0]
    if limits:
        from pvq.bounds.theory.any_code import any_code

        result.document["total"]["any_code"] = any_code(result.problem)
    scored = None if own is None else result.score(own)
    document = curve_document([each.document for each in results]) if several else result.document
    if scored is not None:
        document = {**document, "score": scored.as_json()}
    write_each(
        lambda: print_curve(results) if several else print_result(result, scored, explain),
        (json_, lambda path: write_json(path, document)),
        (solution, lambda path: save_solution(path, result.solution())),
        (certificate, lambda path: result.certificate().save(path)),
    )
    if stop.is_set():
        raise typer.Exit(130)
