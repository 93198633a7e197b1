"""`pvq bench`: solvers side by side on the same rows, within the same limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from .. import options
from ..options import OUTPUT

if TYPE_CHECKING:  # numpy and numba load only when there is something to run, so that --help is quick
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pvq.benchmarks.runner import Run
    from pvq.benchmarks.session import Session

WHAT, HOW = "What to run", "How to run it"
QUICK, REGRESSION = "quick", "regression"


def bench(
    lists: Annotated[
        list[str] | None, Argument(metavar="[LIST]...", help="Case lists: names (see --list) or JSON files.")
    ] = None,
    show: Annotated[bool, Option("--list", help="List the case lists.", rich_help_panel=WHAT)] = False,
    quick: Annotated[
        bool, Option("--quick", help="The case list 'quick': minutes.", rich_help_panel=WHAT)
    ] = False,
    instance: Annotated[
        str | None, Option(metavar="GLOB", help="Only instances of this name.", rich_help_panel=WHAT)
    ] = None,
    solver: Annotated[
        str | None, Option(metavar="NAMES", help="These solvers, as bnb,scip.", rich_help_panel=WHAT)
    ] = None,
    library: Annotated[
        Path | None, Option(metavar="FILE", help="Another instance library.", rich_help_panel=WHAT)
    ] = None,
    layers: Annotated[
        Path | None, Option(metavar="DIR", help="Where else layer files are.", rich_help_panel=WHAT)
    ] = None,
    time_limit: Annotated[
        float | None, Option(metavar="SEC", help="Seconds for each row.", rich_help_panel=HOW)
    ] = None,
    gap: Annotated[
        float | None, Option(metavar="REL", help="Relative gap that counts as solved.", rich_help_panel=HOW)
    ] = None,
    threads: Annotated[int | None, Option(help="Threads of each solver.", rich_help_panel=HOW)] = None,
    memory: Annotated[
        float | None, Option(metavar="GB", help="Memory at which a solver is ended.", rich_help_panel=HOW)
    ] = None,
    repetitions: Annotated[int | None, Option(help="Solves of each row.", rich_help_panel=HOW)] = None,
    seed: Annotated[int | None, Option(help="First seed.", rich_help_panel=HOW)] = None,
    jobs: Annotated[
        int, Option(help="Solves at the same time; they disturb each other's times.", rich_help_panel=HOW)
    ] = 1,
    check: Annotated[
        bool,
        Option(
            "--check",
            help="Compare statuses and node counts with the stored reference; exit 1 if worse.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    build: Annotated[
        bool,
        Option(
            "--build", help="Write the instance library's statements, keeping what is known.", rich_help_panel=WHAT
        ),
    ] = False,
    update: Annotated[
        bool,
        Option(
            "--update",
            help="Put better verified bounds into the instance library (with --check: renew the reference).",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    resume: Annotated[
        bool, Option("--resume", help="Take over what the --json file already has.", rich_help_panel=HOW)
    ] = False,
    json_: Annotated[
        Path | None, Option("--json", metavar="FILE", help="Record everything.", rich_help_panel=OUTPUT)
    ] = None,
    csv_: Annotated[
        Path | None, Option("--csv", metavar="FILE", help="One line for each solve.", rich_help_panel=OUTPUT)
    ] = None,
    profile: Annotated[
        Path | None,
        Option(metavar="FILE", help="Performance profile (.png or .svg).", rich_help_panel=OUTPUT),
    ] = None,
    gap_plot: Annotated[
        Path | None,
        Option(metavar="FILE", help="Proven gap over time (.png or .svg).", rich_help_panel=OUTPUT),
    ] = None,
    tails: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="The volume model's tails against those of solved rows (.png or .svg).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Run solvers side by side on the same rows and print who solved what, how fast.

    Example: pvq bench quant-64-gurobi --time-limit 10 --json run.json

    Ctrl-C ends the running solver and prints what is there (exit code 130).
    """
    if show:
        _print_lists()
        return
    from pvq.benchmarks.calibration import calibrations
    from pvq.benchmarks.cases import changed, chosen, read_list
    from pvq.benchmarks.session import Session
    from pvq.benchmarks.summary import MODEL
    from pvq.benchmarks.tasks import entry
    from pvq.layers.files import write_each, write_text
    from pvq.layers.lock import only_writer
    from pvq.layers.outputs import check_outputs
    from pvq.solvers.interrupt import stop_on_interrupt
    from pvq.solvers.registry import check_names

    from ...errors import ProblemError
    from ..figures import FORMATS, check_matplotlib
    from .figure import gap_figure, profile_figure, tails_figure
    from .table import calibration_table, print_targets, scores_table

    folders = () if layers is None else (layers,)
    if build:
        _build(library, folders)
        return
    names = [*(lists or []), *([QUICK] if quick else [])]
    if check:
        if names:
            raise ProblemError("--check runs its own cases: leave the case list out, or --check")
        names = [REGRESSION]
    if not names:
        raise ProblemError("say what to run: --quick, or a case list (pvq bench --list)")
    if jobs < 1:
        raise typer.BadParameter("--jobs must be at least 1")
    if resume and json_ is None:
        raise ProblemError("--resume needs --json FILE: the record to go on with")
    check_outputs(
        {"--json": json_, "--csv": csv_, "--profile": profile, "--gap-plot": gap_plot, "--tails": tails},
        inputs=(library, *(lists or ())),
        suffixes={
            "--json": (".json",),
            "--csv": (".csv",),
            "--profile": FORMATS,
            "--gap-plot": FORMATS,
            "--tails": FORMATS,
        },
    )
    if any(path is not None for path in (profile, gap_plot, tails)):
        check_matplotlib()
    if update and not check:
        _known(library)  # a library that cannot be read or written is refused before hours of work
    read = [read_list(name, folders, library) for name in names]
    tasks = [task for one in read for task in one.tasks]
    entries = None
    if solver is not None:
        entries = [entry(name.strip()) for name in solver.split(",") if name.strip()]
        if not entries:
            raise ProblemError("--solver names no solver (pvq solvers)")
        check_names(one.solver for one in entries)
    if instance is not None:
        tasks = chosen(tasks, instance)
    tasks = changed(
        tasks,
        entries,
        time_limit=time_limit,
        gap=gap,
        threads=threads,
        memory=memory,
        repetitions=repetitions,
        seed=seed,
    )
    with only_writer(json_):
        session = Session([one.name for one in read], tasks, jobs)
        if resume and json_ is not None and os.path.exists(json_):
            session.take_over(json_)
        with stop_on_interrupt() as stop, _progress(len(session.waiting), quiet) as advance:
            session.run(stop, advance, json_, steps=gap_plot is not None, verify=update)

        wanted = dict.fromkeys(t["solver"] for one in read for t in one.targets if t["measure"] in MODEL)
        calibrated = {label: calibrations(session, label) for label in wanted}
        every = [one for some in calibrated.values() for one in some]

        def show_scores() -> None:
            scores_table([one.about for one in read], session)
            targets = [target for one in read for target in one.targets]
            if every:
                calibration_table(every)
            print_targets(targets, session, calibrated)

        write_each(
            show_scores,
            (json_, session.save),
            (csv_, lambda path: write_text(path, session.csv())),
            (profile, lambda path: profile_figure(Path(path), session)),
            (gap_plot, lambda path: gap_figure(Path(path), session)),
            (tails, lambda path: tails_figure(Path(path), every)),
        )
    if stop.is_set():
        raise typer.Exit(130)
    if check:
        _check(session, update)
    elif update:
        _update(library, session)


