"""A layer within a budget: every row soon, better ones afterwards, true at any time it ends."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers import budget
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.brute import Brute
from pvq.solvers.budget import first_solver, solve_within
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Outcome, Reason

from compare_cases import random_layer

SETTINGS = {
    "quant": Setting("quant", 2),
    "prune": Setting("prune", sparsity=0.5),
    "fixed": Setting("prune", sparsity=0.5, update=False),
    "layer": Setting("prune", sparsity=0.5, scope="layer"),
}


def stated(kind, rows=6, seed=1):
    layer = random_layer("regular", seed, rows=rows)
    return state_problem(layer.weight, layer.grams, SETTINGS[kind])


class Refined(BranchAndBound):
    """The optimum, but only where it is asked for a second time: first a hundredth of it."""

    name = "refined"

    def __init__(self):
        self.asked: list[bytes] = []

    def _solve(self, problem, options, start):
        best = Brute().solve(problem)
        first = problem.weight.tobytes() not in self.asked
        self.asked.append(problem.weight.tobytes())
        return Outcome(best.x, best.lower * (0.01 if first else 1.0), Reason.TIME if first else Reason.FINISHED)


@pytest.mark.parametrize("kind", SETTINGS)
def test_with_time_the_optimum_is_found_and_said_to_be(kind):
    problem = stated(kind)
    seen = []
    found = solve_within(problem, get_solver("bnb"), Options(time_limit=600.0), on_row=seen.append)
    assert [row.row for row in found.rows] == list(range(6))
    assert found.solved
    if kind != "layer":
        assert sorted(row.row for row in seen) == list(range(6))
        for i, row in enumerate(found.rows):
            assert row.result.upper == pytest.approx(Brute().solve(problem.row(i)).upper, rel=1e-6, abs=1e-12)


def test_rows_with_wide_intervals_come_first_and_each_once():
    problem, solver = stated("prune"), Refined()
    order = []
    found = solve_within(problem, solver, Options(time_limit=600.0), on_better=lambda row: order.append(row.row))
    best = np.array([Brute().solve(problem.row(i)).upper for i in range(6)])
    assert order == np.argsort(-best, kind="stable").tolist()
    assert len(solver.asked) == 12
    assert found.solved
    assert found.lower == pytest.approx(best.sum(), rel=1e-9)


@pytest.mark.parametrize("kind", SETTINGS)
def test_without_time_there_are_points_and_no_false_bound(kind):
    problem = stated(kind)
    found = solve_within(problem, get_solver("auto"), replace(Options(), time_limit=0.0))
    for i, row in enumerate(found.rows):
        assert problem.row(i).is_feasible(row.result.x) or kind == "layer"
        if kind != "layer":
            assert row.result.lower <= Brute().solve(problem.row(i)).upper <= row.result.upper * (1 + 1e-9)
            assert row.result.reason is Reason.TIME


def test_long_rows_start_with_the_batch_of_their_layer(monkeypatch):
    """Every row has a bound of the batch, whatever the solver does after."""
    monkeypatch.setattr(budget, "EXACT", 4)
    for kind in ("quant", "prune"):
        problem = stated(kind)
        first = first_solver(problem, get_solver("auto"))
        assert first.summary == "one D for all rows of a layer"
        seen = []
        found = solve_within(problem, get_solver("auto"), Options(time_limit=600.0), on_row=seen.append)
        for i, row in enumerate(seen):
            best = Brute().solve(problem.row(i)).upper
            assert 0 < row.result.lower <= best * (1 + 1e-9)
            assert row.result.bound_kind is BoundKind.RIGOROUS
            assert found.rows[i].result.lower >= row.result.lower
    assert first_solver(stated("fixed"), get_solver("auto")).name == "auto"
    assert first_solver(stated("layer"), get_solver("auto")).name == "auto"


def test_lower_ends_of_pruned_rows_come_before_better_weights(monkeypatch):
    monkeypatch.setattr(budget, "EXACT", 4)
    problem, first, better = stated("prune", rows=70), {}, {}

    def on_row(row):
        assert not better
        first[row.row] = row.result

    def on_better(row):
        assert len(first) == 70
        better.setdefault(row.row, row.result)

    found = solve_within(
        problem, get_solver("auto"), Options(time_limit=600.0), on_row=on_row, on_better=on_better
    )
    for i, row in enumerate(found.rows):
        best = Brute().solve(problem.row(i)).upper
        assert 0 < first[i].lower <= best * (1 + 1e-9)
        assert first[i].bound_kind is BoundKind.RIGOROUS
        assert better[i].upper <= first[i].upper
        assert best <= row.result.upper * (1 + 1e-9)
    assert sum(better[i].upper < first[i].upper for i in range(70)) > 10


def test_patterns_without_a_batch_are_bounded_once_before_the_solver(monkeypatch):
    monkeypatch.setattr(budget, "EXACT", 4)
    layer = random_layer("regular", 1, rows=2)
    blocks = state_problem(layer.weight, layer.grams, Setting("prune", sparsity=0.5, block=2))
    assert first_solver(blocks, get_solver("auto")).points
    assert not first_solver(stated("prune"), get_solver("auto")).points


def test_an_interrupt_keeps_what_is_known():
    problem, solver = stated("prune"), Refined()
    options = Options(time_limit=600.0)

    def stop(row):
        options.stop.set()

    found = solve_within(problem, solver, options, on_better=stop)
    assert len(solver.asked) == 7
    assert sum(row.result.solved for row in found.rows) == 1
