"""Many small problems with one matrix: each row's interval holds, whatever the limit."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.base import Options
from pvq.solvers.bnb.blocks import solve_block
from pvq.solvers.brute import Brute


@pytest.fixture
def block():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((9, 6))
    return (
        Gram.from_array(a.T @ a),
        3 * rng.standard_normal((30, 6)),
        Grid(np.arange(-2, 2)[None], np.zeros(6, int)),
    )


@pytest.mark.parametrize("limit", [None, 1, 20])
def test_intervals_hold(block, limit):
    gram, targets, grid = block
    found = solve_block(gram, targets, grid, options=Options(time_limit=None, node_limit=limit))
    for r, target in enumerate(targets):
        optimum = Brute().solve(Problem(target, gram, grid)).upper
        assert found.lower[r] <= optimum * (1 + 1e-9) <= found.upper[r] * (1 + 1e-8)
        assert found.upper[r] == Problem(target, gram, grid).certified(found.x[r]).upper
        if found.optimal[r]:
            assert found.lower[r] >= optimum * (1 - 1e-5)
    assert found.optimal.all() or limit


def test_rows_may_have_their_own_grids_and_starts(block):
    gram, targets, grid = block
    grids = [Grid(grid.levels * (1 + r / 10), grid.group) for r in range(len(targets))]
    shared = solve_block(gram, targets, grids)
    again = solve_block(gram, targets, grids, shared.x, Options(time_limit=None, node_limit=1))
    assert again.upper == pytest.approx(shared.upper)
