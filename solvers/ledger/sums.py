"""Sums over rows, which are kept: of each chunk, and of each task, so that a status reads a line for each task."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from pvq.bounds.outward import sum_down, sum_up

from .record import Record
from .told import all_errors_of, check_kinds, check_sizes


@dataclass(frozen=True)
class Total:
    """What is known of the rows of a task, or of many; sums rounded outwards."""

    rows: int
    known: int
    solved: int
    rigorous: int
    numerical: int
    failed: int
    lower: float
    proven: float
    upper: float
    """Infinite as long as a row has no feasible point."""
    reference: float
    seconds: float
    empirical: Mapping[str, float]

    @property
    def kind(self) -> str:
        """The weakest kind among rows with a bound; rows without one add 0, which holds."""
        return "numerical" if self.numerical else "rigorous" if self.rigorous else "none"


NAMES = tuple(field.name for field in fields(Total))
OF_CHUNK = f"stop - first, {', '.join(NAMES[1:])}"
PUT = f"INSERT OR REPLACE INTO sums (task, {', '.join(NAMES)}) VALUES (?{', ?' * len(NAMES)})"


def sum_chunk(db: sqlite3.Connection, chunk: int, rows: Sequence[Record]) -> None:
    """Make the sums of a chunk anew."""
    count = len(rows)
    scores = [row.scores for row in rows]
    names = set.intersection(*map(set, scores)) if scores else set()
    open_rows = [row for row in rows if not row.solved]
    asked = {row.asked for row in open_rows}
    values = {
        "known": count,
        "solved": count - len(open_rows),
        "rigorous": sum(row.kind == "rigorous" for row in rows),
        "numerical": sum(row.kind == "numerical" for row in rows),
        "failed": sum(row.reason == "failure" for row in rows),
        "lower": sum_down(row.lower for row in rows),
        "proven": sum_down(row.proven for row in rows),
        "upper": sum_up(row.upper for row in rows),
        "reference": sum_up(row.reference for row in rows),
        "seconds": sum(row.seconds + row.verify_seconds for row in rows),
        "effort": min((row.effort for row in open_rows), default=math.inf),
        "asked": asked.pop() if len(asked) == 1 else "",
        "empirical": json.dumps({name: sum_up(score[name] for score in scores) for name in sorted(names)}),
    }
    names_of = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE chunks SET {names_of} WHERE id = ?", (*values.values(), chunk))


def sum_task(db: sqlite3.Connection, task: int) -> None:
    """Make the sums of a task anew, from those of its chunks."""
    *sums, scores = astuple(totals_of_chunks(db, task)[task])
    db.execute(PUT, (task, *sums, json.dumps(scores)))


def kept_totals(db: sqlite3.Connection, task: int | None = None) -> dict[int, Total]:
    """Of one task, or of all, from the sums that are kept for tasks.

    Raises
    ------
    ValueError
        Sums are none, or are missing.
    """
    where, which = ("", ()) if task is None else ("WHERE tasks.id = ? ", (task,))
    columns = ", ".join(f"sums.{name}" for name in NAMES)
    query = f"SELECT tasks.id, {columns} FROM tasks LEFT JOIN sums ON task = tasks.id {where}ORDER BY tasks.id"
    found = db.execute(query, which).fetchall()
    told = all_errors_of([str(row[-1]) for row in found])
    totals = {}
    for (number, *sums, _), errors in zip(found, told, strict=True):
        totals[number] = Total(**dict(zip(NAMES, (*sums, errors), strict=True)))
        check_kinds(totals[number])
        _check(totals[number])
    return totals


def totals_of_chunks(db: sqlite3.Connection, task: int | None = None) -> dict[int, Total]:
    """Of one task, or of all, from the sums of chunks: the same numbers.

    Raises
    ------
    ValueError
        Sums are none.
    """
    where, which = ("", ()) if task is None else ("WHERE task = ? ", (task,))
    every = "SELECT id FROM tasks" if task is None else "SELECT id FROM tasks WHERE id = ?"
    parts: dict[int, list[Any]] = {number: [] for (number,) in db.execute(every, which)}
    for row in db.execute(f"SELECT task, {OF_CHUNK} FROM chunks {where}ORDER BY task, first", which):
        parts[row[0]].append(row[1:])
    return {number: _total(list(zip(*chunks, strict=True))) for number, chunks in parts.items()}


def _total(columns: Sequence[Sequence[Any]]) -> Total:
    rows, known, solved, rigorous, numerical, failed, lower, proven, upper, reference, seconds, scores = columns
    told = all_errors_of(scores)
    names = set.intersection(*map(set, told)) if sum(rows) == sum(known) else set()
    total = Total(
        rows=sum(rows),
        known=sum(known),
        solved=sum(solved),
        rigorous=sum(rigorous),
        numerical=sum(numerical),
        failed=sum(failed),
        lower=sum_down(lower),
        proven=sum_down(proven),
        upper=sum_up(upper) if sum(known) == sum(rows) else math.inf,
        reference=sum_up(reference),
        seconds=sum(seconds),
        empirical={name: sum_up(score[name] for score in told) for name in sorted(names)},
    )
    _check(total)
    return total


def _check(total: Total) -> None:
    """Raise ValueError for what no rows sum up to."""
    known = total.known == total.rows
    check_sizes(lower=total.lower, upper=total.upper if known else 0.0, reference=total.reference)
    check_sizes(seconds=total.seconds, known=total.known, rows=total.rows)
    if not 0 <= total.lower <= total.upper:
        raise ValueError(f"[{total.lower!r}, {total.upper!r}] is no interval")
