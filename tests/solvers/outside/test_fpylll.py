"""The lattice relaxation against enumeration: a bound, and the optimum where the closest vector is on the grid."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.brute import Brute
from pvq.solvers.registry import get_solver
from pvq.solvers.result import Status


@pytest.fixture
def solver():
    found = get_solver("fpylll")
    if not found.is_available():
        pytest.skip("fpylll is not installed")
    return found


def make(seed, n, condition, levels, spread):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((3 * n, n)) * condition ** rng.uniform(-0.5, 0, n)
    steps = rng.uniform(0.3, 1, (2, 1))
    grid = Grid((np.arange(levels) - levels // 2) * steps, rng.integers(0, 2, n))
    return Problem(spread * rng.standard_normal(n), Gram.from_array(a.T @ a / n), grid)


@pytest.mark.parametrize("condition", [1.0, 1e4])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_bound_holds_and_is_tight_inside_the_grid(solver, condition, spread):
    solved = 0
    for seed in range(25):
        problem = make(seed, 5, condition, 5, spread)
        found, optimum = solver.solve(problem), Brute().solve(problem).upper
        assert found.lower <= optimum * (1 + 1e-9)
        assert optimum <= found.upper * (1 + 1e-9)
        assert found.fault is None
        solved += found.status is Status.OPTIMAL
    if condition == 1.0:  # the ends of the grid matter where weights are beyond them
        assert solved >= 20 if spread < 1 else solved <= 15


def test_larger_rows_agree_with_our_engine(solver):
    for seed in range(3):
        problem = make(seed, 30, 100.0, 16, 1.0)
        found, ours = solver.solve(problem), BranchAndBound().solve(problem)
        assert found.lower <= ours.upper * (1 + 1e-9)
        if found.status is Status.OPTIMAL:
            assert found.upper == pytest.approx(ours.upper, rel=1e-6)


def test_other_rows_are_refused_in_one_line():
    solver = get_solver("fpylll")
    uneven = Problem(np.ones(2), Gram.from_array(np.eye(2)), Grid(np.array([[0.0, 1, 3]]), np.zeros(2, int)))
    assert "equal steps" in solver.why_unsupported(uneven)
    assert "at most 64 inputs" in solver.why_unsupported(make(0, 65, 1.0, 4, 1.0))
