"""Comparisons within a budget: every pair once, then the open ones, nearest first, until the time ends."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.stages import watched_stages
from pvq.solvers.bound.layer_wide import LayerWide
from pvq.solvers.compare import budgeted
from pvq.solvers.compare.column import Column
from pvq.solvers.compare.network import Member
from pvq.solvers.compare.remembered import Remembered
from pvq.solvers.compare.side import Side
from pvq.solvers.compare.verdict import OPEN, QUANT
from pvq.solvers.compile_time import working_seconds

from compare_cases import comparison, random_layer


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
    until = working_seconds() + seconds
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


def test_passes_leave_their_rows_to_each_other(monkeypatch):
    """A row that was bounded with its whole layer is not asked for again, and no pass knows less than another."""
    asked, rows = [], LayerWide.solve_rows

    def counted(self, problems, options, starts):
        if problems[0].n == 50:  # others compile
            asked.extend((self.points, problem.method, problem.weight.tobytes()) for problem in problems)
        return rows(self, problems, options, starts)

    monkeypatch.setattr(LayerWide, "solve_rows", counted)
    monkeypatch.setattr(budgeted, "WORTH", 0.0)
    monkeypatch.setattr(budgeted, "PASSES", 3)
    layer = random_layer("regular", 1, rows=20, n=50)
    member = Member(Path("a"), "a", layer.sha256, 20, 50, 1, layer=layer)
    found = []
    what = comparison(range(3, 4), full=True, engines=[LayerWide(), LayerWide()])
    budgeted.compare_within(
        [member], what, 1, {}, lambda member, pair: found.append(pair), lambda member, why: None,
        working_seconds() + 60,
    )  # fmt: skip
    assert len(found) == 3
    assert len(asked) == len(set(asked)) >= 40
    for one, other in itertools.pairwise(found):
        for side in ("quant", "prune"):
            assert one[side]["lower"] <= other[side]["lower"] <= other[side]["upper"] <= one[side]["upper"]
            assert other[side]["rows_bounded"] == 20


def test_lines_of_progress_have_counts_and_the_interval_so_far():
    lines = []
    layer = random_layer("regular", 1, rows=9, n=50)
    named = [replace(layer, name=name) for name in "ab"]
    members = [Member(Path(one.name), one.name, one.sha256, 9, 50, 1, layer=one) for one in named]
    with watched_stages(lines.append):
        budgeted.compare_within(
            members, comparison([3], full=True), 1, {}, lambda member, pair: None, lambda member, why: None,
            working_seconds() + 12,
        )  # fmt: skip
    assert lines[0].startswith("a, 3 bits")
    assert "feasible weights; 0 of 2 pairs decided, 0 open, " in lines[0]
    later = [line for line in lines if line.startswith("b, ")]
    assert any(re.search(r" of 2 pairs decided, \d open, \d+ s left", line) for line in later)
    known = [re.search(r"; (\S+) to (\S+) dB so far; ", line) for line in lines]
    ends = [(float(found[1]), float(found[2])) for found in known if found is not None]
    assert ends
    assert all(least <= most for least, most in ends)


def test_sides_that_are_forgotten_are_begun_again():
    layer = random_layer("regular", 2, rows=4, n=10)
    sides = [
        Side(state_problem(layer.weight, layer.grams, Setting("quant", bits), checked=(Gram(layer.grams[0]),)))
        for bits in (2, 3)
    ]
    kept = Remembered(most=4 * 10 * 8)
    for number, side in enumerate(sides):
        side.offer_row(1, side.problem.row_grid(1).nearest(layer.weight[1]))
        side.lower[1], side.bounded = 1e-3 * (1 + number), {1}
        kept.keep(layer, side)
    for number, side in enumerate(sides):
        again = Side(side.problem)
        kept.tell(layer, again)
        assert again.lower[1] == (0.0 if number == 0 else 2e-3)
        assert again.bounded == (set() if number == 0 else {1})
        assert (again.upper[1] == side.upper[1]) == (number == 1)
    other = random_layer("regular", 3, rows=4, n=10)
    again = Side(sides[1].problem)
    kept.tell(other, again)
    assert not again.lower.any()
