"""Pruned rows of a layer at once: below the optimum by enumeration, proven, for budgets of every kind."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below, Cover, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import NotProven, lower_bound
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound.batch import pruned
from pvq.solvers.bound.batch.patterns import fill, groups_of, largest_sums
from pvq.solvers.brute import Brute

OPTIONS = Options(time_limit=None)
N = 8
PATTERNS = {
    "row": Sparsity.row(N, 3),
    "one": Sparsity.row(N, 1),
    "all but one": Sparsity.row(N, N - 1),
    "n:m": Sparsity.nm(N, 2, 4),
    "none of two": Sparsity.nm(N, 0, 2),
}


def rows(rng, pattern, kind="regular", count=5):
    a = rng.standard_normal((40, N)) + 0.5 * rng.standard_normal((40, 1))
    if kind == "ill-conditioned":
        a *= 10.0 ** rng.uniform(-3, 0, N)
    if kind == "tied":
        a = np.repeat(a[:, :1], N, axis=1) + 0.1 * a
    h = Gram.from_array(a.T @ a / 40)
    return [Problem(rng.standard_t(3, N), h, None, PATTERNS[pattern]) for _ in range(count)]


@pytest.mark.parametrize("kind", ["regular", "ill-conditioned", "tied"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_bounds_hold_and_are_proven(pattern, kind):
    rng = np.random.default_rng(sorted(PATTERNS).index(pattern))
    ratios, uppers = [], []
    for _ in range(3):
        problems = rows(rng, pattern, kind)
        layer = pruned.pruned_layer(problems)
        found = pruned.bound_rows(problems, layer, OPTIONS, [None] * len(problems))
        for problem, outcome in zip(problems, found, strict=True):
            best = Brute().solve(problem).upper
            assert problem.is_feasible(outcome.x)
            assert outcome.lower <= best * (1 + 1e-9) + 1e-12 * problem.reference
            uppers.append(problem.error(outcome.x) / best)
            try:
                proven = lower_bound(problem, outcome.proof)
            except NotProven:
                assert kind != "regular"
                continue
            # the claim leaves out more rounding than the proof where H is next to singular
            assert proven >= outcome.lower * (1 - 1e-5) - 1e-7 * problem.reference
            assert proven <= best * (1 + 1e-12)
            ratios.append(proven / best)
            # the same v with a D that is larger by a tenth proves nothing, or less than the optimum
            large, proof = Below(1.1 * layer.at.d), outcome.proof
            if isinstance(proof, Cover):
                splits = tuple(Split(large, split.v) for split in proof.splits)
                false_proof = Cover(proof.p, proof.floor, proof.edges, splits)
            else:
                false_proof = Split(large, proof.v)
            try:
                false = lower_bound(problem, false_proof)
            except NotProven:
                continue
            assert false <= best * (1 + 1e-12)
    assert np.min(uppers) > 1 - 1e-9
    if kind == "regular":
        assert np.mean(ratios) > 0.6
        assert np.mean(uppers) < 1.1


def test_groups_without_their_dead_inputs():
    """What is left of an N:M pattern has groups of several sizes, some of them whole."""
    rng = np.random.default_rng(1)
    a = rng.standard_normal((40, N))
    a[:, [1, 4, 5, 6]] = 0
    h = Gram.from_array(a.T @ a / 40)
    whole = [Problem(rng.standard_normal(N), h, None, Sparsity.nm(N, 2, 4)) for _ in range(4)]
    problems = [presolve(problem).problem for problem in whole]
    groups = groups_of(problems[0].sparsity)
    assert groups.start.tolist() == [0, 3, 4]
    assert groups.keep.tolist() == [2, 1]
    layer = pruned.pruned_layer(problems)
    for problem, found in zip(problems, pruned.bound_rows(problems, layer, OPTIONS, [None] * 4), strict=True):
        best = Brute().solve(problem).upper
        assert lower_bound(problem, found.proof) <= best * (1 + 1e-12)
        assert problem.error(found.x) >= best * (1 - 1e-9)


def test_a_better_start_is_kept_and_a_worse_one_is_not():
    problems = rows(np.random.default_rng(2), "row", count=8)
    layer = pruned.pruned_layer(problems)
    best = [Brute().solve(problem).x for problem in problems]
    for problem, x, found in zip(problems, best, pruned.bound_rows(problems, layer, OPTIONS, best), strict=True):
        assert problem.error(found.x) <= problem.error(x) * (1 + 1e-12)
    nothing = [np.zeros(N)] * 8
    for problem, found in zip(problems, pruned.bound_rows(problems, layer, OPTIONS, nothing), strict=True):
        assert problem.error(found.x) < problem.reference


def test_swaps_of_many_never_lose():
    """From random scores, against the start and the optimum."""
    rng = np.random.default_rng(3)
    gained = 0
    for pattern in ("row", "n:m"):
        problems = rows(rng, pattern, count=20)
        layer = pruned.pruned_layer(problems)
        for problem in problems:
            score = rng.random(N)
            before = optimal_on_support(problem, problem.pattern.best_mask(score))
            after = pruned.swapped(problem, layer, problem.hessian @ problem.weight, score, Clock(OPTIONS))
            assert problem.is_feasible(after)
            assert problem.error(after) <= problem.error(before) * (1 + 1e-9)
            gained += problem.error(after) < 0.99 * problem.error(before)
    assert gained > 20


def test_singular_matrices_are_left_to_others():
    a = np.random.default_rng(0).standard_normal((3, N))
    h = Gram(a.T @ a, rank=3)
    assert pruned.pruned_layer([Problem(np.ones(N), h, None, PATTERNS["row"])]) is None


@pytest.mark.parametrize("keep", [0, 1, 3, 7, 8])
def test_water_filling(keep):
    """0 <= z <= 1 with the wanted sum, and the same level of water wherever z is strictly between."""
    rng = np.random.default_rng(keep)
    for size in (
        rng.random(N),
        np.ones(N),
        np.r_[rng.random(N - 2), 0.0, 0.0],
        np.zeros(N),
        1e-150 * rng.random(N),
    ):
        z = fill(size, float(keep), 1 / 3)
        assert (z >= 0).all()
        assert (z <= 1).all()
        if size.any() and keep <= (size > 0).sum():
            assert z.sum() == pytest.approx(keep, rel=1e-6)
        between = (z > 1e-9) & (z < 1 - 1e-9) & (size > 0)
        level = (z[between] + 1 / 3) / size[between]
        assert level.max(initial=0.0) <= level.min(initial=np.inf) * (1 + 1e-6)
        assert (z[np.argsort(size)] == np.sort(z)).all()


def test_largest_sums():
    rng = np.random.default_rng(0)
    for pattern in PATTERNS.values():
        savings = rng.random((6, N))
        groups = groups_of(pattern)
        expected = [
            sum(np.sort(row[pattern.group == g])[::-1][: pattern.keep[g]].sum() for g in range(len(pattern.keep)))
            for row in savings
        ]
        assert np.allclose(largest_sums(savings, groups), expected, rtol=1e-14)
