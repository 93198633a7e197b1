"""The separable bound never exceeds the optimum, for any v and any D below H."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.brute import Brute
from pvq.solvers.relax.separable import separable_bound

N = 6
GRID = Grid(np.array([[-1.1, -0.4, 0.3, 1.0]]), np.zeros(N, int))
UNITS = Sparsity(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 0]), np.array([1]), True, "block")
SETUPS = [
    (grid, pattern)
    for grid in (GRID, None)
    for pattern in (None, Sparsity.row(N, 3), Sparsity.nm(N, 1, 2), Sparsity.blocks(N, 2, 1), UNITS)
    if grid is not None or pattern is not None
] + [(None, Sparsity.row(N, 3, update=False)), (None, Sparsity.blocks(N, 3, 1, update=False))]


@pytest.mark.parametrize(("grid", "pattern"), SETUPS)
def test_never_above_the_optimum(grid, pattern):
    rng = np.random.default_rng(0)
    for _ in range(4):
        a = rng.standard_normal((20, N))
        problem = Problem(2 * rng.standard_normal(N), Gram.from_array(a.T @ a / 20), grid, pattern)
        best = Brute().solve(problem)
        direction = rng.standard_normal(N) if grid is not None else rng.uniform(0.1, 1, N)
        # the largest multiple of the direction with H - D positive semidefinite, a little less, and a third
        values = np.linalg.eigvals(np.linalg.solve(problem.hessian, np.diag(direction))).real
        for share in (0.999999, 0.3):
            d = share * direction / values.max()
            for v in (np.zeros(N), rng.standard_normal(N), best.x - problem.weight):
                assert separable_bound(problem, d, v) <= best.upper
                if grid is not None and pattern is None and (d > 0).all():
                    assert separable_bound(problem, d, v, box=False) <= separable_bound(problem, d, v) + 1e-12


@pytest.mark.parametrize(("grid", "pattern"), SETUPS)
def test_exact_for_a_diagonal_matrix(grid, pattern):
    rng = np.random.default_rng(1)
    d = rng.uniform(0.5, 2, N)
    problem = Problem(2 * rng.standard_normal(N), Gram.from_array(np.diag(d)), grid, pattern)
    assert separable_bound(problem, d, np.zeros(N)) == pytest.approx(Brute().solve(problem).upper, rel=1e-12)


def test_free_weights_need_a_nonnegative_diagonal():
    problem = Problem(np.ones(2), Gram.from_array(np.eye(2)), sparsity=Sparsity.row(2, 1))
    assert separable_bound(problem, np.array([0.5, -0.1]), np.zeros(2)) == -np.inf
    assert separable_bound(problem, np.array([0.5, 0.0]), np.ones(2)) == -np.inf
    assert separable_bound(problem, np.array([0.5, 0.0]), np.array([1.0, 0.0])) > -np.inf
