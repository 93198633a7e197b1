"""Swaps by what they change exactly: never worse, within the pattern, and at the end no single one helps."""

import itertools
import threading

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound.batch.exchanges import exchanged
from pvq.solvers.bound.batch.patterns import groups_of
from pvq.solvers.brute import Brute

FOREVER = Clock(Options(time_limit=None))
PATTERNS = [Sparsity.row(10, 3), Sparsity.nm(12, 2, 4), Sparsity.row(8, 0), Sparsity.row(8, 8)]


def row(n, pattern, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((3 * n, n)) + 2.0 * rng.standard_normal((3 * n, 1))
    return Problem(rng.standard_t(3, n), Gram.from_array(a.T @ a / len(a)), None, pattern)


def any_mask(groups, n, seed):
    mask, rng = np.zeros(n, dtype=bool), np.random.default_rng(seed)
    for g, keep in enumerate(groups.keep):
        inputs = groups.inputs[groups.start[g] : groups.start[g + 1]]
        mask[rng.permutation(inputs)[:keep]] = True
    return mask


def error_on(problem, mask):
    return problem.error(optimal_on_support(problem, mask))


@pytest.mark.parametrize("pattern", PATTERNS, ids=["row", "n:m", "nothing", "everything"])
@pytest.mark.parametrize("seed", range(6))
def test_no_single_swap_is_left_that_helps(pattern, seed):
    n, groups = pattern.units, groups_of(pattern)
    problem, start = row(n, pattern, seed), any_mask(groups, n, seed)
    before = start.copy()
    mask = exchanged(problem, start, groups, FOREVER)
    reached = error_on(problem, mask)
    assert np.array_equal(start, before)
    assert problem.is_feasible(optimal_on_support(problem, mask))
    assert mask.sum() == start.sum()
    assert Brute().solve(problem).lower * (1 - 1e-9) - 1e-12 <= reached <= error_on(problem, start) * (1 + 1e-9)
    group = pattern.group[pattern.unit]
    for i, j in itertools.product(np.flatnonzero(mask), np.flatnonzero(~mask)):
        if group[i] == group[j]:
            swapped = mask.copy()
            swapped[[i, j]] = False, True
            assert error_on(problem, swapped) >= reached * (1 - 1e-5)


def test_inputs_that_say_the_same_are_no_swap():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 6))
    a = np.column_stack([a, a[:, :2]])  # inputs 6 and 7 repeat 0 and 1
    pattern = Sparsity.row(8, 4)
    problem = Problem(rng.standard_normal(8), Gram.from_array(a.T @ a / 40), None, pattern)
    for kept in ([0, 6, 2, 3], [0, 1, 2, 3]):
        mask = np.zeros(8, dtype=bool)
        mask[kept] = True
        found = exchanged(problem, mask, groups_of(pattern), FOREVER)
        assert found.sum() == 4
        assert error_on(problem, found) <= error_on(problem, mask) * (1 + 1e-9)


def test_without_time_the_mask_stays_as_it_is():
    problem, stop = row(10, PATTERNS[0], 0), threading.Event()
    stop.set()
    mask = any_mask(groups_of(PATTERNS[0]), 10, 0)
    for clock in (Clock(Options(time_limit=0.0)), Clock(Options(time_limit=None, stop=stop))):
        assert exchanged(problem, mask, groups_of(PATTERNS[0]), clock) is mask
