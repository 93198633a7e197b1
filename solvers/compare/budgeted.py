"""A comparison within a budget of time: every pair for a moment, then the open ones, the nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .column import Column, column_of
from .layer import Terms
from .network import Known, Member, OnFailed, OnPair, compare_all
from .remembered import Remembered
from .verdict import OPEN, SKIPPED

FIRST = 0.25
"""Part of the budget that pairs share in the first pass; what they leave is the later passes'."""

EQUAL = 0.5
"""Part of each pass that all pairs share equally, the rest by work: first bounds of long rows take n^2 of it, and
what decides short ones is their search."""

LEAST = 0.5
"""Seconds of a pair's bounds at least: less does not end a batch of rows."""

PASSES = 8
"""Passes at most, the first one included."""

WORTH = 0.05
"""A pass that takes less than this part of what is left has met only pairs that it could not decide."""


def compare_within(
    members: list[Member],
    what: Terms,
    jobs: int,
    known: Known,
    on_pair: OnPair,
    on_failed: OnFailed,
    until: float,
) -> None:
    """As `compare_all`, until `working_seconds()` is `until`; open pairs are taken up and handed over again.

    Parameters
    ----------
    what : its `time_limit` is not used: a pair has a share of what is left, about `EQUAL` of it the same for all.
    """
    latest = {name: dict(pairs) for name, pairs in known.items()}
    failed: set[str] = set()
    names, columns = [member.name for member in members if member.skipped is None], what.columns

    def counted() -> str:
        pairs = [latest.get(name, {}).get(column) for name in names for column in columns]
        verdicts = [pair["verdict"] for pair in pairs if pair is not None]
        open_, skipped = verdicts.count(OPEN), verdicts.count(SKIPPED)
        return f"{len(verdicts) - open_ - skipped} of {len(pairs) - skipped} pairs decided, {open_} open, "

    what = replace(what, until=until, counted=counted, remembered=Remembered())

    def keep(member: Member, pair: dict[str, Any]) -> None:
        latest.setdefault(member.name, {})[column_of(pair)] = pair
        on_pair(member, pair)

    def fail(member: Member, why: str) -> None:
        failed.add(member.name)
        on_failed(member, why)

    todo = [member for member in members if member.skipped is None]
    limit = max(LEAST, FIRST * what.left * jobs / max(1, len(todo) * len(what.columns)))
    for _ in range(PASSES):
        left = what.left
        if not todo or left <= 0 or what.options.stop.is_set():
            return
        mean = sum(member.work for member in todo) / len(todo)

        def share(member: Member, mean: float = mean, least: float = LEAST / limit) -> float:
            return max(EQUAL + (1 - EQUAL) * member.work / mean, least)

        compare_all(
            todo,
            replace(what, time_limit=limit),
            jobs,
            latest,
            keep,
            fail,
            order=lambda member: _missing(member, latest),
            share=share,
        )
        if left - what.left < WORTH * left and limit > left / 2:
            return
        todo = [member for member in todo if member.name not in failed and _open(member, what, latest)]
        pairs = sum(_open(member, what, latest) for member in todo)
        limit = max(2 * limit, what.left * jobs / max(1, pairs))


def not_reached(members: Sequence[Member], columns: Sequence[Column], known: Known) -> int:
    """Pairs that were asked for and that nothing is known of."""
    return sum(
        wanted not in known[member.name] for member in members if member.skipped is None for wanted in columns
    )


def _open(member: Member, what: Terms, latest: Known) -> int:
    """Pairs of a layer without a verdict, or, where everything is to be bounded, without all bounds."""
    pairs = latest.get(member.name, {})
    wanted = [pairs.get(column) for column in what.columns]
    return sum(pair is None or pair["verdict"] == OPEN or what.full for pair in wanted)


def _missing(member: Member, latest: Known) -> tuple[float, int]:
    """Least dB that an open pair of a layer lacks, then its work: the order of a pass."""
    pairs = latest.get(member.name, {}).values()
    lacks = [-pair["margin_db"] for pair in pairs if pair["verdict"] == OPEN and pair["margin_db"] is not None]
    return min(lacks, default=0.0 if not pairs else 1e9), member.work
