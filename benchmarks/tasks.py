"""What is to be solved: a row of a layer under a setting, by a solver, within limits."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting
from pvq.solvers.device import DEVICES
from pvq.solvers.registry import solver_class

from .made import is_made

HERE = Path(__file__).parent


CASES, INSTANCES = HERE / "cases", HERE / "instances"


WORDS = ("method", "bits", "grid", "granularity", "range", "sparsity", "nm", "block", "update", "inputs", "ridge")


KINDS: dict[tuple[type, ...], tuple[str, ...]] = {
    (str,): ("schema", "about", "name", "layer", "library", "method", "grid", "granularity", "range", "solver",
             "label", "device"),
    (int,): ("bits", "block", "threads", "repetitions", "seed", "node_limit"),
    (int, float): ("sparsity", "ridge", "time_limit", "gap", "memory"),
    (str, list): ("rows", "nm", "inputs"),
    (bool,): ("update", "together", "points"),
    (list,): ("cases", "targets", "solvers"),
    (dict,): ("defaults",),
}  # fmt: skip
"""What the value of each key of a case list is."""
NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True)
class Limits:
    """The same for all solvers of a case."""

    time_limit: float = 10.0
    """Seconds for each row; what is not solved within it counts as this long."""
    gap: float = 1e-6
    """Relative gap that counts as solved."""
    threads: int = 1
    memory: float = 4.0
    """GB of resident memory at which a solver is ended."""
    repetitions: int = 1
    """Solves of each row, with seeds seed, seed + 1, ...; times are medians over them."""
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """A solver as a case list names it."""

    solver: str
    label: str
    """What it is called in tables."""
    node_limit: int | None = None
    """1 gives the root bound."""
    device: str = "cpu"
    """Where long searches run: cpu, gpu or auto."""
    points: bool = True
    """False: `bound` proves lower ends of all rows with one D, and looks for no points."""

    @cached_property
    def only_bounds(self) -> bool:
        """Whether it is not meant to find the optimum: then its time counts as it is."""
        if self.node_limit is not None:
            return True
        try:
            return solver_class(self.solver).proves != "optimum"
        except Exception:  # unknown, or a plug-in that cannot be loaded: its process will tell
            return False


@dataclass(frozen=True)
class Instance:
    """One row of a layer under one setting."""

    name: str
    group: str
    """Its case, or its difficulty class in the library; tables have a section for each."""
    layer: Path
    setting: Setting
    """With `rows` None: the row is `row`."""
    row: int
    sha256: str | None = None
    """What `problem_sha256` must be, where the library says so."""
    upper: float | None = None
    """The least error that the library knows of."""
    together: tuple[int, ...] = ()
    """Rows that are solved at once with it, itself among them; none where it is solved alone."""
    unknown: str = ""
    """Why there is no such instance; one line, for the table."""


@dataclass(frozen=True)
class Task:
    """One solve."""

    instance: Instance
    entry: Entry
    limits: Limits
    repetition: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        """Instance, label and repetition."""
        return self.instance.name, self.entry.label, self.repetition


def tasks_of(instances: Iterable[Instance], entries: Iterable[Entry], limits: Limits) -> list[Task]:
    """Every solver on every instance."""
    entries = tuple(entries)
    return [
        Task(instance, entry, limits, repetition)
        for instance in instances
        for entry in entries
        for repetition in range(limits.repetitions)
    ]


def entry(words: str | Mapping[str, Any]) -> Entry:
    """A solver from its name or from {"solver": NAME, ...}."""
    if isinstance(words, str):
        return Entry(words, words)
    known_keys(words, ("solver", "label", "node_limit", "device", "points"), "a solver")
    if "solver" not in words:
        raise ProblemError("a solver that is an object needs the key solver")
    name = words["solver"]
    limit = words.get("node_limit")
    device = words.get("device", "cpu")
    if device not in DEVICES:
        raise ProblemError(f"a solver's device must be one of {', '.join(DEVICES)}, not {device!r}")
    points = words.get("points", True)
    if not (points or name == "bound"):
        raise ProblemError(f"bound alone can leave out points, not {name}")
    label = name if limit is None else f"{name}, {limit} nodes"
    label = label if device == "cpu" else f"{label}, {device}"
    return Entry(name, words.get("label", label if points else f"{label}, no points"), limit, device, points)


def setting_of(words: Mapping[str, Any]) -> Setting:
    """The setting of a case, rows left out."""
    values = {key: words[key] for key in WORDS if key in words}
    for key in ("nm", "inputs"):
        if values.get(key) is not None:
            values[key] = tuple(pair(key, values[key]))
    return Setting(**values)


def pair(key: str, text: str | list[int]) -> tuple[int, int]:
    """A:B, or the list [A, B]."""
    numbers = re.findall(r"\d+", text) if isinstance(text, str) and re.fullmatch(r"\d+:\d+", text) else text
    if not isinstance(numbers, list | tuple) or len(numbers) != 2:
        raise ProblemError(f"{key} must be A:B, not {text!r}")
    return int(numbers[0]), int(numbers[1])


def find_layer(name: str, folders: Iterable[Path]) -> Path:
    """The layer file of a name in the first folder that has it; where none has, its place in the last.

    A made layer has no file: its name is its path.
    """
    if is_made(name):
        return Path(name)
    file = name if name.endswith(".npz") else f"{name}.npz"
    paths = [Path(folder) / file for folder in folders]
    return next((path for path in paths if os.path.isfile(path)), paths[-1])


def check_limits(limits: Limits, where: str) -> None:
    """Raise `ProblemError` for limits that no solve can have."""
    if not (limits.time_limit > 0 and limits.memory > 0 and limits.gap >= 0):
        raise ProblemError(f"{where}: time_limit and memory must be positive, gap not negative")
    if limits.threads < 1 or limits.repetitions < 1:
        raise ProblemError(f"{where}: threads and repetitions must be at least 1")


def known_keys(words: Any, allowed: tuple[str, ...], where: str) -> None:
    """Raise `ProblemError` for a key that is not allowed, with the nearest that is, or an impossible value."""
    if not isinstance(words, Mapping):
        raise ProblemError(f"{where} must be an object, not {str(words)[:40]}")
    for key, value in words.items():
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(allowed)})"
            raise ProblemError(f"{where} has an unknown key '{key}'{hint}")
        kinds = next(kinds for kinds, keys in KINDS.items() if key in keys)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            expected = " or ".join(NAMES[kind] for kind in kinds)
            raise ProblemError(f"{where}: {key} must be {expected}, not {str(value)[:40]}")
