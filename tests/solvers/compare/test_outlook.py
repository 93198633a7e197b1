"""Where time goes in a comparison: all rows together first, one by one only where that may decide."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bound import Bound, rows
from pvq.solvers.bound.layer_wide import LayerWide
from pvq.solvers.compare.bounds import Spent, pieces_of, raise_lower
from pvq.solvers.compare.layer import compare_layer, rounds_of
from pvq.solvers.compare.outlook import why_hopeless
from pvq.solvers.compare.side import Side
from pvq.solvers.compare.verdict import OPEN, Interval
from pvq.solvers.empirical.layerwise import layer_point
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Outcome

from compare_cases import comparison, random_layer


def side(lower, upper):
    """What is asked of a side."""
    ends = Interval(float(np.sum(lower)), float(np.sum(upper)))
    return SimpleNamespace(lower=np.array(lower), upper=np.array(upper), interval=ends, words="sparsity 0.75")


def spent(done=10, seconds=1.0, closed=0.5, left=100.0):
    return Spent(list(range(done)), list(range(done, 20)), seconds, closed, left)


@pytest.mark.parametrize(
    ("changes", "hopeless"),
    [
        ({}, False),  # 20 rows of [0, 1] against 3: half of ten intervals is 5
        ({"closed": 0.05}, True),  # .5
        ({"left": 2.0}, True),  # two rows: 1
        ({"left": 0.0}, True),
        ({"seconds": 20.0}, False),  # five rows, 2.5: within what polishing may do
        ({"done": 7}, False),  # too few to judge by
        ({"done": 7, "closed": 0.0}, False),
        ({"left": math.inf, "closed": 0.0}, False),
    ],
)
def test_rows_are_given_up_where_they_cannot_decide(changes, hopeless):
    worse, better = side([0.0] * 20, [1.0] * 20), side([0.0], [3.0])
    why = why_hopeless(worse, better, spent(**changes))
    assert (why is not None) == hopeless
    if hopeless:
        assert "sparsity 0.75 were not bounded one by one" in why
        assert why.endswith("for a proof.")


class Weak(BranchAndBound):
    """Proves nothing that was not known, row by row."""

    name = "weak"
    asked = 0

    def _solve(self, problem, options, start):
        Weak.asked += 1
        return Outcome(start, 0.0)


def test_a_pair_that_cannot_be_decided_is_said(monkeypatch):
    monkeypatch.setattr("pvq.solvers.compare.layer.SHORT", 6)
    monkeypatch.setattr("pvq.solvers.compare.layer.LONGEST", 7)
    layer = random_layer("regular", 3, rows=40)
    monkeypatch.setattr(Weak, "asked", 0)
    pair = next(compare_layer(layer, comparison(range(3, 4), engines=[Weak(), BranchAndBound()], time_limit=60.0)))
    assert pair["verdict"] == OPEN
    assert "rows of sparsity 0.8125 were not bounded one by one" in pair["words"]
    assert pair["words"].endswith("there would be no bound for a proof.")
    assert 8 <= Weak.asked <= 2 * 8


@pytest.mark.parametrize("groups", [1, 2])
def test_rows_of_a_side_are_bounded_together(groups, monkeypatch):
    """Every row has a bound, those that need no search too, and chunks share a Gram matrix."""
    monkeypatch.setattr("pvq.solvers.bound.layer_wide.CHUNK", 3)
    layer = random_layer("regular", 1, rows=8, groups=groups)
    layer = replace(layer, weight=np.where(np.arange(8)[:, None] == 5, 0.0, layer.weight))
    for setting in (Setting("prune", sparsity=0.5), Setting("quant", 2)):
        problem = state_problem(layer.weight, layer.grams, setting)
        known = Side(problem)
        known.offer(layer_point(get_solver("magnitude" if setting.prunes else "rtn"), problem))
        before = known.upper.copy()
        raise_lower(known, LayerWide(), Options(time_limit=None), None, lambda: False)
        assert (known.upper <= before).all()
        assert not known.failed
        some = known.upper > 0
        assert some.sum() == 7
        assert (known.lower[some] > 0.01 * known.upper[some]).all()
        assert {known.kind[i] for i in np.flatnonzero(some)} == {BoundKind.RIGOROUS}


def test_the_first_rows_come_few_at_a_time():
    """The widest ones may decide alone; rows of one Gram matrix stay together."""
    problem = state_problem(np.eye(40), np.eye(40), Setting("prune", sparsity=0.5))
    pieces = pieces_of(Side(problem), list(range(39, -1, -1)), 16)
    assert [len(piece) for piece in pieces] == [4, 8, 16, 12]
    assert [i for piece in pieces for i in piece] == list(range(39, -1, -1))
    assert [len(piece) for piece in pieces_of(Side(problem), [5, 3, 1], 2)] == [2, 1]


def test_rows_of_the_worse_side_keep_their_weights_where_better_ones_decide_nothing(monkeypatch):
    layer = random_layer("regular", 1, rows=6)
    problem = state_problem(layer.weight, layer.grams, Setting("prune", sparsity=0.5))
    known = Side(problem)
    known.offer(layer_point(get_solver("magnitude"), problem))
    x, before = known.x.copy(), known.lower.copy()
    for name in ("swapped", "swapped_rows"):
        monkeypatch.setattr(f"pvq.solvers.bound.batch.pruned.{name}", lambda *_: pytest.fail("swaps"))
    raise_lower(known, LayerWide(points=False), Options(time_limit=None), None, lambda: False)
    assert (known.x == x).all()
    assert (known.lower > before).any()


@pytest.mark.parametrize(("seconds", "own"), [(None, True), (600.0, True), (5.9, False)])
def test_every_row_has_a_bound_before_some_have_better_ones(monkeypatch, seconds, own):
    """Sixty rows need a tenth of a second each for a D of their own."""
    asked, together = set(), LayerWide.solve_rows

    def counted(self, problems, options, starts):
        asked.add(self.own)
        return together(self, problems, replace(options, time_limit=None), starts)

    monkeypatch.setattr(LayerWide, "solve_rows", counted)
    layer = random_layer("regular", 1, rows=60)
    known = Side(state_problem(layer.weight, layer.grams, Setting("prune", sparsity=0.5)))
    known.offer(layer_point(get_solver("magnitude"), known.problem))
    raise_lower(known, LayerWide(), Options(time_limit=seconds), None, lambda: False)
    assert asked == {own}


def test_long_rows_have_their_batch_once(monkeypatch):
    problem = state_problem(np.ones((2, 60)), np.eye(60), Setting("prune", sparsity=0.5))
    engines = [LayerWide(), Bound(), BranchAndBound()]
    asked = [engine for engine, _ in rounds_of(engines, Side(problem))]
    assert asked[:2] == engines[:2]
    monkeypatch.setattr(rows, "LONG", 50)
    asked = [engine for engine, _ in rounds_of(engines, Side(problem))]
    assert asked[0] is engines[0]
    assert engines[1] not in asked
    assert engines[1] in [engine for engine, _ in rounds_of(engines[1:], Side(problem))]
