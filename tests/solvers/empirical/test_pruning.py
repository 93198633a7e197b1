"""Magnitude, Wanda, SparseGPT and OBC against their definitions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from pvq.bounds.gram import BoolArray, FloatArray, Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.empirical.factors import damped
from pvq.solvers.empirical.magnitude import Magnitude, MagnitudeLeastSquares, Wanda
from pvq.solvers.empirical.obs import OptimalBrainCompression, OptimalBrainQuantizer
from pvq.solvers.empirical.select import best_mask
from pvq.solvers.empirical.sparsegpt import SparseGpt
from pvq.solvers.empirical.sweep import windows

from .conftest import Make


def largest(score: FloatArray, k: int) -> BoolArray:
    """Mask of the k largest scores."""
    mask = np.zeros(len(score), dtype=bool)
    mask[np.argsort(-score)[:k]] = True
    return mask


def test_magnitude_and_wanda(make: Make) -> None:
    problem = make("regular", "row", n=12)
    w, norms = problem.weight, np.sqrt(np.diag(problem.hessian))
    by_magnitude = largest(abs(w), 4)
    assert np.array_equal(Magnitude().solve(problem).x, np.where(by_magnitude, w, 0))
    assert np.array_equal(Wanda().solve(problem).x, np.where(largest(abs(w) * norms, 4), w, 0))
    refitted = MagnitudeLeastSquares().solve(problem).x
    assert np.array_equal(refitted, optimal_on_support(problem, by_magnitude))


def test_magnitude_of_each_group(make: Make) -> None:
    problem = make("regular", "nm", n=12)
    x = Magnitude().solve(problem).x.reshape(3, 4)
    expected = np.argmax(abs(problem.weight.reshape(3, 4)), axis=1)
    assert (np.argmax(x != 0, axis=1) == expected).all()
    assert (x != 0).sum() == 3


def test_joint_rounds_what_magnitude_keeps(make: Make) -> None:
    problem = make("regular", "joint", n=12)
    assert problem.grid is not None
    expected = np.where(largest(abs(problem.weight), 4), problem.grid.nearest(problem.weight), 0)
    assert np.array_equal(Magnitude().solve(problem).x, expected)


def sparsegpt_small(problem: Problem, kept: int, group: int) -> FloatArray:
    """Algorithm 1 for one row, masks chosen for every `group` inputs, from the factor of the explicit inverse."""
    u = np.linalg.cholesky(np.linalg.inv(damped(problem.gram))).T
    w = problem.weight.copy()
    for j in range(problem.n):
        if j % group == 0:
            mask = largest(w[j : j + group] ** 2 / np.diag(u)[j : j + group] ** 2, kept)
        target = 0.0
        if mask[j % group]:
            target = w[j] if problem.grid is None else problem.grid.nearest(np.full(problem.n, w[j]))[j]
        w[j:] -= (w[j] - target) / u[j, j] * u[j, j:]
        w[j] = target
    return w


@pytest.mark.parametrize(
    ("constraint", "kept", "group"), [("row", 5, 16), ("nm", 1, 4), ("joint", 5, 16), ("joint-nm", 1, 4)]
)
def test_sparsegpt_is_its_definition(make: Make, constraint: str, kept: int, group: int) -> None:
    for seed in range(10):
        problem = make("regular", constraint, n=16, seed=seed)
        expected = sparsegpt_small(problem, kept, group)
        assert np.allclose(SparseGpt().solve(problem).x, expected, rtol=1e-8, atol=1e-12)


def test_sparsegpt_kept_weights_hold_the_damped_least_squares_solution(make: Make) -> None:
    """The inputs after the last pruned one have compensated everything that they can."""
    problem = make("regular", "row", n=16, seed=2)
    x = SparseGpt().solve(problem).x
    gradient = damped(problem.gram) @ (problem.weight - x)
    last_pruned = int(np.flatnonzero(x == 0).max())
    assert np.allclose(gradient[last_pruned + 1 :], 0, atol=1e-9)


@pytest.mark.parametrize(("n", "k"), [(300, 75), (1152, 289), (130, 1), (128, 127), (40, 10)])
def test_windows_share_the_budget_exactly(n: int, k: int) -> None:
    stretches = windows(Sparsity.row(n, k))
    assert stretches[0][0] == 0
    assert stretches[-1][1] == n
    assert all(a[1] == b[0] for a, b in pairwise(stretches))
    assert sum(kept for _, _, kept in stretches) == k
    assert all(0 <= kept <= end - first <= 128 for first, end, kept in stretches)
    assert all(abs(kept - k * (end - first) / n) <= 1 for first, end, kept in stretches)


def test_windows_of_groups_and_blocks() -> None:
    assert windows(Sparsity.nm(12, 2, 4)) == [(0, 4, 2), (4, 8, 2), (8, 12, 2)]
    assert windows(Sparsity.blocks(400, 50, 4)) == [(0, 100, 1), (100, 200, 1), (200, 300, 1), (300, 400, 1)]
    assert windows(Sparsity.blocks(600, 300, 1)) == [(0, 300, 1), (300, 600, 0)]
    # after presolve a group may have lost inputs
    assert windows(Sparsity.nm(8, 2, 4).take(np.array([0, 2, 3, 6]))) == [(0, 3, 2), (3, 4, 1)]


def obc(problem: Problem) -> BoolArray:
    """The definition: of all units that may go, remove the one after which the optimum on the rest is smallest."""
    assert problem.sparsity is not None
    s = problem.sparsity
    mask, alive = np.ones(problem.n, dtype=bool), np.ones(s.units, dtype=bool)
    while True:
        losses = {}
        for u in np.flatnonzero(alive):
            if alive[s.group == s.group[u]].sum() > s.keep[s.group[u]]:
                without = mask & (s.unit != u)
                losses[u] = problem.error(optimal_on_support(problem, without))
        if not losses:
            return mask
        worst = min(losses, key=losses.__getitem__)
        alive[worst] = False
        mask &= s.unit != worst


@pytest.mark.parametrize("constraint", ["row", "nm", "block"])
def test_obc_is_exhaustive_one_step_removal(make: Make, constraint: str) -> None:
    for seed in range(10):
        problem = make("regular", constraint, n=12, seed=seed)
        expected = obc(problem)
        result = OptimalBrainCompression().solve(problem)
        assert np.array_equal(result.x != 0, expected)
        assert np.array_equal(result.x, optimal_on_support(problem, expected))


def test_obc_of_a_large_row_meets_its_budget() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 260))
    problem = Problem(rng.normal(size=260), Gram.from_array(x.T @ x / 150), None, Sparsity.row(260, 65))
    greedy = OptimalBrainCompression().solve(problem)
    assert (greedy.x != 0).sum() == 65
    assert greedy.upper < MagnitudeLeastSquares().solve(problem).upper


def test_compiled_best_mask_is_that_of_sparsity(make: Make) -> None:
    rng = np.random.default_rng(0)
    for constraint in ("row", "nm", "block"):
        sparsity = make("regular", constraint, n=16).sparsity
        assert sparsity is not None
        for score in (rng.normal(size=16), rng.integers(0, 3, 16).astype(float)):
            mine = best_mask(score, sparsity.unit, sparsity.group, sparsity.keep)
            assert np.array_equal(mine, sparsity.best_mask(score))


def test_joint_obc_is_obq_on_what_obc_keeps(make: Make) -> None:
    for seed in range(10):
        problem = make("regular", "joint", n=12, seed=seed)
        assert problem.grid is not None
        assert problem.sparsity is not None
        pruned = Problem(problem.weight, problem.gram, None, problem.sparsity)
        x = OptimalBrainCompression().solve(pruned).x
        kept = np.flatnonzero(x)
        quantized = OptimalBrainQuantizer().solve(
            Problem(x[kept], problem.gram.take(kept), problem.grid.take(kept))
        )
        assert np.array_equal(OptimalBrainCompression().solve(problem).x[kept], quantized.x)
