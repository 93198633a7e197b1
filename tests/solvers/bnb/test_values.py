"""Grids under a pattern and fixed weights against complete enumeration: the search, its limits, its proofs."""

from functools import cache

import numpy as np
import pytest
from pvq.bounds.codebooks import codebook
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bnb import BranchAndBound, interval_search
from pvq.solvers.bnb.interval_search import IntervalSearch
from pvq.solvers.bnb.values import start_search
from pvq.solvers.brute import Brute
from pvq.solvers.relax.patterned import bound_by_split
from pvq.solvers.result import BoundKind, Reason, Status

FOREVER = Clock(Options(time_limit=None))
ROWS = 110


def row(seed, fixed=False):
    """Singular, duplicated and ill-conditioned ones among them."""
    rng = np.random.default_rng(seed)
    n = 6 if seed % 3 else 4
    x = rng.normal(size=(n, n - 2 if seed % 4 == 1 else 3 * n))
    if seed % 5 == 2:
        x[0] = -x[1]
    if seed % 11 == 4:
        x *= 10.0 ** rng.uniform(-5, 0, (n, 1))
    patterns = (
        Sparsity.row(n, 1 + seed % (n - 1), not fixed),
        Sparsity.nm(n, 1, 2, not fixed),
        Sparsity.blocks(n, 2, 1 + seed % (n // 2 - 1), not fixed),
    )
    levels = 0.5 * codebook("int", 2).levels + (0.2 if seed % 7 == 3 else 0.0)  # now and then without 0
    if seed % 8 == 6:
        levels = np.sort(rng.choice(np.arange(-9, 9) * 0.21, 5, replace=False))
    grid = None if fixed else Grid(levels[None, :], np.zeros(n, np.int64))
    weight = rng.normal(size=n) * 10.0 ** rng.integers(-1, 2)
    if seed % 13 == 5:
        weight[0] = 0.0
    return Problem(weight, Gram.from_array(x @ x.T), grid, patterns[seed % len(patterns)])


@cache
def optimum(seed, fixed):
    """The least error of a row by enumeration, and what rounding may add to a claim about it."""
    problem = row(seed, fixed)
    truth = Brute().solve(problem).upper
    return truth, 1e-9 * truth + 1e-11 * problem.reference


@pytest.mark.parametrize("fixed", [False, True])
def test_searches_from_nothing_against_enumeration(fixed, monkeypatch):
    """D = 0, the zero row as the only point known and no local search: the tree goes down to single points."""
    monkeypatch.setattr(interval_search, "polish_grid", lambda problem, x: x)
    nodes = 0
    for seed in range(ROWS):
        problem = presolve(row(seed, fixed)).problem
        truth, slack = optimum(seed, fixed)
        zero = np.zeros(problem.n)
        search = IntervalSearch(problem, Split(Below(zero), zero), 0.0, zero, 1 - 1e-7)
        reason = search.run(FOREVER)
        assert reason is Reason.FINISHED
        assert search.upper == problem.certified(search.x).upper
        assert problem.is_feasible(search.x)
        assert search.upper <= truth * (1 + 2e-7) + slack, seed
        assert search.lower <= truth + slack, seed
        nodes += search.nodes
    assert nodes > 5 * ROWS


@pytest.mark.parametrize("fixed", [False, True])
def test_a_search_cut_short_keeps_its_interval(fixed):
    closed = 0
    for seed in range(ROWS):
        problem = presolve(row(seed, fixed)).problem
        truth, slack = optimum(seed, fixed)
        lowers = []
        for most in (1, 3, 9, 1000):
            found, _ = start_search(problem, np.zeros(problem.n), 0.0, 1e-6, FOREVER)
            reason = found.run(FOREVER, most)
            assert found.lower <= truth + slack <= found.upper + 2 * slack, seed
            lowers.append(found.lower)
        assert lowers == sorted(lowers)
        assert reason is Reason.FINISHED
        closed += lowers[1] >= truth * (1 - 1e-5)
    assert closed > 55  # three nodes are enough for half of such rows


@pytest.mark.parametrize("fixed", [False, True])
def test_the_engine_against_enumeration(fixed):
    for seed in range(ROWS):
        problem = row(seed, fixed)
        truth, slack = optimum(seed, fixed)
        result = BranchAndBound().solve(problem, Options(time_limit=None, node_limit=40))
        # an ill-conditioned row may be enumerated to its end with more rounding than the gap allows
        assert result.status in (Status.OPTIMAL, Status.NODE_LIMIT, Status.BOUND_ONLY)
        assert result.lower <= truth + slack <= result.upper + 2 * slack, seed


def test_fixed_weights_have_a_tree_as_their_proof():
    rng = np.random.default_rng(0)
    for n in (12, 20, 30):
        x = rng.normal(size=(n, 2 * n))
        problem = Problem(rng.normal(size=n), Gram.from_array(x @ x.T / n), None, Sparsity.row(n, n // 3, False))
        cut, _ = start_search(problem, np.zeros(n), 0.0, 1e-6, FOREVER)
        assert cut.run(FOREVER, 5) is Reason.NODES
        assert lower_bound(problem, cut.tree()) == pytest.approx(cut.lower, rel=1e-6)
        before = cut.lower
        assert cut.run(FOREVER) is Reason.FINISHED  # the same search goes on
        assert cut.tree().leaves > 3
        assert before < lower_bound(problem, cut.tree()) == pytest.approx(cut.lower, rel=1e-6)


def test_real_rows_that_enumeration_does_not_end():
    """Rows of 64 inputs, more than the enumeration can do, in a few thousand nodes."""
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.9.expand.npz")
    weight, gram = layer.weight[:, :64], layer.grams[:, :64, :64]
    for setting in (Setting("prune", sparsity=0.75, update=False), Setting("joint", 4, sparsity=0.75)):
        problem = state_problem(weight, gram, setting).row(0)
        result = BranchAndBound().solve(problem, Options(time_limit=None, prove=True))
        assert result.status is Status.OPTIMAL
        assert result.nodes < 40_000
        assert result.bound_kind is BoundKind.RIGOROUS


def test_enumeration_takes_turns_where_the_gram_matrix_is_nearly_singular():
    layer = load_layer("benchmarks/instances/efficientnet_lite0.conv_stem.npz")
    problem = state_problem(layer.weight, layer.grams, Setting("joint", 2, sparsity=0.5)).row(0)
    result = BranchAndBound().solve(problem, Options(time_limit=None))
    assert result.status is Status.OPTIMAL
    for most in (30_000, 100_000):
        cut = BranchAndBound().solve(problem, Options(time_limit=None, node_limit=most))
        assert cut.nodes <= most * 1.01 + 10
        assert cut.lower <= result.upper
        assert result.lower <= cut.upper


def test_the_certificate_of_both_constraints():
    bounded = verified = 0
    for seed in range(210):
        problem = row(seed)
        truth, slack = optimum(seed, False)
        reduced = presolve(problem).problem
        alone, proof = bound_by_split(reduced, truth, FOREVER)
        proven = lower_bound(reduced, proof)
        assert proven <= alone + slack
        verified += proven >= alone * (1 - 1e-6)
        assert 0 <= alone <= truth + slack, seed
        bounded += alone > 0.3 * truth
    assert bounded > 100
    assert verified > 150  # the rest are rows with a singular or ill-conditioned H
