"""Trees of whole rows up to a threshold: the bound holds, is proven, and grows with the nodes."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound import Bound, searched
from pvq.solvers.brute import Brute
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.result import BoundKind

from row_cases import grid_row

UNLIMITED = Options(time_limit=None)


@pytest.fixture
def short(monkeypatch):
    """Rows of a few inputs are taken, and searched for a few nodes."""
    monkeypatch.setattr(searched, "SHORTEST", 1)
    monkeypatch.setattr(searched, "CHUNK", 20)


def bound(problem, options=UNLIMITED):
    start = polish_grid(problem, problem.grid.levels[0, np.zeros(problem.n, np.int64)])
    return searched.bound_row(problem, start, problem.certified(start).upper, options, Clock(options))


@pytest.mark.parametrize("nodes", [30, 30_000])
def test_the_bound_is_below_every_grid_point_and_proven(short, monkeypatch, nodes):
    monkeypatch.setattr(searched, "NODES", nodes)
    ratios = []
    for seed in range(40):
        problem = presolve(grid_row(seed)).problem
        found = bound(problem)
        optimum = Brute().solve(problem).upper
        assert found.lower <= optimum * (1 + 1e-9) + 1e-12 * problem.reference
        assert found.nodes <= nodes + 2 * searched.CHUNK + 200  # a batch of children more
        if found.proof is not None:
            verified = lower_bound(problem, found.proof)
            assert found.lower * (1 - 1e-4) - 1e-9 * problem.reference <= verified <= optimum * (1 + 1e-12)
            ratios.append(found.lower / optimum)
    assert len(ratios) > 20
    assert np.median(ratios) > (0.999 if nodes > 1000 else 0.3)


def test_more_nodes_bound_better(short, monkeypatch):
    """Not in every row: a pass may fail. The mean of ten."""
    means = []
    for nodes in (40, 400, 40_000):
        monkeypatch.setattr(searched, "NODES", nodes)
        problems = [presolve(grid_row(seed)).problem for seed in range(0, 30, 3)]
        means.append(np.mean([bound(problem).lower / Brute().solve(problem).upper for problem in problems]))
    assert means[0] < means[1] <= means[2] * 1.001


def test_a_row_without_time_has_nothing(short):
    assert bound(presolve(grid_row(0)).problem, Options(time_limit=0.0)).proof is None


def test_rows_that_are_too_long_or_too_short_are_left_out(monkeypatch):
    problem = presolve(grid_row(0)).problem
    assert bound(problem).nodes == 0
    monkeypatch.setattr(searched, "SHORTEST", 1)
    monkeypatch.setattr(searched, "LONGEST", problem.n - 1)
    assert bound(problem).nodes == 0


@pytest.mark.parametrize(("bits", "least"), [(2, 0.9), (4, 0.75)])
def test_real_rows_gain(bits, least):
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.9.expand.npz")
    problem = presolve(state_problem(layer.weight, layer.grams, Setting(method="quant", bits=bits)).row(0)).problem
    assert problem.n == 112
    result = Bound().solve(problem, UNLIMITED)
    assert result.bound_kind is BoundKind.RIGOROUS
    found = searched.bound_row(problem, result.x, result.upper, UNLIMITED, Clock(UNLIMITED))
    assert found.proof is not None
    assert 0 < found.nodes <= 2 * searched.NODES
    assert result.lower >= found.lower * (1 - 1e-6)
    assert result.lower > least * result.upper
