"""Searches over intervals that stop early: their tree proves what the search says."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.reference import reference_bound
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bnb import interval_search
from pvq.solvers.bnb.interval_search import IntervalSearch
from pvq.solvers.brute import Brute
from pvq.solvers.relax import patterned

N = 12


def row(seed, pattern="row"):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((30, N)) * 10.0 ** rng.uniform(-1, 1, N) @ rng.standard_normal((N, N))
    sparsity = Sparsity.row(N, 5, False) if pattern == "row" else Sparsity.nm(N, 2, 4, False)
    weight = rng.standard_normal(N)
    weight[seed % N] = 0.0  # decided before it begins
    return Problem(weight, Gram.from_array(a.T @ a / 30), None, sparsity)


def searched(problem, nodes):
    clock = Clock(Options(time_limit=None))
    x = patterned.upper_point(problem, None)
    lower, split = patterned.bound_by_split(problem, problem.certified(x).upper, clock)
    search = IntervalSearch(problem, split, lower, x, 1 - 5e-7)
    search.run(clock, nodes)
    return search


@pytest.mark.parametrize("pattern", ["row", "nm"])
@pytest.mark.parametrize("seed", range(6))
def test_a_tree_proves_what_the_search_says(pattern, seed):
    problem = row(seed, pattern)
    optimum = Brute().solve(problem)
    for nodes in (2, 5, 12, 40):
        search = searched(problem, nodes)
        proven = lower_bound(problem, search.tree())
        assert search.lower * (1 - 1e-6) <= proven <= optimum.upper
    assert search.lower > 0


def on_grid(seed, levels, sparsity=None):
    """The first eight inputs of a row, with values."""
    problem, sparsity = row(seed), sparsity or Sparsity.row(8, 3)
    gram = Gram(np.ascontiguousarray(problem.hessian[:8, :8]))
    return Problem(problem.weight[:8], gram, Grid(np.array([levels]), np.zeros(8, np.int64)), sparsity)


@pytest.mark.parametrize("sparsity", [Sparsity.row(8, 3), Sparsity.nm(8, 2, 4), Sparsity.blocks(8, 2, 2)])
@pytest.mark.parametrize("levels", [[-1.0, 0.0, 1.0], [-1.5, -0.5, 0.5]], ids=str)
def test_a_tree_of_a_grid_proves_what_the_search_says(sparsity, levels):
    """At every stop, until nothing is open; and what it proves is the optimum then, to half the gap."""
    problem = on_grid(3, levels, sparsity)
    optimum = Brute().solve(problem)
    for nodes in (0, 5, 40, 10**5):
        search = searched(problem, nodes)
        proof = search.tree()
        proven = lower_bound(problem, proof)
        assert search.lower * (1 - 1e-6) <= proven <= optimum.upper
        assert proven <= reference_bound(problem, proof) <= optimum.upper
    assert not search.heap or search.heap[0].bound >= search.cutoff
    assert proven >= optimum.upper * (1 - 1e-6)


def test_a_tree_of_128_inputs():
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.4.project.npz")
    setting = Setting("prune", sparsity=0.5, update=False, inputs=(0, 128))
    problem = state_problem(layer.weight, layer.grams, setting).row(1)
    search = searched(problem, 400)
    tree = search.tree()
    assert tree.leaves > 190
    assert lower_bound(problem, tree) >= search.lower * (1 - 1e-9) > 0


def test_a_leaf_is_not_taken_for_its_sibling():
    """The same v with the sides of the first branch exchanged, or moved by one value, says nothing false."""
    for problem in (row(1), on_grid(1, [-1.0, 0.0, 1.0])):
        optimum = Brute().solve(problem)
        search = searched(problem, 2)
        tree = search.tree()
        assert tree.leaves == 2
        honest = lower_bound(problem, tree)
        exchanged = replace(tree, code=tree.code[[0, 2, 1]])
        assert lower_bound(problem, exchanged) < honest <= optimum.upper
        if problem.grid is not None:
            code = tree.code.copy()
            code[0, 1] = 1 - code[0, 1]
            assert lower_bound(problem, replace(tree, code=code)) <= optimum.upper


def test_a_search_with_many_leaves_has_the_first_as_its_proof(monkeypatch):
    """And keeps none of the others."""
    monkeypatch.setattr(interval_search, "LEAVES", 4)
    problem = row(1)
    search, few = searched(problem, 100), searched(problem, 6)
    assert search.nodes > few.nodes
    assert search.tree().leaves == few.tree().leaves == 4
    assert few.lower * (1 - 1e-6) <= lower_bound(problem, search.tree()) < search.lower
    assert not search.branches
    assert not search.closed


def test_v_of_many_digits_where_few_are_not_enough(monkeypatch):
    """Both prove the same of a row like any other; what few digits cost is asked before they are taken."""
    search, wanted = searched(row(1), 12), []
    for worth in (-1.0, 1e-9):  # not even what is proven is enough, and it is
        monkeypatch.setattr(interval_search, "NEARLY", worth)
        wanted.append(search.tree())
    digits = [np.abs(tree.v - tree.v.astype(np.float32)).max() for tree in wanted]
    assert digits[0] > 0 == digits[1]
    assert lower_bound(row(1), wanted[0]) == pytest.approx(lower_bound(row(1), wanted[1]), rel=1e-9)
