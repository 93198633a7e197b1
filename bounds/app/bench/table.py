"""Tables of `pvq bench`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from ..console import Printer, printable

if TYPE_CHECKING:
    from pvq.benchmarks.calibration import Calibration
    from pvq.benchmarks.session import Session
    from pvq.benchmarks.summary import Score

WHYS = 20  # different reasons listed below the table


def scores_table(abouts: Sequence[str], session: Session) -> None:
    """Print one section for each case, and one for all where there are several."""
    from pvq.benchmarks.summary import SHIFT

    console = Printer()
    for about in abouts:
        console.say(name=about)
    table = Table(box=box.SIMPLE)
    table.add_column("case", no_wrap=True)
    table.add_column("solver", no_wrap=True)
    for title in ("solved", "median s", "90% s", "max s", "s.g.m. s", "times slower"):
        table.add_column(title, justify="right")
    for title in ("median nodes", "lower / best", "GB"):
        table.add_column(title, justify="right")
    table.add_column("the others")
    scores = session.scores()
    groups = list(dict.fromkeys(score.group for score in scores))
    solvers = list(dict.fromkeys(task.entry.label for task in session.tasks))
    for group in [*groups, None] if len(groups) > 1 else groups:
        table.add_section()
        for solver in solvers:
            some = [s for s in scores if s.solver == solver and (group is None or s.group == group)]
            if some:
                table.add_row(*_cells(group, solver, solvers[0], some, scores))
    console.table(table)
    console.say(_machine(session), style="dim")
    limits = sorted({task.limits.time_limit for task in session.tasks})
    console.say(
        f"Seconds of a row, unsolved ones at the limit ({', '.join(f'{limit:g} s' for limit in limits)}); s.g.m.: "
        f"shifted geometric mean, shift {SHIFT:g} s; times slower: ratio of geometric means to the first solver, "
        "on rows that both take; lower / best: mean of the lower bound over the least error anybody found.",
        style="dim",
    )
    _print_whys(console, scores)


def calibration_table(some: Iterable[Calibration]) -> None:
    """Print what the volume model said of each case, and what was true."""
    from pvq.benchmarks.calibration import ODDS

    table = Table(box=box.SIMPLE, title="The volume model, against exact optima", title_justify="left")
    table.add_column("case", no_wrap=True)
    for title in ("rows", "covered", "level / optimum", "predicted / optimum", "optimum / predicted of a row"):
        table.add_column(title, justify="right")
    for odds in ODDS:
        table.add_column(f"tail <= {odds:g}", justify="right")
    for one in some:
        quantiles = " ".join(f"{value:.2f}" for value in np.quantile(one.ratios, (0.05, 0.5, 0.95)))
        cells = [
            one.case,
            str(one.rows),
            str(len(one.tails)),
            f"{one.level:.4f}",
            f"{one.predicted:.4f}",
            quantiles,
        ]
        table.add_row(*map(printable, cells), *(f"{one.share(odds):.4f}" for odds in ODDS))
    console = Printer()
    console.table(table)
    console.say(
        "level: for odds of 0.001; of a row: 5, 50 and 95 %; tail <= p: share of rows whose optimum is as small "
        "as the theorem allows in a share p of draws, its scale taken as given.",
        style="dim",
    )


def _machine(session: Session) -> str:
    """Where and how this was run."""
    machine = session.environments[-1]
    threads = sorted({task.limits.threads for task in session.tasks})
    jobs = f", {machine['jobs']} solves at the same time" if machine["jobs"] > 1 else ""
    others = f"; results of {len(session.environments) - 1} earlier runs" if len(session.environments) > 1 else ""
    cores = f"{machine['cores_allowed']} of {machine['cores']} cores"
    return (
        f"{machine['processor']}, {cores}, load {machine['load']:.1f} at the start; "
        f"{' or '.join(map(str, threads))} thread(s) a solver{jobs}{others}."
    )


def _cells(group: str | None, solver: str, first: str, some: list[Score], scores: list[Score]) -> list[str]:
    from pvq.benchmarks.summary import SHIFT, geometric_mean, speedup

    took = [s for s in some if not s.refused]
    others = Counter(s.outcome for s in some if not s.solved)
    said = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in others.most_common())
    cells = ["all" if group is None else group, solver, f"{sum(s.solved for s in some)} of {len(some)}"]
    if not took:
        return [printable(cell) for cell in (*cells, *[""] * 8, said)]
    seconds = [s.seconds for s in took]
    ratio = None if solver == first else speedup(scores, first, solver, group)
    nodes = [s.nodes for s in took if s.nodes is not None]
    memory = [s.memory for s in took if s.memory is not None]
    cells += [
        f"{statistics.median(seconds):.3g}",
        f"{np.quantile(seconds, 0.9):.3g}",
        f"{max(seconds):.3g}",
        f"{geometric_mean(seconds, SHIFT):.3g}",
        "" if ratio is None else f"{ratio[0]:,.3g}" + (f" on {ratio[1]}" if ratio[1] < len(some) else ""),
        f"{statistics.median(nodes):,.0f}" if nodes else "",
        f"{1 - statistics.fmean(s.gap for s in took):.4f}",
        f"{max(memory):.2f}" if memory else "",
        said,
    ]
    return [printable(cell) for cell in cells]


def _print_whys(console: Printer, scores: Iterable[Score]) -> None:
    """What happened where something did."""
    whys = Counter((s.solver, s.outcome, s.why) for s in scores if s.why)
    for (solver, outcome, why), count in whys.most_common(WHYS):
        times = f" ({count} rows)" if count > 1 else ""
        console.say(f"{printable(solver)}: {outcome}: {printable(why)}{times}")
    if len(whys) > WHYS:
        console.say(f"... and {len(whys) - WHYS} more; --json has them all")


def print_targets(
    targets: Iterable[Mapping[str, Any]], session: Session, calibrated: Mapping[str, list[Calibration]]
) -> None:
    """Print each target, what was measured, and whether it is met; as a table where it is said what was before."""
    from pvq.benchmarks.calibration import measured
    from pvq.benchmarks.summary import MODEL, measure

    console, scores, targets = Printer(), session.scores(), list(targets)
    table = Table(box=box.SIMPLE)
    for title in ("case", "measure", "before", "wanted", "seen"):
        table.add_column(title, no_wrap=title == "case")
    before = any("before" in target for target in targets)
    for target in targets:
        if target["measure"] in MODEL:
            got = measured(calibrated.get(target["solver"], []), target["measure"], target.get("case"))
        else:
            got = measure(scores, target)
        least = "at_least" in target
        goal = target["at_least" if least else "at_most"]
        case = f"{target['case']}, " if "case" in target else ""
        wanted = f"{'>=' if least else '<='} {goal:g}"
        if got is None:
            verdict = "not measured"
        else:
            verdict = f"{got:.4g}, {'met' if (got >= goal if least else got <= goal) else 'missed'}"
        if before:
            what = f"{target['solver']} {target['measure']}"
            cells = (target.get("case", "all"), what, target.get("before", ""), wanted, verdict)
            table.add_row(*map(printable, cells))
        else:
            words = f"target: {case}{target['solver']} {target['measure']} {wanted}: "
            console.say(printable(words + verdict))
    if before:
        console.table(table)