def _check(session: Session, update: bool) -> None:
    from pvq.benchmarks.regression import FILE, compare, load, measured
    from pvq.layers.files import write_json

    now = measured(session.tasks, session.runs)
    if update:
        write_json(FILE, now)
        print(f"{FILE}: reference of {len(now['cases'])} cases")
        return
    lines, good = compare(load(), now)
    print("\n".join(lines))
    if not good:
        raise typer.Exit(1)


def _build(path: Path | None, folders: tuple[Path, ...]) -> None:
    from pvq.benchmarks.library import FILE, build, load
    from pvq.benchmarks.tasks import INSTANCES
    from pvq.layers.files import write_json
    from pvq.layers.outputs import check_output

    path = path or FILE
    check_output(path, suffixes=(".json",))
    manifest = build(load(path) if os.path.exists(path) else None, (INSTANCES, *folders))
    write_json(path, manifest)
    known = sum(words["upper"] is not None for words in manifest["instances"])
    print(f"{path}: {len(manifest['instances'])} instances, bounds known of {known}")


def _known(path: Path | None) -> tuple[Path, dict[str, Any]]:
    """The library that is brought up to date, and where it is."""
    from pvq.benchmarks.library import FILE, load
    from pvq.layers.outputs import check_output

    path = path or FILE
    check_output(path, suffixes=(".json",))
    return path, load(path)


def _update(path: Path | None, session: Session) -> None:
    from pvq.benchmarks.library import updated
    from pvq.layers.files import write_json

    path, known = _known(path)
    manifest, changes = updated(known, session.problems, session.runs)
    if changes:
        write_json(path, manifest)
    print("\n".join([*changes, f"{path}: {len(changes)} changes"]))


def _print_lists() -> None:
    import json

    from pvq.benchmarks.cases import list_names
    from pvq.benchmarks.tasks import CASES
    from rich import box
    from rich.table import Table

    from ..console import Printer

    table = Table(box=box.SIMPLE)
    table.add_column("case list", no_wrap=True)
    table.add_column("what it is")
    for name in list_names():
        table.add_row(name, json.loads((CASES / f"{name}.json").read_text()).get("about", ""))
    Printer().table(table)


def _progress(total: int, quiet: bool) -> AbstractContextManager[Callable[[Run], None] | None]:
    """A callback for each finished run: a bar on a terminal, now and then a line in a log, nothing if quiet."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    from ..console import Printer, plain_column
    from ..progress import plain_counter

    @contextmanager
    def shown() -> Iterator[Callable[[Run], None] | None]:
        console = Printer(stderr=True)
        if quiet or total == 0:
            yield None
        elif console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), plain_column("{task.description}"))
            with Progress(*columns, console=console, transient=True) as bar:
                line = bar.add_task("", total=total)
                yield lambda run: bar.update(
                    line, advance=1, description=f"{run.instance} {run.solver}: {run.outcome}"
                )
        else:
            yield plain_counter(total, "solves")

    return shown()
