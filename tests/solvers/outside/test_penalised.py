"""Solvers of the penalised problem against enumeration: optimal on corners of the hull, a bound elsewhere."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options, UnsupportedProblem
from pvq.solvers.brute import Brute
from pvq.solvers.outside.penalised import Penalised
from pvq.solvers.registry import get_solver
from pvq.solvers.result import Status

N = 7


def make(seed, k, condition=1.0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((30, N)) * condition ** rng.uniform(-0.5, 0, N)
    return Problem(rng.standard_normal(N), Gram.from_array(a.T @ a / 30), sparsity=Sparsity.row(N, k))


def on_hull(errors, k):
    """Whether (k, errors[k]) is a corner of the lower convex hull of errors against k."""
    left = [(errors[k] - errors[j]) / (k - j) for j in range(k)]
    right = [(errors[j] - errors[k]) / (j - k) for j in range(k + 1, len(errors))]
    return max(left) < min(right) * (1 + 1e-9) if min(right) > 0 else max(left) < min(right) - 1e-9


def test_the_penalised_problem_is_the_error_but_for_a_shift():
    problem = make(0, 3, 1e4)
    known = Brute().solve(problem).x
    data, unit = Penalised.of(problem, known), problem.error(known)
    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(N)
        b = x / data.step
        value = ((data.y - data.a @ b) ** 2).sum() / 2 + data.ridge * b @ b
        assert value == pytest.approx(problem.error(x) / unit / 2 + data.shift, rel=1e-9)
    assert np.abs(known / data.step).max() <= data.box


@pytest.mark.parametrize("name", ["el0ps", "l0bnb"])
@pytest.mark.filterwarnings("ignore")  # theirs
def test_bounds_hold_and_corners_of_the_hull_are_solved(name):
    solver = get_solver(name)
    if not solver.is_available():
        pytest.skip(f"{name} is not installed")
    solved = 0
    for seed in range(8):
        for condition in (1.0, 1e3):
            errors = [Brute().solve(make(seed, k, condition)).upper for k in range(N + 1)]
            for k in (2, 4):
                problem = make(seed, k, condition)
                found = solver.solve(problem, Options(time_limit=30))
                assert found.lower <= errors[k] * (1 + 1e-9)
                assert found.upper >= errors[k] * (1 - 1e-9)
                assert found.fault is None
                # where a corner is next to flat, tolerances decide
                if found.status is Status.OPTIMAL:
                    solved += 1
                    assert found.upper == pytest.approx(errors[k], rel=1e-6)
                elif on_hull(errors, k) and condition == 1.0:  # L0BnB stops early where D is small
                    assert found.lower >= errors[k] * (1 - 1e-3)
    assert solved >= 10


@pytest.mark.parametrize("name", ["el0ps", "l0bnb"])
def test_other_problems_are_refused_in_one_line(name):
    solver = get_solver(name)
    blocks = Problem(np.ones(4), Gram.from_array(np.eye(4)), sparsity=Sparsity.blocks(4, 2, 1))
    assert "block" in solver.why_unsupported(blocks)
    fixed = Problem(np.ones(4), Gram.from_array(np.eye(4)), sparsity=Sparsity.row(4, 2, update=False))
    assert "`update`=False" in solver.why_unsupported(fixed)
    if solver.is_available():
        with pytest.raises(UnsupportedProblem):
            solver.solve(blocks)
