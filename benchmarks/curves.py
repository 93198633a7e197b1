"""Curves of a benchmark: performance profiles, and the proven gap over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .judge import REFUSED, SOLVED
from .runner import Run
from .summary import LEAST, Score
from .tasks import Task

FIRST = 1e-3
"""Seconds at which gaps over time begin."""


@dataclass(frozen=True)
class Curve:
    """A step function, constant from each x to the next."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def performance_profile(scores: Iterable[Score]) -> list[Curve]:
    """rho_s(tau) = share of the instances that solver s solves within tau times the fastest solver's time.

    Dolan and More, "Benchmarking optimization software with performance profiles", Mathematical Programming 2002.
    Instances that nobody solves count for nobody; what a solver refuses (its label says how often) it does not
    solve.
    """
    scores = list(scores)
    instances = list(dict.fromkeys(score.instance for score in scores))
    solvers = list(dict.fromkeys(score.solver for score in scores))
    fastest: dict[str, float] = {}
    for score in scores:
        if score.solved:
            seconds = max(score.seconds, LEAST)
            fastest[score.instance] = min(seconds, fastest.get(score.instance, np.inf))
    curves = []
    ratios = {
        solver: sorted(
            max(s.seconds, LEAST) / fastest[s.instance] for s in scores if s.solver == solver and s.solved
        )
        for solver in solvers
    }
    end = 1.1 * max((r[-1] for r in ratios.values() if r), default=10.0)
    for solver in solvers:
        taus = [1.0, *ratios[solver], end]
        shares = [float(np.sum(np.array(ratios[solver]) <= tau)) / len(instances) for tau in taus]
        refused = sum(s.refused for s in scores if s.solver == solver)
        solved = len(ratios[solver])
        label = f"{solver} ({solved} solved" + (f", {refused} refused)" if refused else ")")
        curves.append(Curve(label, tuple(taus), tuple(shares)))
    return curves


def gap_steps(run: Run, best: float, limit: float) -> tuple[list[float], list[float]]:
    """Times and gaps 1 - lower / best of one run, the gaps never rising again; the end is what we judged.

    Bounds along the way are what the solver reported: where one is above what it finally proved, it is cut there.
    """
    final = 0.0 if run.outcome == SOLVED else _gap(0.0 if run.lower is None else run.lower, best)
    if run.outcome == "wrong":
        return [0.0], [1.0]
    times, gaps = [0.0], [1.0]
    for seconds, lower, _ in run.steps:
        gap = max(final, min(gaps[-1], _gap(lower, best)))
        if gap < gaps[-1] and seconds <= limit:
            times.append(seconds)
            gaps.append(gap)
    if run.seconds is not None and run.seconds <= limit:
        times.append(max(run.seconds, times[-1]))
        gaps.append(final)
    return times, gaps


def _gap(lower: float, best: float) -> float:
    return 0.0 if best <= 0 else float(np.clip(1 - lower / best, 0.0, 1.0))


def mean_gaps(runs: Iterable[Run], tasks: Iterable[Task], best: Mapping[str, float]) -> list[Curve]:
    """For each solver, the mean over the instances it takes of the gap it has proven by each time."""
    task_of = {task.key: task for task in tasks}
    of: dict[str, list[tuple[list[float], list[float]]]] = defaultdict(list)
    end = max((task.limits.time_limit for task in task_of.values()), default=1.0)
    refused: dict[str, int] = defaultdict(int)
    for run in runs:
        if run.outcome in REFUSED or run.instance not in best:
            refused[run.solver] += 1
            of.setdefault(run.solver, [])
        else:
            limit = task_of[run.key].limits.time_limit
            of[run.solver].append(gap_steps(run, best[run.instance], limit))
    curves = []
    for solver, some in of.items():
        if not some:
            continue
        grid = np.unique([FIRST, end, *(t for times, _ in some for t in times if FIRST < t < end)])
        total = np.zeros(len(grid))
        for times, gaps in some:
            total += np.array(gaps)[np.searchsorted(times, grid, side="right") - 1]
        label = solver + (f" (without {refused[solver]} it refused)" if refused[solver] else "")
        curves.append(Curve(label, tuple(grid), tuple(total / len(some))))
    return curves
