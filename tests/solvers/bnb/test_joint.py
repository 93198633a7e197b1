"""Pruning and quantization together, cut short so that the relaxations speak, against complete enumeration."""

import numpy as np
from pvq.bounds.codebooks import codebook
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import lower_bound
from pvq.solvers.base import Clock, Options
from pvq.solvers.bnb import BranchAndBound, joint
from pvq.solvers.bound.patterned import bound_row
from pvq.solvers.brute import Brute
from pvq.solvers.result import Outcome, Status


def row(seed):
    rng = np.random.default_rng(seed)
    n = 6 if seed % 3 else 4
    x = rng.normal(size=(n, n - 2 if seed % 4 == 1 else 3 * n))
    if seed % 5 == 2:
        x[0] = -x[1]
    patterns = (
        Sparsity.row(n, 1 + seed % (n - 1)),
        Sparsity.nm(n, 1, 2),
        Sparsity.blocks(n, 2, 1 + seed % (n // 2 - 1)),
    )
    levels = 0.5 * codebook("int", 2).levels + (0.2 if seed % 7 == 3 else 0.0)  # now and then without 0
    grid = Grid(levels[None, :], np.zeros(n, np.int64))
    weight = rng.normal(size=n) * 10.0 ** rng.integers(-1, 2)
    return Problem(weight, Gram.from_array(x @ x.T), grid, patterns[seed % len(patterns)])


def test_two_hundred_cut_searches_against_enumeration(monkeypatch):
    def nothing(problem, options, start):  # the weakest search there is, so that only relaxations bound
        if problem.sparsity is None:
            return Outcome(problem.grid.nearest(problem.weight), 0.0, Status.NODE_LIMIT)
        return Outcome(np.zeros(problem.n), 0.0, Status.NODE_LIMIT)

    monkeypatch.setattr(joint, "solve_grid", nothing)
    bounded = verified = 0
    for seed in range(210):
        problem = row(seed)
        truth = Brute().solve(problem).upper
        slack = 1e-9 * truth + 1e-11 * problem.reference
        result = BranchAndBound().solve(problem, Options(time_limit=None))
        assert result.lower <= truth + slack <= result.upper + 2 * slack, seed
        reduced = presolve(problem).problem
        alone, proof = bound_row(reduced, truth, Clock(Options(time_limit=None)))
        proven = lower_bound(reduced, proof)
        assert proven <= alone + slack
        verified += proven >= alone * (1 - 1e-6)
        assert 0 <= alone <= truth + slack, seed
        bounded += alone > 0.3 * truth
    assert bounded > 100
    assert verified > 170  # the rest are rows with a singular H


def test_a_joint_row_too_large_to_enumerate_is_bounded_by_both_constraints():
    rng = np.random.default_rng(0)
    n = 40
    x = rng.normal(size=(n, 2 * n))
    grid = Grid(0.4 * codebook("int", 3).levels[None, :], np.zeros(n, np.int64))
    problem = Problem(rng.normal(size=n), Gram.from_array(x @ x.T / n), grid, Sparsity.row(n, 20))
    result = BranchAndBound().solve(problem, Options(time_limit=None, node_limit=20))
    free = Problem(problem.weight, problem.gram, None, problem.sparsity)
    pruned = BranchAndBound().solve(free, Options(time_limit=None, node_limit=20))
    assert result.status is Status.NODE_LIMIT
    assert result.lower >= pruned.lower * (1 - 1e-9)
    assert result.lower > 0.3 * result.upper
