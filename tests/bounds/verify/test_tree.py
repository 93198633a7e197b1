"""Trees: every pattern has a leaf, and the leaves prove the optimum."""

import itertools

import numpy as np
import pytest
from pvq.bounds.problem import optimal_on_support
from pvq.bounds.proof import FREE, KEPT, PRUNED, Below, Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.exact import exact_lower_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.tree import covers
from pvq.solvers.brute import Brute

from row_cases import allowed, problems


def every_pattern(problem):
    """The tree of all maximal patterns, each solved."""
    n, sparsity = problem.n, problem.sparsity
    states, splits = [], []
    for mask in map(np.array, itertools.product([False, True], repeat=sparsity.units)):
        used = np.bincount(sparsity.group[mask], minlength=len(sparsity.keep))
        size = np.bincount(sparsity.group, minlength=len(sparsity.keep))
        if not (used == np.minimum(sparsity.keep, size)).all():
            continue
        states.append(np.where(mask, KEPT, PRUNED))
        d = np.full(n, 1e-12) * problem.hessian.diagonal()
        splits.append(Split(Below(d), optimal_on_support(problem, mask[sparsity.unit]) - problem.weight))
    return Tree(np.array(states), np.arange(len(states)), tuple(splits))


@pytest.mark.parametrize("kind", ["regular", "ill-conditioned", "dead"])
def test_a_tree_of_every_pattern_proves_the_optimum(kind):
    rng = np.random.default_rng(0)
    for _ in range(4):
        for problem in problems(rng, 6, kind):
            if problem.method != "prune" or not problem.sparsity.update:
                continue
            tree, best = every_pattern(problem), Brute().solve(problem).upper
            exact = exact_lower_bound(problem, tree)
            assert lower_bound(problem, tree) <= exact <= best + allowed(problem)
            assert lower_bound(problem, tree) >= best * (1 - 1e-9) - 1e-9 * problem.reference
            for leaf in range(len(tree.state)):
                rest = np.arange(len(tree.state)) != leaf
                with pytest.raises(NotProven, match=r"cover|names splits"):
                    lower_bound(problem, Tree(tree.state[rest], tree.split[rest], tree.splits))


@pytest.mark.parametrize("maximal", [True, False])
def test_covers_agrees_with_its_definition(maximal):
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(400):
        units = int(rng.integers(1, 6))
        sparsity = rng.choice([Sparsity.row(units, int(rng.integers(units + 1))), Sparsity.nm(units, 1, units)])
        state = rng.choice([FREE, KEPT, PRUNED], (int(rng.integers(1, 8)), units), p=[0.6, 0.2, 0.2])
        keep = min(int(sparsity.keep[0]), units)
        expected = all(
            any(all(s == FREE or (s == KEPT) == (u in pattern) for u, s in enumerate(leaf)) for leaf in state)
            for size in range(keep if maximal else 0, keep + 1)
            for pattern in itertools.combinations(range(units), size)
        )
        assert covers(state, sparsity, maximal) is expected
        outcomes.add(expected)
    assert outcomes == {True, False}
