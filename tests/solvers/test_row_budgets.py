"""Budgets for rows: the best ones, and those of one price where time or memory is short."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers import row_budgets
from pvq.solvers.base import Options
from pvq.solvers.brute import Brute
from pvq.solvers.layer import solve_layer
from pvq.solvers.options import Clock
from pvq.solvers.result import Status
from pvq.solvers.row_budgets import allocate, by_price, by_program

CURVES = [
    -np.sort(-rng.exponential(size=(3, 5)) * 10.0 ** rng.uniform(-3, 3, (3, 1)), axis=1)
    for rng in map(np.random.default_rng, range(20))
]


def total(curves, budgets):
    return sum(curves[i, k] for i, k in enumerate(budgets))


def least(curves, budget):
    width = range(curves.shape[1])
    choices = itertools.product(width, repeat=len(curves))
    return min(total(curves, ks) for ks in choices if sum(ks) <= budget)


@pytest.mark.parametrize("budget", [0, 1, 4, 7, 11, 12, 99])
def test_both_ways_against_enumeration(budget):
    for curves in CURVES:
        best = least(curves, budget)
        exact, price = allocate(curves, budget), by_price(curves, budget)
        assert total(curves, exact.budgets) == pytest.approx(best)
        assert exact.lower == pytest.approx(best)
        assert exact.lower <= best * (1 + 1e-15)
        assert exact.budgets.sum() <= budget
        assert 0 <= price.lower <= best <= total(curves, price.budgets) * (1 + 1e-15)
        assert price.budgets.sum() <= budget


def test_a_price_is_exact_where_curves_are_convex():
    convex = np.array([[4.0, 2.0, 1.0, 0.5]] * 2)
    found = by_price(convex, 2)
    assert found.lower == pytest.approx(4.0, rel=1e-6)
    assert total(convex, found.budgets) == 4.0
    assert by_price(np.zeros((2, 3)), 2).lower == 0.0


def test_what_a_price_leaves_over_is_given_away():
    steps = np.array([[9.0, 9.0, 9.0, 0.0], [1.0, 1.0, 0.5, 0.5]])
    assert by_price(steps, 2).budgets.tolist() == [0, 2]  # three units for the first row are too many
    assert by_price(steps, 5).budgets.tolist() == [3, 2]


@pytest.mark.parametrize("way", ["clock", "bell", "memory", "stop"])
def test_without_time_or_memory_a_price_stands_in(monkeypatch, way):
    curves, options = CURVES[0], Options(time_limit=None)
    monkeypatch.setattr(row_budgets, "AT_ONCE", 0)
    if way == "clock":
        options = replace(options, time_limit=0.0)
    elif way == "stop":
        options.stop.set()
    elif way == "memory":
        monkeypatch.setattr(row_budgets, "BYTES", 10)
    else:  # it rings while the dynamic programming is under way
        rung = np.ones(1, dtype=bool)
        monkeypatch.setattr(row_budgets, "by_program", lambda c, b, over: by_program(c, b, rung))
    found, price = allocate(curves, 5, Clock(options)), by_price(curves, 5)
    assert found.lower == price.lower
    assert found.budgets.tolist() == price.budgets.tolist()


def test_the_program_ends_where_the_bell_rings():
    assert by_program(CURVES[0], 5, np.zeros(1, dtype=bool)) is not None
    assert by_program(CURVES[0], 5, np.ones(1, dtype=bool)) is None


def test_a_layer_without_time_for_the_best_allocation_holds(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20, 6))
    problem = state_problem(
        rng.standard_normal((4, 6)), a.T @ a / 20, Setting("prune", sparsity=0.5, scope="layer")
    )
    best = solve_layer(problem, Brute())
    assert best.status is Status.OPTIMAL
    monkeypatch.setattr(row_budgets, "BYTES", 0)
    found = solve_layer(problem, Brute())
    assert 0.9 * best.lower < found.lower <= best.lower * (1 + 1e-12)
    assert best.upper <= found.upper * (1 + 1e-12)
    assert (found.weights != 0).sum() <= problem.budget
