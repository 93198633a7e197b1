"""Orders that are tried: the rule of the engine where nothing is changed, and never another optimum."""

import numpy as np
import pytest
from pvq.benchmarks.made import made_layer
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.solvers.base import fallback_point
from pvq.solvers.bnb import enumeration, order_search
from pvq.solvers.bnb.beam import WIDE
from pvq.solvers.bnb.order_search import better_order, order_along
from pvq.solvers.bnb.plan import row_order, row_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.bnb.tree_size import sampled_nodes
from pvq.solvers.brute import Brute
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.options import Clock, Options

from row_cases import grid_row

UNLIMITED = Options(time_limit=None)


def ill_conditioned(seed, bits=4, inputs=40):
    layer = made_layer(f"gaussian:{inputs}x4:{seed}")
    return state_problem(layer.weight, layer.grams, Setting("quant", bits)).row(0)


@pytest.mark.parametrize("seed", range(6))
def test_without_changes_it_is_the_order_of_the_engine(seed):
    problem = ill_conditioned(seed)
    order, step = row_order(problem)
    assert (order_along(problem, None, 60.0, np.zeros(problem.n), step) == order).all()


@pytest.mark.parametrize("seed", range(4))
def test_another_order_has_a_smaller_tree(monkeypatch, seed):
    """Tried though trees of 40 inputs are too small for it; the same order comes out of the same row."""
    monkeypatch.setattr(order_search, "TRY", 0.0001)
    monkeypatch.setattr(order_search, "MOST", 20)
    problem = ill_conditioned(seed)
    clock, x = Clock(UNLIMITED), polish_grid(problem, fallback_point(problem))
    plan = row_plan(problem, clock, fine=True)
    found = better_order(problem, plan, x, clock)
    assert sorted(found.order) == list(range(problem.n))
    assert (better_order(problem, plan, x, clock).order == found.order).all()
    first, last = (sampled_nodes(restate(problem, one), problem.error(x)) for one in (plan, found))
    assert found is plan or last < order_search.LESS * first


def test_short_trees_are_left_alone():
    problem = ill_conditioned(0, inputs=12)
    clock, x = Clock(UNLIMITED), polish_grid(problem, fallback_point(problem))
    plan = row_plan(problem, clock, fine=True)
    assert better_order(problem, plan, x, clock) is plan


def test_the_optimum_is_the_same(monkeypatch):
    """Rows of a few inputs, singular and ill-conditioned ones too, through passes in an order that was tried."""
    monkeypatch.setattr(order_search, "TRY", 1e-6)
    monkeypatch.setattr(order_search, "LESS", np.inf)  # any order that seems smaller
    monkeypatch.setattr(enumeration, "QUICK", 1)
    monkeypatch.setattr(enumeration, "FINE", 0.0)
    monkeypatch.setattr(enumeration, "FIRST", 1)
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    monkeypatch.setattr(enumeration, "_beam_width", lambda problem, plan: WIDE)
    tried, take = [], order_search.better_order
    monkeypatch.setattr(
        enumeration, "better_order", lambda *given: tried.append(take(*given) is not given[1]) or take(*given)
    )
    for seed in range(30):
        problem = presolve(grid_row(seed)).problem
        found, best = enumeration.solve_grid(problem, UNLIMITED, None), Brute().solve(problem)
        assert found.lower <= best.upper * (1 + 1e-9) + 1e-12 * problem.reference
        assert problem.error(found.x) <= best.upper * (1 + 1e-6) + 1e-9 * problem.reference
    assert sum(tried) > 2
