"""Comparisons within a budget: every pair once, then the open ones, nearest first, until the time ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pvq.solvers.compare import budgeted
from pvq.solvers.compare.column import Column
from pvq.solvers.compare.network import Member
from pvq.solvers.compare.verdict import OPEN, QUANT

from compare_cases import comparison


def pair(bits, verdict, margin, limit):
    return {"bits": bits, "verdict": verdict, "margin_db": margin, "time_limit": limit, "status": "done"}


class Passes:
    """Stands in for `compare_all`: a pair is decided once its limit reaches what it needs."""

    def __init__(self, needs, seconds=0.0):
        self.needs, self.seconds, self.seen = needs, seconds, []

    def __call__(self, members, what, jobs, known, on_pair, on_failed, order, share):
        for member in sorted(members, key=order):
            for bits in what.bits:
                old = known.get(member.name, {}).get(Column(bits))
                if old is not None and old["verdict"] != OPEN:
                    continue
                limit = what.time_limit * share(member)
                self.seen.append((member.name, bits, limit))
                needed = self.needs[member.name, bits]
                done = limit >= needed
                time.sleep(self.seconds)
                on_pair(member, pair(bits, QUANT if done else OPEN, 1.0 if done else -needed, what.time_limit))


def members(*names):
    return [Member(Path(name), name, out=4, inputs=size) for size, name in enumerate(names, 2)]


def run(passes, monkeypatch, seconds, names=("a", "b")):
    monkeypatch.setattr(budgeted, "compare_all", passes)
    found = []
    until = time.perf_counter() + seconds
    what = comparison(range(2, 4))
    budgeted.compare_within(
        members(*names), what, 1, {},
        lambda member, pair: found.append((member.name, pair["bits"], pair["verdict"])),
        lambda member, why: None, until,
    )  # fmt: skip
    return found


def test_every_pair_comes_before_any_comes_again(monkeypatch):
    needs = {("a", 2): 0.1, ("a", 3): 9.0, ("b", 2): 8.0, ("b", 3): 0.1}
    passes = Passes(needs)
    monkeypatch.setattr(budgeted, "WORTH", 0.0)
    found = run(passes, monkeypatch, 40.0)
    assert [(name, bits) for name, bits, _ in passes.seen[:4]] == [("a", 2), ("a", 3), ("b", 2), ("b", 3)]
    assert [(name, bits) for name, bits, _ in passes.seen[4:]] == [("b", 2), ("a", 3)]  # b lacks less
    assert {verdict for _, _, verdict in found[4:]} == {QUANT}
    limits = [limit for _, _, limit in passes.seen]
    assert sum(limits[:4]) == pytest.approx(0.25 * 40, rel=0.1)
    work = [4 * 2**2, 4 * 3**2]  # of a and b
    assert limits[2] / limits[0] == pytest.approx((sum(work) + 2 * work[1]) / (sum(work) + 2 * work[0]))
    assert limits[-1] > 15


def test_it_ends_where_nothing_can_be_decided(monkeypatch):
    """Pairs that come back at once, undecided, do not make it turn until the budget ends."""
    passes = Passes(dict.fromkeys([("a", 2), ("a", 3), ("b", 2), ("b", 3)], 1e9))
    begin = time.perf_counter()
    run(passes, monkeypatch, 1000.0)
    assert len(passes.seen) <= 4 * budgeted.PASSES
    assert time.perf_counter() - begin < 900


def test_a_budget_that_is_over_starts_nothing(monkeypatch):
    passes = Passes({})
    assert run(passes, monkeypatch, -1.0) == []
    assert passes.seen == []
