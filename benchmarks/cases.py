"""Case lists: which rows of which layers, stated how, for which solvers, within which limits.

A case list is a JSON file of schema `pvq.cases/1`, in `benchmarks/cases` or anywhere:

    {"schema": "pvq.cases/1", "about": "one line",
     "defaults": {"solvers": ["bnb", "gurobi"], "time_limit": 60, "threads": 1},
     "cases": [{"name": "q4-64", "layer": "efficientnet_lite0.blocks.9.expand", "rows": "0:20", "inputs": "0:64",
                "method": "quant", "bits": 4}],
     "targets": [{"case": "q4-64", "solver": "bnb", "measure": "median", "at_most": 0.005}]}

A case has `name`, `layer` (a file name, `.npz` may be left off, or a layer that a seed makes, see `made`), `rows`
("A:B" or a list), the words of `pvq bound` that state the problem (method, bits, grid, granularity, range,
sparsity, nm, block, update, inputs, ridge), and any of the limits of `Limits`; what is not said comes from
`defaults`. With "together": true its rows go to a solver at once, as those of a layer do, and each counts as an
equal part of the time. Or a case is {"library": GLOB}: instances of the library by name or class. A solver is a
name, or {"solver": NAME, "label": NAME, "node_limit": N, "device": "cpu", "gpu" or "auto", "points": false for the
lower ends of `bound` alone}.
Targets: see `summary`.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting
from pvq.layers.reading import read_json

from .library import UnknownInstance, instances_by_name
from .summary import check_targets
from .tasks import (
    CASES,
    INSTANCES,
    WORDS,
    Entry,
    Instance,
    Limits,
    Task,
    check_limits,
    entry,
    find_layer,
    known_keys,
    pair,
    setting_of,
    tasks_of,
)

SCHEMA = "pvq.cases/1"


@dataclass(frozen=True)
class CaseList:
    """A case list, read and checked."""

    name: str
    about: str
    tasks: tuple[Task, ...]
    targets: tuple[Mapping[str, Any], ...] = ()


def list_names() -> list[str]:
    """Names of the case lists that come with the package."""
    return sorted(path.stem for path in CASES.glob("*.json"))


def read_list(name: str, folders: Iterable[Path] = (), library: Path | None = None) -> CaseList:
    """Read a case list by name or path.

    Parameters
    ----------
    name : name of a list in `benchmarks/cases`, or a path.
    folders : where else to look for layer files.
    library : the instance library, None for the one that comes with the package.

    Raises
    ------
    ProblemError
        There is no such list, or it is not one; one line that names the file and the key.
    """
    path = CASES / f"{name}.json"
    if not os.path.isfile(path):
        path = Path(name)
    if not os.path.isfile(path):
        near = difflib.get_close_matches(name, list_names(), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ProblemError(f"no case list '{name}'{hint} (there are: {', '.join(list_names())}; or give a file)")
    try:
        document = read_json(path)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ProblemError(f'it has no "schema": "{SCHEMA}"')
        return parse(document, path.stem, (path.parent, INSTANCES, *folders), library)
    except (ProblemError, ValueError, TypeError) as error:
        raise ProblemError(f"case list {path}: {error}") from None


def parse(
    document: Mapping[str, Any], name: str, folders: Iterable[Path], library: Path | None = None
) -> CaseList:
    """The case list of a document; raises `ProblemError`, `ValueError` or `TypeError` if it is not one."""
    known_keys(document, ("schema", "about", "defaults", "cases", "targets"), "the list")
    cases = document.get("cases")
    if not isinstance(cases, list) or not cases:
        raise ProblemError("it has no cases")
    defaults = document.get("defaults", {})
    limit_names = tuple(field.name for field in fields(Limits))
    known_keys(defaults, (*WORDS, *limit_names, "layer", "rows", "together", "solvers"), "defaults")
    tasks: list[Task] = []
    for number, case in enumerate(cases):
        where = f"case {case.get('name', number + 1) if isinstance(case, dict) else number + 1}"
        known_keys(case, (*WORDS, *limit_names, "name", "layer", "rows", "together", "solvers", "library"), where)
        full = {**defaults, **case}
        limits = Limits(**{key: full[key] for key in limit_names if key in full})
        check_limits(limits, where)
        entries = [entry(solver) for solver in full.get("solvers", ())]
        if not entries:
            raise ProblemError(f"{where} names no solvers")
        if "library" in case:
            try:
                instances = instances_by_name(case["library"], folders, library)
            except UnknownInstance as error:  # the others go on, the table says so
                name = str(case.get("name", case["library"]))
                instances = [Instance(name, name, Path(), Setting("quant"), -1, unknown=str(error))]
        else:
            instances = _instances(full, where, folders)
        tasks += tasks_of(instances, entries, limits)
    _unique(tasks)
    targets = tuple(document.get("targets", ()))
    check_targets(targets, tasks)
    return CaseList(name, str(document.get("about", "")), tuple(tasks), targets)


def chosen(tasks: Iterable[Task], pattern: str) -> list[Task]:
    """Tasks whose instance name matches a pattern with * and ?.

    Raises
    ------
    ProblemError
        None does; the nearest name is suggested.
    """
    tasks = list(tasks)
    found = [task for task in tasks if fnmatch.fnmatchcase(task.instance.name, pattern)]
    if not found:
        names = sorted({task.instance.name for task in tasks})
        near = difflib.get_close_matches(pattern, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {len(names)}, as '{names[0]}'"
        raise ProblemError(f"no instance matches '{pattern}'; {hint}")
    return found


def changed(tasks: Iterable[Task], entries: Iterable[Entry] | None = None, **limits: Any) -> list[Task]:
    """The tasks with other solvers or limits; None leaves a limit as it is."""
    tasks = list(tasks)
    new = {key: value for key, value in limits.items() if value is not None}
    instances = {task.instance.name: (task.instance, replace(task.limits, **new)) for task in tasks}
    for _, changed_limits in instances.values():
        check_limits(changed_limits, "the options")
    of: dict[str, list[Entry]] = {}
    for task in tasks:
        if task.repetition == 0:
            of.setdefault(task.instance.name, []).append(task.entry)
    wanted = None if entries is None else list(entries)
    return [
        task
        for name, (instance, limit) in instances.items()
        for task in tasks_of([instance], wanted or of[name], limit)
    ]


def _instances(case: Mapping[str, Any], where: str, folders: Iterable[Path]) -> list[Instance]:
    for key in ("name", "layer", "rows", "method"):
        if key not in case:
            raise ProblemError(f"{where} has no {key}")
    rows = case["rows"]
    numbers = range(*pair("rows", rows)) if isinstance(rows, str) else [int(row) for row in rows]
    path, setting = find_layer(case["layer"], folders), setting_of(case)
    together = case.get("together", False)
    others = tuple(numbers) if together else ()
    return [
        Instance(f"{case['name']}.r{row}", case["name"], path, setting, row, together=others) for row in numbers
    ]


def _unique(tasks: Iterable[Task]) -> None:
    seen: set[tuple[str, str, int]] = set()
    for task in tasks:
        if task.key in seen:
            raise ProblemError(f"instance '{task.instance.name}' has solver '{task.entry.label}' twice")
        seen.add(task.key)
