"""Rows of which some inputs may take any value: the bound holds, is proven, and grows with the inputs searched."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound import Bound, part_searched
from pvq.solvers.brute import Brute
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.result import BoundKind

from row_cases import grid_row

UNLIMITED = Options(time_limit=None)


def bound(problem):
    start = polish_grid(problem, problem.grid.levels[0, np.zeros(problem.n, np.int64)])
    upper = problem.certified(start).upper
    return part_searched.bound_row(problem, start, upper, UNLIMITED, Clock(UNLIMITED))


def test_the_bound_is_below_every_grid_point_and_proven(monkeypatch):
    monkeypatch.setattr(part_searched, "SIZES", (3, 5))
    ratios = []
    for seed in range(120):
        problem = presolve(grid_row(seed)).problem
        found = bound(problem)
        lower, proof = found.lower, found.proof
        optimum = Brute().solve(problem).upper
        assert lower <= optimum * (1 + 1e-9) + 1e-12 * problem.reference
        if seed % 3 == 1:  # a singular H has no inverse to take the block from
            assert proof is None
            assert lower == 0
        elif proof is not None:
            verified = lower_bound(problem, proof)
            assert lower * (1 - 1e-4) - 1e-9 * problem.reference <= verified <= optimum * (1 + 1e-12)
            ratios.append(lower / optimum)
    assert len(ratios) > 60
    assert np.median(ratios) > 0.5


def test_more_searched_inputs_bound_better(monkeypatch):
    for seed in (0, 2, 3, 6, 8, 9):
        problem, bounds = grid_row(seed), []
        for size in (2, 4, 6):
            monkeypatch.setattr(part_searched, "SIZES", (size,))
            bounds.append(bound(problem).lower)
        assert bounds[0] <= bounds[1] * (1 + part_searched.GAP) <= bounds[2] * (1 + part_searched.GAP) ** 2


@pytest.mark.parametrize("bits", [2, 4])
def test_real_rows_gain(bits):
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.9.expand.npz")
    problem = presolve(state_problem(layer.weight, layer.grams, Setting(method="quant", bits=bits)).row(0)).problem
    assert problem.n == 112
    result = Bound().solve(problem, UNLIMITED)
    assert result.bound_kind is BoundKind.RIGOROUS
    found = part_searched.bound_row(problem, result.x, result.upper, UNLIMITED, Clock(UNLIMITED))
    assert found.proof is not None
    assert 0 < found.nodes <= part_searched.NODES * len(part_searched.SIZES)
    assert result.lower >= found.lower * (1 - 1e-6)
    assert result.lower > 0.7 * result.upper
