"""The record of a benchmark, `pvq.bench/1`: JSON with everything, CSV with one line for each solve."""

from __future__ import annotations

import csv
import io
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.problem import Problem
from pvq.layers.reading import read_json

from .problems import problem_sha256
from .runner import Run
from .tasks import Task

SCHEMA = "pvq.bench/1"
PACKAGES = (
    *("pvq-bound", "numpy", "scipy", "numba", "gurobipy", "pyscipopt", "xpress", "cplex", "coptpy"),
    *("cvxpy", "clarabel", "el0ps", "l0bnb", "fpylll"),
)
LIMITS = ("time_limit", "gap", "threads", "memory_limit", "node_limit", "device", "seed")
"""What must be the same for a run to stand for a task, and `TOGETHER`."""

TOGETHER = "together"
"""Rows that were solved at once with it; records from before there were any say nothing of it."""

FAIRNESS = (
    "Each solver runs in a process of its own, one at a time unless `jobs` says otherwise, with the same threads, "
    "time limit, gap and seed; SCIP has one thread whatever is asked. No start is handed in: adapters of outside "
    "solvers first find a point by the same greedy and local search that bnb starts from, within their time, and "
    "hand it to their solver where it takes one (CVXPY does not). Time is of the row: its preparation and solve, "
    "without compilation and work that rows share (such as the diagonal of the perspective form). Errors are "
    "recomputed from x here; a bound above any solver's feasible error is wrong."
)


def environment(jobs: int) -> dict[str, Any]:
    """Versions, processor, load."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_allowed": affinity,
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": packages,
        "jobs": jobs,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def limits_of(task: Task) -> dict[str, Any]:
    """The limits of a task, with the seed of its repetition."""
    words = {
        **asdict(task.limits),
        "node_limit": task.entry.node_limit,
        "device": task.entry.device,
        "memory_limit": task.limits.memory,
    }
    words["seed"] += task.repetition
    return {name: words[name] for name in LIMITS} | {TOGETHER: len(task.instance.together)}


def document(
    lists: Sequence[str],
    tasks: Iterable[Task],
    problems: Mapping[str, Problem],
    runs: Iterable[Run],
    best: Mapping[str, float],
    environments: Sequence[Mapping[str, Any]],
    session: Mapping[tuple[str, str, int], int],
) -> dict[str, Any]:
    """Everything about a benchmark as JSON values."""
    task_of = {task.key: task for task in tasks}
    instances = {task.instance.name: task.instance for task in task_of.values()}
    described = []
    for name, instance in instances.items():
        problem = problems.get(name)
        words: dict[str, Any] = {"name": name, "group": instance.group, "layer": instance.layer.name}
        words |= {"row": instance.row, "problem": instance.setting.as_json()}
        if problem is not None:
            words |= {"n": problem.n, "reference": problem.reference, "sha256": problem_sha256(problem)}
        described.append(words | {"best": best.get(name)})
    results = []
    for run in runs:
        task = task_of[run.key]
        words = {"instance": run.instance, "solver": run.solver, "repetition": run.repetition}
        words |= {**limits_of(task), "session": session.get(run.key, 0)}
        results.append(words | {key: value for key, value in asdict(run).items() if key not in words})
    return {
        "schema": SCHEMA,
        "lists": list(lists),
        "fairness": FAIRNESS,
        "environments": [dict(one) for one in environments],
        "instances": described,
        "results": results,
    }


def csv_text(record: Mapping[str, Any]) -> str:
    """One line for each solve, without points and steps."""
    text = io.StringIO()
    columns = ["instance", "group", "n", "method", "solver", "repetition", "outcome", "seconds", "nodes", "lower"]
    columns += [
        "upper",
        "best",
        "reference",
        "bound_kind",
        "memory",
        "prepare",
        "wall",
        "cpu",
        "prepare_cpu",
        *LIMITS,
        TOGETHER,
        "session",
        "why",
    ]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    instances = {words["name"]: words for words in record["instances"]}
    for result in record["results"]:
        instance = instances[result["instance"]]
        writer.writerow({**instance, "method": instance["problem"]["method"], **result})
    return text.getvalue()


def earlier(
    path: Path, tasks: Iterable[Task], problems: Mapping[str, Problem]
) -> tuple[list[Run], dict[str, Any]]:
    """Runs of a record that stand for tasks: same instance by hash, same solver, same limits; and the record.

    Raises
    ------
    ProblemError
        The file is not a record.
    """
    try:
        record = read_json(path)
        if record["schema"] != SCHEMA:
            raise ProblemError(f"{path} has schema {record['schema']!r}, expected {SCHEMA!r}")
        hashes = {words["name"]: words.get("sha256") for words in record["instances"]}
        names = {field.name for field in fields(Run)}
        found = {}
        for result in record["results"]:
            limits = {name: result[name] for name in LIMITS} | {"solver": result["name"]}
            limits[TOGETHER] = result.get(TOGETHER, 0)
            run = Run(**{key: value for key, value in result.items() if key in names})
            found[run.key] = (run, limits, result["session"])
        environments = record["environments"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProblemError(f"{path} is not a record of pvq bench ({type(error).__name__}: {error})") from None
    current = {name: problem_sha256(problem) for name, problem in problems.items()}
    kept, session = [], {}
    for task in tasks:
        run, limits, number = found.get(task.key, (None, None, None))
        same = {**limits_of(task), "solver": task.entry.solver}
        if run is None or limits != same or hashes.get(run.instance) != current.get(run.instance):
            continue
        kept.append(run)
        session[run.key] = number
    return kept, {"environments": environments, "session": session}
