import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity

RNG = np.random.default_rng(0)


def gram(n, samples=30, dead=()):
    a = RNG.standard_normal((samples, n))
    a[:, list(dead)] = 0
    return Gram.from_array(a.T @ a / samples)


def test_error_is_the_mean_squared_output_difference():
    a, w, x = RNG.standard_normal((50, 7)), RNG.standard_normal(7), RNG.standard_normal(7)
    problem = Problem(w, Gram.from_array(a.T @ a / 50), None, Sparsity.row(7, 3))
    assert problem.error(x) == pytest.approx(np.mean((a @ w - a @ x) ** 2), rel=1e-12)
    assert problem.reference == pytest.approx(np.mean((a @ w) ** 2), rel=1e-12)
    assert problem.method == "prune"


@pytest.mark.parametrize("samples", [30, 4])  # regular and singular H
def test_optimal_on_support_is_a_minimiser(samples):
    h, w = gram(8, samples), RNG.standard_normal(8)
    problem = Problem(w, h, None, Sparsity.row(8, 4))
    mask = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool)
    best = optimal_on_support(problem, mask)
    assert not best[~mask].any()
    for _ in range(200):
        other = np.where(mask, best + RNG.standard_normal(8), 0)
        assert problem.error(best) <= problem.error(other) + 1e-12 * problem.reference


def test_feasibility_is_exact():
    grid = Grid(np.array([[-1.0, 0.5, 2.0]]), np.zeros(4, int))
    w = RNG.standard_normal(4)
    quant = Problem(w, gram(4), grid)
    assert quant.is_feasible(np.array([-1, 0.5, 2, 2.0]))
    assert not quant.is_feasible(np.array([-1, 0.5, 2, 0.0]))
    assert not quant.is_feasible(np.array([-1, 0.5, 2, np.nextafter(2, 3)]))
    joint = Problem(w, gram(4), grid, Sparsity.row(4, 2))
    assert joint.is_feasible(np.array([-1, 0, 2, 0.0]))
    assert not joint.is_feasible(np.array([-1, 0.5, 2, 0.0]))
    fixed = Problem(w, gram(4), None, Sparsity.row(4, 2, update=False))
    assert fixed.is_feasible(np.array([w[0], 0, 0, w[3]]))
    assert not fixed.is_feasible(np.array([w[0] * 1.0000001, 0, 0, 0]))
    assert not fixed.is_feasible(np.array([np.nan, 0, 0, 0]))


def test_presolve_removes_dead_inputs_without_changing_errors():
    h, w = gram(6, dead=(1, 4)), RNG.standard_normal(6)
    for problem in (
        Problem(w, h, Grid(np.array([[-1.0, 1.0]]), np.zeros(6, int))),
        Problem(w, h, None, Sparsity.nm(6, 1, 3)),
        Problem(w, h, None, Sparsity.blocks(6, 2, 1)),
    ):
        reduced = presolve(problem)
        assert reduced.live.tolist() == [0, 2, 3, 5]
        assert reduced.problem is not None
        x = np.array([-1.0, 1.0, 1.0, -1.0])
        lifted = reduced.lift(x)
        assert problem.error(lifted) == pytest.approx(reduced.problem.error(x), rel=1e-13)
        if problem.grid is not None:
            assert problem.is_feasible(lifted)
        else:
            assert not lifted[[1, 4]].any()


def test_presolve_of_a_dead_layer():
    problem = Problem(np.ones(3), Gram.from_array(np.zeros((3, 3))), None, Sparsity.row(3, 1))
    assert presolve(problem).problem is None


def test_sizes_must_agree():
    with pytest.raises(ProblemError):
        Problem(np.ones(3), gram(4), None, Sparsity.row(4, 1))
    with pytest.raises(ProblemError):
        Problem(np.ones(4), gram(4), None, Sparsity.row(3, 1))
    with pytest.raises(ProblemError):
        Problem(np.ones(4), gram(4))
