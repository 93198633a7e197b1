"""Bounds from what the range clamps, against every grid point."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split
from pvq.bounds.verify.row import lower_bound
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound import clipped
from pvq.solvers.brute import Brute
from pvq.solvers.registry import get_solver


def row(rng, n, far, groups=1):
    a = rng.standard_normal((int(rng.integers(n - 1, 3 * n)), n)) * 10.0 ** rng.uniform(-1, 1, n)
    w = rng.standard_normal(n)
    w[: max(1, n // 3)] *= far
    grid = Grid(np.arange(-1, 3) * rng.uniform(0.3, 1.0, (groups, 1)), rng.integers(0, groups, n))
    return Problem(w, Gram.from_array(a.T @ a / len(a)), grid, None)


def bounded(problem):
    options = Options(time_limit=None)
    return clipped.bound_row(problem, problem.weight, 1.0, options, Clock(options))


@pytest.mark.parametrize("seed", range(200))
def test_never_above_the_optimum_and_proven(seed):
    rng = np.random.default_rng(seed)
    problem = row(rng, int(rng.integers(2, 7)), far=rng.choice([1.0, 4.0, 1e3]), groups=int(rng.integers(1, 3)))
    found = bounded(problem)
    best = Brute().solve(problem).upper
    assert found.lower <= best * (1 + 1e-9)
    if found.proof is not None:
        assert found.lower > 0
        proven = lower_bound(problem, found.proof)
        assert proven <= best
        assert proven == pytest.approx(found.lower, rel=1e-6)


def test_a_proof_that_claims_a_little_more_is_not_believed():
    """A longer v gives a bound of its own, which is lower: it is the verifier that works it out."""
    problem = row(np.random.default_rng(3), 6, far=1e3)
    found = bounded(problem)
    for factor in (0.9, 1.1, 1.5):
        other = Split(found.proof.below, factor * found.proof.v)
        assert lower_bound(problem, other) < lower_bound(problem, found.proof)


def test_nothing_is_said_of_a_row_within_its_range():
    problem = row(np.random.default_rng(0), 5, far=1.0)
    inside = Problem(np.full(5, 0.1), problem.gram, problem.grid, None)
    assert bounded(inside).lower == 0
    assert bounded(inside).proof is None


def test_a_row_whose_outliers_are_its_error_is_closed():
    """Blocks alone stay far below: their values are many times the error there, and cancel."""
    rng = np.random.default_rng(1)
    a = rng.standard_normal((400, 90)) + 3 * rng.standard_normal((400, 1))
    w = rng.standard_normal(90)
    w[:20] *= 100
    problem = Problem(
        w, Gram.from_array(a.T @ a / 400), Grid(np.arange(-8, 8)[None] * 0.3, np.zeros(90, int)), None
    )
    result = get_solver("bound").solve(problem, Options(time_limit=20.0))
    assert result.lower > 0.9 * result.upper
    assert result.bound_kind.value == "rigorous"
