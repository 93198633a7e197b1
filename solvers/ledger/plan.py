"""What a new run holds: the layers, the problem of each, and the chunks of rows that work comes in."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting
from pvq.bounds.storage import CostModel, equal_cost_pair

from ..bound.layer_wide import CHUNK
from ..compare.network import Member
from ..document import packages
from .ledger import Ledger
from .schema import LedgerError, make
from .sums import sum_task

MINUTE = 60.0
"""Seconds that a chunk is to take, about."""
LONGEST = 10 * MINUTE
"""Seconds that rows which are handed out together may take at most, if there are several."""
MOST = 4 * CHUNK
"""Rows of a chunk at most: its sums are made anew with every commit."""
SEARCHED, SECONDS = 128, 0.4
"""Rows of up to so many inputs are searched, which takes so long on average."""
LONG_SECONDS, STRAIGHT = 7.7e-7, 1024
"""Longer rows are bounded together, in so many seconds times the square of their inputs, each; below STRAIGHT
inputs their time falls only as the inputs do (docs/cluster.md has what was measured)."""


@dataclass(frozen=True)
class Asked:
    """What a run is made for."""

    method: str
    """quant, prune, joint, or both: quantization and pruning at equal cost."""
    settings: tuple[Setting, ...] = ()
    """Of every layer; for both the two that bits and sparsity are put into."""
    bits: tuple[int, ...] = ()
    """Of both."""
    cost: CostModel = field(default_factory=CostModel)
    nm: int | None = None
    levels: tuple[float, ...] | None = None
    gap: float = 1e-6
    words: Mapping[str, Any] | None = None
    """The settings as they were asked for, to be shown."""


@dataclass(frozen=True)
class _Task:
    setting: Setting
    bits: int | None
    sparsity: float | None
    storage_bits: float | None = None
    macs: float | None = None


def seconds_of_row(inputs: int) -> float:
    """What a row takes, about."""
    return SECONDS if inputs <= SEARCHED else LONG_SECONDS * inputs * max(inputs, STRAIGHT)


def rows_of_chunk(inputs: int) -> int:
    """Rows that take about a minute; whole batches where rows are bounded together."""
    fitting = int(MINUTE / seconds_of_row(inputs))
    if inputs <= SEARCHED:
        return max(1, min(MOST, fitting))
    return max(1, fitting // CHUNK) * CHUNK if fitting < MOST else MOST


def rows_at_a_time(inputs: int, effort: float) -> int:
    """Rows of a chunk that are worked on at a time, where each may take `effort` seconds; long ones in batches.

    What is lost with a worker is not more than that.
    """
    fitting = max(1, int(min(MOST, LONGEST / max(effort, 1e-9))))
    return fitting if inputs <= SEARCHED else -(-fitting // CHUNK) * CHUNK


def digest(value: Any) -> str:
    """SHA-256 of JSON values, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def create(folder: Path, members: Sequence[Member], asked: Asked) -> None:
    """Make a run.

    Parameters
    ----------
    folder : new, or empty.

    Raises
    ------
    ProblemError
        A setting does not fit a layer, or the folder holds something.
    """
    plans = [_plan(member, asked) for member in members]
    if not any(tasks for tasks, _ in plans):
        why = next((m.skipped for m in members if m.skipped), None) or next((g[0][1] for _, g in plans if g), "")
        raise ProblemError(f"there is nothing to bound: {why}")

    def fill(db: sqlite3.Connection) -> None:
        settings = dict(asked.words or {})
        about = {
            "method": asked.method,
            "settings": settings,
            "settings_sha256": digest(settings),
            "levels": None if asked.levels is None else list(asked.levels),
            "gap": asked.gap,
            "made_with": dict(packages()),
        }
        db.executemany("INSERT INTO about VALUES (?, ?)", [(k, json.dumps(v)) for k, v in about.items()])
        for member, (tasks, gaps) in zip(members, plans, strict=True):
            _put(db, member, tasks, gaps)

    make(folder, fill)


