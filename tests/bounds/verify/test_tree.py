"""Trees: every pattern has its leaf, whatever the record says, and the leaves prove the optimum."""

import itertools

import numpy as np
import pytest
from pvq.bounds.problem import optimal_on_support
from pvq.bounds.proof import FREE, KEPT, PRUNED, Below, Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.exact import exact_lower_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.tree import leaves_of
from pvq.solvers.bnb.recorded import recorded
from pvq.solvers.brute import Brute

from row_cases import allowed, problems


def every_pattern(problem):
    """The tree that decides every unit in turn, each pattern solved."""
    n, units = problem.n, problem.sparsity.units
    splits = []
    for mask in itertools.product([True, False], repeat=units):
        x = optimal_on_support(problem, np.array(mask)[problem.sparsity.unit])
        splits.append(Split(Below(1e-12 * problem.hessian.diagonal() * np.ones(n)), x - problem.weight))

    def record(unit, leaf):
        if unit == units:
            return [-1 - leaf]
        return [unit, *record(unit + 1, 2 * leaf), *record(unit + 1, 2 * leaf + 1)]

    return Tree(record(0, 0), tuple(splits))


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


def broken(code):
    """Records that are no tree, each with the word for it."""
    branch, leaf = (
        int(np.flatnonzero(code >= 0)[1]),
        int(np.flatnonzero(code < 0)[-1]),
    )  # nothing kept: within any budget
    yield np.delete(code, leaf), "ends before|twice"
    yield np.append(code, code[leaf]), "goes on"
    yield np.insert(code, leaf, code[leaf]), "goes on|twice"
    yield np.where(np.arange(len(code)) == branch, code[0], code), "twice"
    yield np.where(np.arange(len(code)) == branch, 10**6, code), "units"
    yield np.where(np.arange(len(code)) == leaf, -1 - 10**6, code), "names splits"
    yield code[:0], "units"
    yield np.stack([code, code]), "units"


def test_records_that_are_no_tree():
    rng = np.random.default_rng(1)
    problem = next(p for p in problems(rng, 6, "regular") if p.free_weights and p.sparsity.keep.sum() > 1)
    tree = every_pattern(problem)
    for code, words in broken(tree.code):
        for check in (lower_bound, exact_lower_bound):
            with pytest.raises(NotProven, match=words):
                check(problem, Tree(code, tree.splits))


def test_subtrees_that_have_changed_places_prove_less():
    """The split of a pattern that keeps a unit bounds nothing of those that prune it."""
    rng = np.random.default_rng(2)
    lower = 0
    for problem in problems(rng, 6, "regular"):
        if not problem.free_weights:
            continue
        tree, best = every_pattern(problem), Brute().solve(problem).upper
        half = len(tree.code) // 2
        swapped = Tree(np.r_[tree.code[0], tree.code[1 + half :], tree.code[1 : 1 + half]], tree.splits)
        try:
            found = lower_bound(problem, swapped)
        except NotProven:
            continue
        assert found <= best + allowed(problem)
        lower += found < 0.9 * best
    assert lower > 0


def random_tree(rng, sparsity, maximal):
    """Preorder code of a random tree and the closed states of its leaves, by definition."""
    code, states = [], []

    def closed(state):
        state = list(state)
        for g, keep in enumerate(sparsity.keep.tolist()):
            units = np.flatnonzero(sparsity.group == g)
            kept, free = [sum(state[u] == s for u in units) for s in (KEPT, FREE)]
            for u in units:
                if state[u] == FREE and kept == keep:
                    state[u] = PRUNED
                elif state[u] == FREE and maximal and kept + free <= keep:
                    state[u] = KEPT
        return state

    def grow(state):
        state = closed(state)
        free = [u for u, s in enumerate(state) if s == FREE]
        if not free or rng.random() < 0.25:
            code.append(-1 - len(states))
            states.append(state)
            return
        u = int(rng.choice(free))
        code.append(u)
        for side in (KEPT, PRUNED):
            grow([side if v == u else s for v, s in enumerate(state)])

    grow([FREE] * sparsity.units)
    return np.array(code), np.array(states, dtype=np.int8)


def patterns(sparsity, maximal):
    """Every pattern within the budgets, or only those that keep all they may."""
    size = np.bincount(sparsity.group, minlength=len(sparsity.keep))
    for mask in itertools.product([False, True], repeat=sparsity.units):
        kept = np.bincount(sparsity.group[np.array(mask)], minlength=len(sparsity.keep))
        if (kept <= sparsity.keep).all() and (not maximal or (kept == np.minimum(sparsity.keep, size)).all()):
            yield np.array(mask)


@pytest.mark.parametrize("maximal", [True, False])
def test_leaves_cover_every_pattern_once(maximal):
    """Of a random tree, and of the record that is made of its leaves alone."""
    rng = np.random.default_rng(0)
    several = 0
    for _ in range(300):
        units = int(rng.integers(1, 7))
        sparsity = Sparsity.row(units, int(rng.integers(units + 1)))
        if rng.random() < 0.3 and units % 2 == 0:
            sparsity = Sparsity.nm(units, int(rng.integers(3)), 2)
        code, states = random_tree(rng, sparsity, maximal)
        found, split = leaves_of(code, sparsity, maximal)
        assert np.array_equal(found, states[split])
        again = recorded(states)
        assert again is not None
        others, splits = leaves_of(again, sparsity, maximal)
        assert sorted(splits) == list(range(len(states)))
        assert np.array_equal(others, states[splits])
        for mask in patterns(sparsity, maximal):
            fits = ((found == FREE) | ((found == KEPT) == mask)).all(axis=1)
            assert fits.sum() == 1
        several += len(states) > 2
    assert several > 60


def test_leaves_that_are_no_tree_have_no_record():
    states = np.array([[KEPT, PRUNED, FREE], [FREE, KEPT, PRUNED], [PRUNED, FREE, KEPT]], dtype=np.int8)
    assert recorded(states) is None
