"""Swaps of many rows in lockstep: feasible, seldom above the optimum, and honest where steps are too slow."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound.batch import pruned
from pvq.solvers.bound.batch.lockstep import swapped_rows
from pvq.solvers.bound.batch.patterns import groups_of
from pvq.solvers.brute import Brute

OPTIONS = Options(time_limit=None)


def stated(rng, n, pattern, count=12):
    a = rng.standard_normal((4 * n, n)) + 0.5 * rng.standard_normal((4 * n, 1))
    gram = Gram.from_array(a.T @ a / (4 * n))
    return [Problem(rng.standard_t(3, n), gram, None, pattern) for _ in range(count)]


def swaps(problems, score, x=None, clock=None):
    curvature = 1.0 / np.diag(np.linalg.inv(problems[0].hessian))
    start = np.array([problem.weight for problem in problems]) if x is None else x
    groups = groups_of(problems[0].pattern)
    return swapped_rows(problems, curvature, groups, score, start, Clock(OPTIONS) if clock is None else clock)


@pytest.mark.parametrize(
    "pattern", [Sparsity.row(8, 3), Sparsity.row(8, 8), Sparsity.row(8, 0), Sparsity.nm(8, 2, 4)]
)
def test_points_are_feasible_the_best_on_their_support_and_near_the_optimum(pattern):
    rng = np.random.default_rng(int(pattern.keep.sum()))
    problems = stated(rng, 8, pattern)
    score = np.array([problem.weight**2 for problem in problems])
    x, enough = swaps(problems, score)
    assert enough.all()
    ratios = []
    for problem, point, own in zip(problems, x, score, strict=True):
        assert problem.is_feasible(point)
        best = Brute().solve(problem).upper
        first = problem.error(optimal_on_support(problem, pattern.best_mask(own)))
        assert best * (1 - 1e-9) <= problem.error(point) <= first * (1 + 1e-5) + 1e-12 * problem.reference
        least = problem.error(optimal_on_support(problem, point != 0))
        assert problem.error(point) <= least * (1 + 1e-5) + 1e-12 * problem.reference
        ratios.append(problem.error(point) / max(best, 1e-12 * problem.reference))
    assert np.mean(ratios) < 1.1


@pytest.mark.parametrize("pattern", [Sparsity.row(320, 80), Sparsity.nm(320, 2, 4)])
def test_what_lockstep_reaches_is_what_factors_reach(pattern):
    rng = np.random.default_rng(5)
    problems = stated(rng, 320, pattern, 8)
    layer = pruned.pruned_layer(problems)
    score = np.array([problem.weight**2 for problem in problems])
    x, enough = swaps(problems, score)
    assert enough.all()
    alone = [
        pruned.swapped(problem, layer, problem.hessian @ problem.weight, own, Clock(OPTIONS))
        for problem, own in zip(problems, score, strict=True)
    ]
    reached, wanted = (
        sum(problem.error(point) for problem, point in zip(problems, points, strict=True)) for points in (x, alone)
    )
    assert reached < 1.01 * wanted


def test_units_of_the_layer_and_of_rows_change_nothing():
    rng = np.random.default_rng(6)
    problems = stated(rng, 40, Sparsity.row(40, 10))
    score = np.array([problem.weight**2 for problem in problems])
    x, _ = swaps(problems, score)
    gram = Gram(np.ldexp(problems[0].hessian, 60), rank=40)
    large = [Problem(np.ldexp(problem.weight, -30), gram, None, problem.sparsity) for problem in problems]
    assert np.allclose(np.ldexp(swaps(large, score)[0], 30), x, rtol=1e-9, atol=0)


def test_a_matrix_that_steps_are_too_slow_for_is_left_to_others():
    """Eigenvalues evenly in their logs, 1 to 1e8: forty steps do not end. No row is called enough that is not."""
    rng = np.random.default_rng(7)
    q = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    h = (q * np.geomspace(1, 1e8, 300)) @ q.T
    gram = Gram.from_array((h + h.T) / 2)
    problems = [Problem(rng.standard_normal(300), gram, None, Sparsity.row(300, 150)) for _ in range(6)]
    score = np.array([problem.weight**2 for problem in problems])
    x, enough = swaps(problems, score)
    assert not enough.any()
    assert not x.any()
    layer = pruned.pruned_layer(problems)
    for problem, found in zip(problems, pruned.bound_rows(problems, layer, OPTIONS, [None] * 6), strict=True):
        least = problem.error(optimal_on_support(problem, found.x != 0))
        assert problem.error(found.x) <= least * (1 + 1e-5)


def test_time_that_is_over_leaves_feasible_points():
    rng = np.random.default_rng(8)
    problems = stated(rng, 40, Sparsity.nm(40, 2, 4))
    score = np.array([problem.weight**2 for problem in problems])
    x, _ = swaps(problems, score, clock=Clock(Options(time_limit=0.0)))
    assert all(problem.is_feasible(point) for problem, point in zip(problems, x, strict=True))
