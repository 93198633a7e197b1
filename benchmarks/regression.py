"""Has the engine become worse? Statuses and node counts of small rows against a reference; never wall time.

The rows are the case list `regression`; the engine is deterministic on them. `pvq bench --check` compares with
`regression.json`, `pvq bench --check --update` writes it after a change that is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.layers.reading import read_json

from .judge import SOLVED
from .runner import Run
from .tasks import Task

LIST = "regression"
FILE = Path(__file__).resolve().parent / "regression.json"  # the source's own in an editable installation
SCHEMA = "pvq.regression/1"
MORE = 1.2
"""A case may need this many times the nodes of the reference."""


def measured(tasks: Iterable[Task], runs: Iterable[Run]) -> dict[str, Any]:
    """The reference that runs would make: for each case the nodes of each instance, and what was not solved."""
    group = {task.key: task.instance.group for task in tasks}
    cases: dict[str, dict[str, Any]] = {}
    for run in runs:
        case = cases.setdefault(group[run.key], {"nodes": {}, "outcomes": {}})
        case["nodes"][run.instance] = run.nodes or 0
        case["outcomes"][run.instance] = run.outcome
    return {"schema": SCHEMA, "cases": cases}


def load(path: Path = FILE) -> dict[str, Any]:
    """Read a reference; raises `ProblemError` if it is not one."""
    try:
        document: dict[str, Any] = read_json(path)
        if document["schema"] != SCHEMA:
            raise ProblemError(f"{path} has schema {document['schema']!r}, expected {SCHEMA!r}")
        return document
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProblemError(f"{path} is not a reference of pvq bench ({type(error).__name__}: {error})") from None


def compare(reference: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], bool]:
    """One line for each case, and whether all are as good as the reference.

    Worse is: an instance that was solved is not, one that nobody has, or more than `MORE` times a case's nodes.
    """
    lines, good = [], True
    for name in dict.fromkeys((*reference["cases"], *now["cases"])):
        old, new = reference["cases"].get(name), now["cases"].get(name)
        if old is None or new is None:
            lines.append(f"WORSE {name}: {'not in the reference' if old is None else 'was not run'}")
            good = False
            continue
        lost = [i for i, outcome in old["outcomes"].items() if outcome == SOLVED != new["outcomes"].get(i)]
        before, after = sum(old["nodes"].values()), sum(new["nodes"].values())
        more = after > MORE * before
        ratio = f"{after:,} nodes, {before:,} before ({after / max(before, 1):.2f})"
        word = "WORSE" if lost or more else "better" if after * MORE < before else "same"
        lost_words = "".join(f"; {i} was solved, now {new['outcomes'].get(i, 'missing')}" for i in lost)
        lines.append(f"{word} {name}: {ratio}{lost_words}")
        good &= word != "WORSE"
    return lines, good
