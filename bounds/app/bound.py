"""`pvq-bound LAYER.npz`: bound the best possible error of one layer."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

# numpy and numba load only when there is a layer to bound, so that --help is quick
PROBLEM, SEARCH, OUTPUT = "The problem", "The search", "Output"


def bound(
    layer: Annotated[Path, Argument(metavar="LAYER.npz", help="Layer file (weights and Gram matrix).")],
    method: Annotated[str, Option(help="quant, prune or joint.", rich_help_panel=PROBLEM)],
    bits: Annotated[int | None, Option(help="Bits of an integer grid.", rich_help_panel=PROBLEM)] = None,
    grid: Annotated[
        str,
        Option(
            metavar="NAME|FILE",
            help="int, int-sym, int-asym, ternary, fp4-e2m1, fp8-e4m3, nf4, or a file of levels.",
            rich_help_panel=PROBLEM,
        ),
    ] = "int",
    granularity: Annotated[
        str, Option(help="Weights that share a scale: tensor, channel or group:G.", rich_help_panel=PROBLEM)
    ] = "tensor",
    range_: Annotated[
        str,
        Option(
            "--range",
            metavar="NAME",
            help="How scales are chosen: mse, minmax, gram (layer error), none (as given), optimal (searched).",
            rich_help_panel=PROBLEM,
        ),
    ] = "mse",
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
    block: Annotated[
        int | None, Option(metavar="K", help="Prune K consecutive inputs together.", rich_help_panel=PROBLEM)
    ] = None,
    update: Annotated[
        bool,
        Option(
            "--update/--no-update", help="Re-optimise the kept weights, or keep them.", rich_help_panel=PROBLEM
        ),
    ] = True,
    scope: Annotated[
        str,
        Option(
            metavar="row|layer",
            help="The sparsity holds for each row, or for all rows together.",
            rich_help_panel=PROBLEM,
        ),
    ] = "row",
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
    solver: Annotated[str, Option(help="See `pvq solvers`.", rich_help_panel=SEARCH)] = "auto",
    compare: Annotated[
        str | None,
        Option(metavar="NAMES|all", help="Published methods to score, as rtn,gptq.", rich_help_panel=SEARCH),
    ] = None,
    time_limit: Annotated[
        float,
        Option(
            metavar="SEC",
            help="Seconds per row with its proof, which may overrun them by a tenth and a second; 0 for none. "
            "What all rows share is prepared before, and if that took longer than the rows may, it is said.",
            rich_help_panel=SEARCH,
        ),
    ] = 10.0,
    odds: Annotated[
        float | None,
        Option(
            metavar="P",
            help="Odds of the volume model's level (0.001; above 1024 inputs the model is stated only if asked).",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    gap: Annotated[
        float, Option(metavar="REL", help="Relative gap that counts as optimal.", rich_help_panel=SEARCH)
    ] = 1e-6,
    jobs: Annotated[int, Option(help="Rows solved at the same time.", rich_help_panel=SEARCH)] = 1,
    seed: Annotated[int, Option(help="For methods that draw at random.", rich_help_panel=SEARCH)] = 0,
    json_: Annotated[
        str | None, Option("--json", metavar="FILE|-", help="Write all results as JSON.", rich_help_panel=OUTPUT)
    ] = None,
    score: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Weights of your own (.npy, .npz, .safetensors, .pt): feasible? how far from the optimum?",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    solution: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write the best weights (.npz or .safetensors).", rich_help_panel=OUTPUT),
    ] = None,
    certificate: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write the proofs (.npz), for `pvq verify`.", rich_help_panel=OUTPUT),
    ] = None,
    quiet: Annotated[bool, Option("--quiet", help="No progress.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Bound the best possible error of a layer and say how far published methods are from it.

    Example: pvq-bound layer.npz --method prune --sparsity 0.75 --compare all

    Ctrl-C stops the search and prints what is proven so far (exit code 130).
    """
    from pvq.bounds.candidate import judge, selected
    from pvq.bounds.layer_problem import LayerProblem, Setting, at_sparsity, state_problem
    from pvq.layers.files import write_each, write_json
    from pvq.layers.format import load_layer
    from pvq.layers.outputs import check_outputs
    from pvq.layers.own_weights import read_own_weights
    from pvq.solvers.base import Options
    from pvq.solvers.certify import write_certificate
    from pvq.solvers.curve import solve_curve
    from pvq.solvers.document import curve_document, environment, result_document, score_document
    from pvq.solvers.interrupt import stop_on_interrupt
    from pvq.solvers.layer import solve_layer
    from pvq.solvers.layer_scope import row_curves, unfinished
    from pvq.solvers.methods import empirical_methods
    from pvq.solvers.registry import get_solver
    from pvq.solvers.rows import LayerResult, RowResult, prepare
    from pvq.solvers.scale import check_free_scale, solve_scales
    from pvq.solvers.watch import watched

    from .arguments import interval, kept_of, names_of, sparsities_of
    from .output import SOLUTIONS, write_solution
    from .progress import row_progress, said_if_long, stages
    from .table import print_curve, print_result
    from .volume import layer_model, model_sentence

    begin = time.perf_counter()
    if time_limit < 0 or gap < 0 or jobs < 1:
        raise typer.BadParameter("--time-limit and --gap must not be negative, --jobs at least 1")
    if odds is not None and not 0 < odds < 1:
        raise typer.BadParameter("--odds must lie between 0 and 1, as 0.001")
    sparsities = [] if sparsity is None else sparsities_of(sparsity)
    if len(sparsities) > 1 and (solution is not None or certificate is not None):
        raise typer.BadParameter("--solution and --certificate are for one sparsity, not for a range")
    setting = Setting(
        method=method,
        bits=bits,
        grid=grid,
        granularity=granularity,
        range=range_,
        sparsity=sparsities[0] if sparsities else None,
        nm=None if nm is None else kept_of(nm),
        block=block,
        update=update,
        scope=scope,
        ridge=ridge,
        rows=None if rows is None else interval("--rows", rows),
        inputs=None if inputs is None else interval("--inputs", inputs),
    )
    engine = get_solver(solver)
    check_outputs(
        {"--json": json_, "--solution": solution, "--certificate": certificate},
        inputs=(layer, grid) if score is None else (layer, grid, score),
        suffixes={"--solution": SOLUTIONS, "--certificate": (".npz",)},
    )
    with stages(f"reading {layer}", quiet):
        data = load_layer(layer)
        own = None if score is None else read_own_weights(score, data)
        if own is not None and len(sparsities) > 1:
            raise typer.BadParameter("--score is for one sparsity, not for a range")
        problem = state_problem(data.weight, data.grams, setting, free_scale=True)
    free = setting.quantizes and setting.range == "optimal"
    if free and len(sparsities) > 1:
        raise typer.BadParameter("--range optimal is for one sparsity, not for a range")
    if free:
        check_free_scale(problem, engine.name, certificate is not None)
    engine.check(problem.row(0))
    methods = empirical_methods(names_of(compare), problem.row(0))
    if own is not None:  # what is wrong with it is said before any work
        own_part = selected(problem, own.array, data.out, data.inputs)

    def prepare_all() -> bool:
        prepare(problem, (engine, *methods))
        return True

    with stop_on_interrupt() as stop:
        with stages("preparing", quiet) as compiling:
            ready = watched(prepare_all, stop) is not None
        prepared = time.perf_counter() - begin
        if ready and not quiet:
            said_if_long(prepared, compiling.seconds, time_limit * len(problem) / jobs)
        curves = None if problem.budget is None else row_curves(problem)
        options = Options(
            time_limit=time_limit or None,
            gap=gap,
            threads=max(1, (os.cpu_count() or 1) // jobs),
            seed=seed,
            prove=certificate is not None,
            stop=stop,
        )
        if len(sparsities) > 1:
            problems = [at_sparsity(problem, s) for s in sparsities]
            with row_progress(len(problem) * len(sparsities), quiet) as advance:
                so_far: list[list[RowResult]] = [[] for _ in problems]

                def solve_all() -> list[LayerResult]:
                    return solve_curve(problems, engine, options, methods, jobs, advance, so_far, curves)

                solved = watched(solve_all, stop) if ready else None
            results = solved or [
                unfinished(p, engine, options, rows, curves) for p, rows in zip(problems, so_far, strict=True)
            ]
            used = environment(engine.name, jobs, prepared, time.perf_counter() - begin)
            pairs = list(zip(problems, results, strict=True))
            curve = curve_document([result_document(data, p, options, r, used) for p, r in pairs])
            write_each(
                lambda: print_curve(data.name, problem, pairs),
                (json_, lambda path: write_json(path, curve)),
            )
            if stop.is_set():
                raise typer.Exit(130)
            return
        with row_progress(len(problem), quiet) as advance:
            known: list[RowResult] = []

            def tell(row: RowResult) -> None:
                known.append(row)
                if advance is not None:
                    advance(row)

            def solve() -> tuple[LayerProblem, LayerResult]:
                if free:
                    return solve_scales(problem, options, methods, jobs, advance)
                return problem, solve_layer(problem, engine, options, methods, jobs, tell, curves)

            found = watched(solve, stop) if ready else None
        problem, result = found or (problem, unfinished(problem, engine, options, known, curves))
        asked = odds is not None or len(problem.inputs) <= 1024  # beyond, it takes longer than a quick answer may
        model = None
        if asked and setting.method == "quant" and not stop.is_set():
            with stages("volume model", quiet):
                model = watched(lambda: layer_model(problem, result, data.weight, odds or 1e-3), stop)
    used = environment(engine.name, jobs, prepared, time.perf_counter() - begin)
    document = result_document(data, problem, options, result, used, None if model is None else model.as_json())
    candidate = None if own is None else judge(problem, own_part, own.eps)
    if candidate is not None:
        document["score"] = score_document(result, candidate)
    said = None if model is None else model_sentence(model, result)
    write_each(
        lambda: print_result(data.name, problem, options, result, candidate, said),
        (json_, lambda path: write_json(path, document)),
        (solution, lambda path: write_solution(path, result.weights, problem)),
        (certificate, lambda path: write_certificate(path, data, problem, result)),
    )
    if stop.is_set():
        raise typer.Exit(130)