def check_same(ledger: Ledger, members: Sequence[Member], asked: Asked) -> None:
    """Raise `LedgerError` where a run is of other settings or other layers than are asked for."""
    mine = json.loads(json.dumps({"method": asked.method, **dict(asked.words or {})}))
    theirs = {"method": ledger.about["method"], **ledger.settings}
    for name in [*mine, *theirs]:
        if mine.get(name) != theirs.get(name):
            word = f"`{name}` {theirs.get(name)}, and now {mine.get(name)} is asked for"
            raise LedgerError(f"{ledger.folder} is a run with {word}; choose a new folder")
    known = {layer.name: layer.sha256 for layer in ledger.layers}
    for member in members:
        if known.pop(member.name, None) != member.sha256:
            raise LedgerError(f"{ledger.folder} is a run without layer '{member.name}' as it is in {member.path}")
    if known:
        raise LedgerError(f"{ledger.folder} is a run of more layers: {next(iter(known))} is not asked for now")


def _plan(member: Member, asked: Asked) -> tuple[list[_Task], list[tuple[int, str]]]:
    """Tasks of a layer, and bits with the reason why there is no pair of them."""
    if member.skipped is not None:
        return [], []
    if asked.method != "both":
        for setting in asked.settings:
            size = setting.block or (setting.nm[1] if setting.nm else 1)
            if setting.prunes and member.inputs % size:
                word = "`block`" if setting.block else "`nm`"
                raise ProblemError(f"{word} {size} does not divide the {member.inputs} inputs of '{member.name}'")
        return [_Task(s, s.bits, s.sparsity) for s in asked.settings], []
    tasks, gaps = [], []
    quant, prune = asked.settings
    for bits in asked.bits:
        try:
            pair = equal_cost_pair(member.out, member.inputs, bits, asked.cost, quant, prune, asked.nm)
        except ProblemError as error:
            gaps.append((bits, str(error)))
            continue
        tasks.append(_Task(pair.quant, bits, None, pair.quant_bits, 1.0))
        tasks.append(_Task(pair.prune, bits, pair.sparsity, pair.prune_bits, pair.macs))
    return tasks, gaps


def _put(db: sqlite3.Connection, member: Member, tasks: Sequence[_Task], gaps: Sequence[tuple[int, str]]) -> None:
    path = member.path.resolve()
    found = path.stat() if os.path.isfile(path) else None
    layer = db.execute(
        "INSERT INTO layers (name, path, sha256, rows, inputs, grams, bytes, changed, skipped) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(member.name, str(path), member.sha256, member.out, member.inputs, member.groups),
            *((None, None) if found is None else (found.st_size, found.st_mtime_ns)),
            member.skipped,
        ),
    ).lastrowid
    db.executemany("INSERT INTO gaps VALUES (?, ?, ?)", [(layer, *gap) for gap in gaps])
    size, each = rows_of_chunk(member.inputs), member.out
    if member.inputs > SEARCHED:  # rows that are bounded together share a Gram matrix
        each //= member.groups
    for task in tasks:
        setting = task.setting.as_json()
        try:
            number = db.execute(
                "INSERT INTO tasks (layer, side, bits, sparsity, setting, sha256, storage_bits, macs) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(layer, task.setting.method, task.bits, task.sparsity, json.dumps(setting)),
                    *(digest({**setting, "pair": task.bits}), task.storage_bits, task.macs),
                ),
            ).lastrowid
        except sqlite3.IntegrityError:
            raise LedgerError(f"'{member.name}' would be bounded twice under {setting}") from None
        db.executemany(
            "INSERT INTO chunks (task, first, stop) VALUES (?, ?, ?)",
            [
                (number, first, min(first + size, start + each))
                for start in range(0, member.out, each)
                for first in range(start, start + each, size)
            ],
        )
        assert number is not None
        sum_task(db, number)
