"""Several sparsities at once, and budgets shared by rows, against complete enumeration."""

import threading
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.layer_problem import Setting, at_sparsity, state_problem, with_ridge
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bound import Bound, branching
from pvq.solvers.brute import Brute
from pvq.solvers.curve import solve_curve
from pvq.solvers.layer import solve_layer
from pvq.solvers.result import Status
from pvq.solvers.row_curve import lower_curve, pruned_further

NO_LIMIT = Options(time_limit=None)


def layer(seed, rows, n):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, max(1, n - 1) if seed % 5 == 1 else 3 * n))
    if seed % 3 == 1:
        x[0] = x[1]
    if seed % 4 == 2:
        x[2] = 0
    return rng.normal(size=(rows, n)) * np.exp(rng.normal(size=(rows, 1))), x @ x.T


def shared_optimum(problem):
    """Least sum over all ways to share the budget."""
    units = problem.sparsity.units
    curves = []
    for i in range(len(problem)):
        row = problem.row(i)
        patterns = [replace(row.sparsity, keep=np.array([k])) for k in range(units + 1)]
        curves.append([Brute().solve(replace(row, sparsity=pattern)).upper for pattern in patterns])
    choices = product(range(units + 1), repeat=len(problem))
    return min(sum(c[k] for c, k in zip(curves, ks, strict=True)) for ks in choices if sum(ks) <= problem.budget)


@pytest.mark.parametrize("update", [True, False])
def test_two_hundred_shared_budgets_against_enumeration(update):
    for seed in range(105):
        rng = np.random.default_rng(1000 + seed)
        n, rows = int(rng.integers(3, 6)), int(rng.integers(1, 4))
        block = 2 if n == 4 and seed % 2 else None
        sparsity = float(rng.uniform(0.1, 0.9))
        setting = Setting("prune", sparsity=sparsity, scope="layer", update=update, block=block)
        problem = state_problem(*layer(seed, rows, n), setting)
        result = solve_layer(problem, BranchAndBound(), NO_LIMIT)
        truth = shared_optimum(problem)
        slack = 1e-9 * truth + 1e-11 * result.reference
        assert result.lower <= truth + slack, seed
        assert result.upper == pytest.approx(truth, rel=2e-6, abs=slack), seed
        assert sum(np.count_nonzero(row.result.x) for row in result.rows) <= problem.budget * (block or 1)


@pytest.mark.parametrize("scope", ["row", "layer"])
def test_a_range_of_sparsities_gives_what_each_gives_alone(scope):
    weight, gram = layer(3, 4, 8)
    first = state_problem(weight, gram, Setting("prune", sparsity=0.25, scope=scope))
    problems = [at_sparsity(first, s) for s in (0.25, 0.5, 0.625, 0.875)]
    curve = solve_curve(problems, BranchAndBound(), NO_LIMIT, jobs=2 if scope == "row" else 1)
    for problem, result in zip(problems, curve, strict=True):
        alone = solve_layer(problem, BranchAndBound(), NO_LIMIT)
        assert result.status is Status.OPTIMAL
        assert result.upper == pytest.approx(alone.upper, rel=2e-6)
        kept = sum(np.count_nonzero(row.result.x) for row in result.rows)
        assert kept <= (problem.budget or len(problem) * problem.sparsity.keep[0])


def test_bounds_spread_along_the_curve_when_the_search_is_cut_short():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 80))
    first = state_problem(rng.normal(size=(2, 40)), x @ x.T, Setting("prune", sparsity=0.5))
    problems = [at_sparsity(first, s) for s in (0.5, 0.525, 0.55, 0.9)]
    results = solve_curve(problems, BranchAndBound(), Options(time_limit=None, node_limit=1))
    for before, after in pairwise(results):
        for a, b in zip(before.rows, after.rows, strict=True):
            assert a.result.lower <= b.result.lower
            assert a.result.upper <= b.result.upper
            assert a.result.lower <= a.result.upper


def test_an_interrupted_curve_keeps_an_interval_for_every_sparsity():
    stop = threading.Event()
    stop.set()
    first = state_problem(*layer(3, 2, 8), Setting("prune", sparsity=0.25))
    results = solve_curve([first, at_sparsity(first, 0.5)], BranchAndBound(), Options(stop=stop))
    assert [r.status for r in results] == [Status.INTERRUPTED] * 2
    assert all(0 <= r.lower <= r.upper for r in results)


def test_pruned_further_is_feasible_for_every_pattern():
    weight, gram = layer(3, 1, 8)
    for setting in (
        Setting("prune", sparsity=0.5),
        Setting("prune", sparsity=0.5, update=False),
        Setting("prune", sparsity=0.5, block=2),
        Setting("joint", sparsity=0.5, bits=3),
    ):
        problem = state_problem(weight, gram, setting).row(0)
        x = problem.weight.copy() if problem.grid is None else problem.grid.nearest(problem.weight)
        assert problem.is_feasible(pruned_further(problem, x)), setting


def test_a_ridge_is_part_of_the_problem():
    weight, gram = layer(2, 2, 6)  # input 2 is dead
    ridged = with_ridge(gram, 0.1)
    live = gram.any(axis=1)
    assert np.diag(ridged - gram)[live] == pytest.approx(0.1 * np.diag(gram)[live].mean())
    assert not ridged[~live].any()
    problem = state_problem(weight, gram, Setting("prune", sparsity=0.5, ridge=0.1))
    plain = state_problem(weight, ridged, Setting("prune", sparsity=0.5))
    row = problem.row(0)
    assert isinstance(row, Problem)
    assert row.error(np.zeros(6)) == plain.row(0).error(np.zeros(6))
    mine, other = solve_layer(problem, BranchAndBound(), NO_LIMIT), solve_layer(plain, BranchAndBound(), NO_LIMIT)
    assert mine.upper == pytest.approx(other.upper)
    assert Setting.from_json(problem.setting.as_json()) == problem.setting
    part = state_problem(weight, gram, Setting("prune", sparsity=0.5, ridge=0.1, inputs=(0, 4)))
    assert part.grams[0].matrix == pytest.approx(ridged[:4, :4])


def test_one_relaxation_bounds_every_budget(monkeypatch):
    monkeypatch.setattr(branching, "INPUTS", 0)
    tight = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(30, 9)) @ (np.eye(9) + 0.4 * rng.normal(size=(9, 9)))
        if seed % 3 == 0:
            x[:, 4] = 0.0
        pattern = Sparsity.blocks(9, 3, 2) if seed % 4 == 0 else Sparsity.row(9, int(rng.integers(1, 8)))
        problem = Problem(rng.normal(size=9), Gram.from_array(x.T @ x / 30), None, pattern)
        result = Bound().solve(problem, NO_LIMIT)
        if not isinstance(result.proof, Split):  # intervals of a near-null direction are for one budget
            continue
        curve = lower_curve(problem, result.proof)
        for k in range(pattern.units + 1):
            row = replace(problem, sparsity=replace(pattern, keep=np.array([k])))
            assert curve[k] <= Brute().solve(row).upper * (1 + 1e-9)
        tight += abs(curve[pattern.keep[0]] - result.lower) <= 1e-6 * problem.reference
    assert tight > 30
