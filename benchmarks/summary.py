"""Figures of merit of a benchmark: for tables, targets and curves.

A run that is not solved within the time limit, for whatever reason, counts as the time limit; a bound that is not
meant to be more (a relaxation, a solver with a node limit) counts as what it took. Instances that a solver refuses
(licence, unsupported, not installed) are left out of its figures and counted apart.

A target is {"solver": LABEL, "measure": NAME, "at_most" or "at_least": NUMBER}, with "case" for one case only:
solved (share of the instances taken), median, p90, max, total (seconds), within:T (share solved within T seconds),
closed (least lower / best upper), total_closed (the same of the sums over the rows), prepare (longest preparation,
compiling included, in seconds), cpu (median processor time of a row, its verification included), prepare_cpu (of
layer-wide work, and of compiling where new), layer:N (that and N times the mean of cpu: a layer of N rows),
memory (GB at the peak), level and predicted (the volume model's level and predicted optimum over the sum of the
optima, the least of the cases; see `calibration`), speedup:LABEL (ratio of geometric means over instances both
take), bound:LABEL (mean ratio of lower bounds), nodes_per_second. With "before", a text, targets are shown as a
table of what was before, what is wanted and what is seen.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.solvers.result import Status

from .judge import REFUSED, SOLVED
from .runner import Run
from .tasks import Task

SHIFT = 0.1
"""Seconds added before and taken off after a shifted geometric mean: rows of milliseconds do not rule it."""

LEAST = 1e-5
"""Seconds below which times are not told apart, so that geometric means stay finite."""


DONE = frozenset({SOLVED, Status.NODE_LIMIT.value, Status.BOUND_ONLY.value, Status.FEASIBLE_ONLY.value})


@dataclass(frozen=True)
class Score:
    """One solver on one instance, repetitions joined: solved if all are, medians of times and nodes."""

    instance: str
    group: str
    solver: str
    outcome: str
    why: str
    seconds: float
    """Counted: the time limit where it is not solved."""
    nodes: float | None
    lower: float | None
    best: float | None
    """Least error that any solver found."""
    memory: float | None
    prepare: float | None
    cpu: float | None
    prepare_cpu: float | None

    @property
    def solved(self) -> bool:
        """Whether it is solved within the limit."""
        return self.outcome == SOLVED

    @property
    def refused(self) -> bool:
        """Whether it was not tried."""
        return self.outcome in REFUSED

    @property
    def gap(self) -> float:
        """1 - lower / best: 0 where solved, 1 where nothing is proven."""
        if self.lower is None or self.best is None or self.outcome == "wrong":
            return 1.0
        return 0.0 if self.best <= 0 or self.solved else min(1.0, max(0.0, 1 - self.lower / self.best))


def scores(runs: Iterable[Run], tasks: Iterable[Task], best: Mapping[str, float]) -> list[Score]:
    """Join repetitions."""
    task_of = {task.key: task for task in tasks}
    together: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.key in task_of:
            together[run.instance, run.solver].append(run)
    joined = []
    for (instance, solver), some in together.items():
        task = task_of[some[0].key]
        worst = next((run for run in some if run.outcome != SOLVED), some[0])  # all must be solved
        limit = task.limits.time_limit
        counts = DONE if task.entry.only_bounds else {SOLVED}
        times = [run.seconds if run.outcome in counts and run.seconds is not None else limit for run in some]
        nodes = [run.nodes for run in some if run.nodes is not None]
        lowers = [run.lower for run in some if run.lower is not None]
        memory = [run.memory for run in some if run.memory is not None]
        prepare = [run.prepare for run in some if run.prepare is not None]
        cpu = [run.cpu for run in some if run.cpu is not None]
        prepare_cpu = [run.prepare_cpu for run in some if run.prepare_cpu is not None]
        joined.append(
            Score(
                instance,
                task.instance.group,
                solver,
                worst.outcome,
                worst.why,
                statistics.median(times),
                statistics.median(nodes) if nodes else None,
                min(lowers) if lowers else None,
                best.get(instance),
                max(memory) if memory else None,
                max(prepare) if prepare else None,
                statistics.median(cpu) if cpu else None,
                max(prepare_cpu) if prepare_cpu else None,
            )
        )
    return joined


def geometric_mean(values: Sequence[float], shift: float = 0.0) -> float:
    """exp(mean(log(v + shift))) - shift."""
    shifted = np.maximum(np.asarray(values, dtype=np.float64) + shift, LEAST)
    return float(np.exp(np.log(shifted).mean()) - shift)


def taken(some: Iterable[Score], solver: str, case: str | None = None) -> dict[str, Score]:
    """Scores of one solver by instance, without refused ones."""
    return {
        s.instance: s for s in some if s.solver == solver and not s.refused and (case is None or s.group == case)
    }


def speedup(some: Iterable[Score], fast: str, slow: str, case: str | None = None) -> tuple[float, int] | None:
    """Ratio of geometric mean times, slow over fast, on the instances that both take; and how many these are."""
    some = list(some)
    a, b = taken(some, fast, case), taken(some, slow, case)
    common = [name for name in a if name in b]
    if not common:
        return None
    ratio = geometric_mean([b[i].seconds for i in common]) / geometric_mean([a[i].seconds for i in common])
    return ratio, len(common)


def bound_ratio(some: Iterable[Score], ours: str, theirs: str, case: str | None = None) -> float | None:
    """Mean ratio of lower bounds on the instances where both have one."""
    some = list(some)
    a, b = taken(some, ours, case), taken(some, theirs, case)
    ratios = []
    for name in a:
        if name in b and a[name].outcome != "wrong" and b[name].outcome != "wrong":
            over, under = a[name].lower, b[name].lower
            if over is not None and under:
                ratios.append(over / under)
    return statistics.fmean(ratios) if ratios else None


def _total_closed(some: list[Score]) -> float:
    """Sum of the lower bounds over the sum of the best known errors, of the rows that have one."""
    known = [(s.lower if s.lower is not None and s.outcome != "wrong" else 0.0, s.best) for s in some if s.best]
    return sum(lower for lower, _ in known) / sum(best for _, best in known if best) if known else 0.0


def _layer(some: list[Score], rows: float) -> float | None:
    """Processor time of a layer of so many rows like these."""
    cpu = [s.cpu for s in some if s.cpu is not None]
    prepared = [s.prepare_cpu for s in some if s.prepare_cpu is not None]
    return max(prepared) + rows * statistics.fmean(cpu) if cpu and prepared else None


MEASURES: dict[str, Callable[[list[Score]], float]] = {
    "solved": lambda some: statistics.fmean(s.solved for s in some),
    "median": lambda some: statistics.median(s.seconds for s in some),
    "p90": lambda some: float(np.quantile([s.seconds for s in some], 0.9)),
    "max": lambda some: max(s.seconds for s in some),
    "total": lambda some: sum(s.seconds for s in some),
    "closed": lambda some: min(1 - s.gap for s in some),
    "total_closed": lambda some: _total_closed(some),
    "prepare": lambda some: max(s.prepare or 0.0 for s in some),
    "cpu": lambda some: statistics.median(s.cpu or 0.0 for s in some),
    "prepare_cpu": lambda some: max(s.prepare_cpu or 0.0 for s in some),
    "memory": lambda some: max(s.memory or 0.0 for s in some),
    "nodes_per_second": lambda some: sum(s.nodes or 0 for s in some) / sum(s.seconds for s in some),
}
WITH = ("within", "layer", "speedup", "bound")
MODEL = ("level", "predicted")


def measure(some: Iterable[Score], target: Mapping[str, Any]) -> float | None:
    """The figure that a target is about; None if there are no runs for it."""
    some, case, solver = list(some), target.get("case"), target["solver"]
    name, _, argument = target["measure"].partition(":")
    if name == "speedup":
        ratio = speedup(some, solver, argument, case)
        return None if ratio is None else ratio[0]
    if name == "bound":
        return bound_ratio(some, solver, argument, case)
    own = list(taken(some, solver, case).values())
    if not own:
        return None
    if name == "within":
        return statistics.fmean(s.solved and s.seconds <= float(argument) for s in own)
    return _layer(own, float(argument)) if name == "layer" else MEASURES[name](own)


def check_targets(targets: Any, tasks: Iterable[Task]) -> None:
    """Raise `ProblemError` for a target that is not one."""
    tasks = list(tasks)
    labels = {task.entry.label for task in tasks}
    groups = {task.instance.group for task in tasks}
    for target in targets:
        if not isinstance(target, dict) or not {"solver", "measure"} <= set(target):
            raise ProblemError(f"a target needs solver and measure: {target}")
        name, _, argument = str(target["measure"]).partition(":")
        if name not in (*MEASURES, *WITH, *MODEL):
            raise ProblemError(f"unknown measure '{name}' (there are: {', '.join((*MEASURES, *WITH, *MODEL))})")
        if name in ("within", "layer"):
            float(argument)
        if not isinstance(target.get("before", ""), str):
            raise ProblemError(f"a target's before must be a text: {target}")
        solvers = {target["solver"], argument} if name in ("speedup", "bound") else {target["solver"]}
        for label in solvers - labels:
            raise ProblemError(f"a target names solver '{label}', the cases have {', '.join(sorted(labels))}")
        if target.get("case", next(iter(groups), None)) not in groups:
            raise ProblemError(f"a target names case '{target['case']}', there are {', '.join(sorted(groups))}")
        if ("at_most" in target) == ("at_least" in target):
            raise ProblemError(f"a target needs either at_most or at_least: {target}")
