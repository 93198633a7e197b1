"""Searches over intervals that stop early: the tree of a row with fixed weights proves what the search says."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bnb.interval_search import IntervalSearch, at_pruned
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


def test_a_leaf_whose_other_inputs_stay_as_they_are_proves_less():
    """What the search had at its pruned inputs is not what the proof puts there: it had all the bound to lose."""
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.4.project.npz")
    setting = Setting("prune", sparsity=0.5, update=False, inputs=(0, 128))
    problem = state_problem(layer.weight, layer.grams, setting).row(1)
    search = searched(problem, 400)
    tree = search.tree()
    assert isinstance(tree, Tree)
    assert lower_bound(problem, tree) >= search.lower * (1 - 1e-9) > 0
    leaves = search.closed + [(node.lo, node.hi, node.v) for node in search.heap]
    as_they_are = tuple(replace(split, v=v) for split, (_, _, v) in zip(tree.splits, leaves, strict=True))
    assert lower_bound(problem, Tree(tree.code, as_they_are)) < 0.9 * search.lower


def test_a_leaf_is_not_taken_for_its_sibling():
    """The same splits with the sides of the first branch exchanged say nothing true of either."""
    problem = row(1)
    optimum = Brute().solve(problem)
    tree = searched(problem, 2).tree()
    assert tree.leaves == 2
    exchanged = Tree(np.array([tree.code[0], tree.code[2], tree.code[1]]), tree.splits)
    try:
        proven = lower_bound(problem, exchanged)
    except NotProven:
        proven = -np.inf
    assert proven <= optimum.upper


def test_the_shortfall_is_the_least():
    """-v'Mv + 2 (Mv)'u is moved to the best v_P: for no v_P, v_N and u does the proof lose."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = rng.standard_normal((9, 6))
        m, v, u = a.T @ a, rng.standard_normal(6), rng.standard_normal(6)
        pruned = rng.random(6) < 0.5
        at = at_pruned(np.linalg.inv(m), v, u, pruned)
        assert not at[pruned].any()
        for _ in range(5):  # whatever the other inputs are
            point = np.where(pruned, u, rng.standard_normal(6))
            before, after = v - point, np.where(pruned, u, at) - point
            assert after @ m @ after <= before @ m @ before * (1 + 1e-9)


def test_splits_of_a_tree_share_their_diagonal():
    tree = searched(row(2), 12).tree()
    assert all(isinstance(split, Split) and split.below is tree.splits[0].below for split in tree.splits)
