"""Greedy removal and swaps: budgets hold, errors only fall, small rows reach the optimum of single swaps."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.empirical.swaps import greedy_mask, one_swaps, polish_mask, two_swaps, unit_lists
from pvq.solvers.empirical.tableau import sweep, tableau

PATTERNS = [Sparsity.row(12, 5), Sparsity.nm(12, 2, 4), Sparsity.blocks(12, 3, 2)]


def problem_of(sparsity, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 6 if seed % 4 == 3 else 40))
    if seed % 3 == 2:
        x[4] = x[9]
    return Problem(rng.normal(size=12), Gram.from_array(x @ x.T / 40), None, sparsity)


def error(problem, mask):
    return problem.error(optimal_on_support(problem, mask))


@pytest.mark.parametrize("sparsity", PATTERNS, ids=lambda s: s.kind)
def test_no_swap_is_left_that_helps(sparsity):
    for seed in range(12):
        problem = problem_of(sparsity, seed)
        for mask in (greedy_mask(problem), sparsity.best_mask(np.ones(12)), np.zeros(12, bool)):
            assert sparsity.allows(mask)
            polished = polish_mask(problem, mask)
            assert sparsity.allows(polished)
            value = error(problem, polished)
            slack = 1e-8 * problem.reference
            assert value <= error(problem, mask) + slack
            units = np.zeros(sparsity.units, bool)
            units[sparsity.unit[polished]] = True
            for out in np.flatnonzero(units):
                for add in np.flatnonzero(~units):
                    swapped = units.copy()
                    swapped[[out, add]] = False, True
                    if sparsity.allows(swapped[sparsity.unit]):
                        assert error(problem, swapped[sparsity.unit]) >= value - slack


def test_sweeps_give_the_least_squares_solution_and_undo_themselves():
    problem = problem_of(PATTERNS[0], 0)
    start = tableau(problem.hessian, problem.hessian @ problem.weight, problem.reference)
    t = start.copy()
    for i in (3, 7, 1):
        sweep(t, i)
    mask = np.isin(np.arange(12), (1, 3, 7))
    x = optimal_on_support(problem, mask)
    np.testing.assert_allclose(t[[1, 3, 7], 12], x[[1, 3, 7]])
    assert t[12, 12] == pytest.approx(problem.error(x))
    for i in (7, 1, 3):
        sweep(t, i)
    np.testing.assert_allclose(t, start, atol=1e-12)


def test_two_swaps_reach_what_single_ones_do_not():
    better = worse = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        mix = np.eye(12) + 0.6 * rng.normal(size=(12, 12))
        x = rng.normal(size=(60, 12)) @ mix
        pattern = Sparsity.nm(12, 2, 4) if seed % 3 == 0 else Sparsity.row(12, 5)
        problem = Problem(rng.normal(size=12), Gram.from_array(x.T @ x / 60), None, pattern)
        start, inputs = unit_lists(problem)
        t = tableau(problem.hessian, problem.hessian @ problem.weight, problem.reference)
        kept = np.zeros(12, bool)
        variance = problem.hessian.diagonal().copy()
        one_swaps(t, variance, start, inputs, pattern.group, pattern.keep, kept, 200)
        single = error(problem, kept)
        two_swaps(t, variance, start, inputs, pattern.group, pattern.keep, kept, 200)
        assert pattern.allows(kept)
        both = error(problem, kept)
        assert t[12, 12] == pytest.approx(both, rel=1e-8)
        better += both < single * (1 - 1e-9)
        worse += both > single * (1 + 1e-9)
    assert worse == 0
    assert better > 5
