"""The formulation says the same as the problem: same objective, nothing better is cut off."""

import itertools

import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.kernels.diagonal import largest_diagonal
from pvq.solvers.outside.formulate import formulate, is_uniform, radius
from pvq.solvers.outside.formulation import Form

N = 4
EVEN = np.arange(-1.0, 2)[None] * 0.7
UNEVEN = np.array([[-1.1, -0.2, 0.9]])  # no 0: where pruning is allowed it comes on top


def patterns(update=True):
    return [
        Sparsity.row(N, 2, update),
        Sparsity.nm(N, 1, 2, update),
        Sparsity.blocks(N, 2, 1, update),
        Sparsity(np.array([0, 0, 0, 1]), np.zeros(2), np.array([1]), update, "block"),  # what dead inputs leave
    ]


def setups():
    for levels in (EVEN, UNEVEN):
        for pattern in (None, *patterns()):
            yield levels, pattern
    for update in (True, False):
        for pattern in patterns(update):
            yield None, pattern


def problem_of(setup, seed):
    levels, pattern = setup
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((9, N)) @ np.diag(10.0 ** rng.uniform(-1, 0, N))
    grid = None if levels is None else Grid(levels, np.zeros(N, int))
    return Problem(rng.standard_normal(N), Gram.from_array(a.T @ a / 9), grid, pattern)


def points(problem):
    """Every point of C, of free weights the best of each mask and one beside it."""
    grid, pattern = problem.grid, problem.sparsity
    if grid is not None:
        zero = [] if pattern is None else [0.0]
        values = [sorted({*grid.of(i).tolist(), *zero}) for i in range(N)]
        everything = map(np.array, itertools.product(*values))
    else:
        masks = [np.array(mask) for mask in itertools.product([False, True], repeat=N)]
        if pattern.update:
            best = [optimal_on_support(problem, mask) for mask in masks]
            everything = [*best, *(x + 1e-3 * (x != 0) for x in best)]
        else:
            everything = [np.where(mask, problem.weight, 0.0) for mask in masks]
    return [x for x in everything if problem.is_feasible(x)]


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("setup", list(setups()))
def test_every_point_as_good_as_the_known_one_is_kept(setup, form):
    for seed in range(3):
        problem = problem_of(setup, seed)
        feasible = sorted(points(problem), key=problem.error)
        for known in (feasible[0], feasible[len(feasible) // 2], feasible[-1]):
            formulation = formulate(problem, known, form, largest_diagonal(problem.hessian.copy()))
            for x in feasible:
                if problem.error(x) > problem.error(known):
                    break
                y = formulation.encode(x)
                assert formulation.violation(y) < 1e-12 * max(1.0, np.abs(y).max()) ** 2
                assert formulation.objective(y) * formulation.unit == pytest.approx(problem.error(x), rel=1e-9)
                back = formulation.decode(y)
                if problem.grid is None and problem.sparsity.update:
                    assert problem.error(back) <= problem.error(x) * (1 + 1e-12)
                else:
                    np.testing.assert_array_equal(back, x)
            factor = formulation.factor
            np.testing.assert_allclose(factor.T @ factor, formulation.quadratic, atol=1e-12)


@pytest.mark.parametrize("setup", list(setups()))
def test_rounded_solutions_are_feasible_exactly(setup):
    problem = problem_of(setup, 0)
    known = min(points(problem), key=problem.error)
    formulation = formulate(problem, known)
    noise = np.random.default_rng(1).uniform(-1e-7, 1e-7, formulation.size)
    assert problem.is_feasible(formulation.decode(formulation.encode(known) + noise))


def test_radius_holds_and_is_attained():
    problem = problem_of((EVEN, None), 0)
    r = radius(problem.gram, 2.0)
    inverse = np.linalg.inv(problem.hessian)
    for i in range(N):
        furthest = inverse[:, i] * np.sqrt(2.0 / inverse[i, i])  # u'Hu = 2
        assert furthest[i] <= r[i] <= furthest[i] * (1 + 1e-5)
    assert np.isinf(radius(Gram.from_array(np.ones((N, N))), 1.0)).all()


def test_singular_matrix_has_no_big_m_but_grids_do_not_need_it():
    a = np.random.default_rng(0).standard_normal((2, N))
    gram, w = Gram.from_array(a.T @ a), np.ones(N)
    pruning = Problem(w, gram, sparsity=Sparsity.row(N, 2))
    with pytest.raises(ProblemError, match="no finite big-M"):
        formulate(pruning, np.zeros(N))
    on_grid = formulate(Problem(w, gram, Grid(EVEN, np.zeros(N, int))), np.zeros(N))
    assert np.isfinite(on_grid.lower).all()
    fixed = Problem(w, gram, sparsity=Sparsity.row(N, 2, update=False))
    assert formulate(fixed, np.zeros(N)).size == N


def test_objective_does_not_depend_on_the_scale():
    problem = problem_of((EVEN, None), 0)
    small = Problem(problem.weight, Gram.from_array(problem.hessian * 1e-13), problem.grid)
    x = problem.grid.nearest(problem.weight)
    a, b = formulate(problem, x), formulate(small, x)
    np.testing.assert_allclose(a.quadratic, b.quadratic, rtol=1e-12)
    assert b.unit == pytest.approx(1e-13 * a.unit)


def test_uniform_grids_are_recognised():
    gram = Gram.from_array(np.eye(N))

    def uniform(levels, pattern=None):
        return is_uniform(Problem(np.ones(N), gram, Grid(levels, np.zeros(N, int)), pattern))

    assert uniform(np.arange(-128, 128)[None] * 0.0123456789)
    assert uniform(np.array([[0.1, 0.3, 0.5]]))
    assert not uniform(UNEVEN)
    # pruning needs 0 among the integers
    assert not uniform(np.array([[0.1, 0.3, 0.5]]), Sparsity.row(N, 2))
