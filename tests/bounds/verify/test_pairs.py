"""Pairs of inputs in D: the formula, rational arithmetic, the optimum, and pairs that are none."""

import itertools

import numpy as np
import pytest
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.exact import exact_lower_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.solvers.brute import Brute

from row_cases import KINDS, allowed, below, gram, grid, problems


def with_pairs(problem, below, rng):
    """D with some pairs of one group, as far as H - D stays semidefinite."""
    group = problem.sparsity.group[problem.sparsity.unit]
    pairs, left = [], list(rng.permutation(problem.n))
    while left:
        i = left.pop()
        partner = next((j for j in left if group[j] == group[i]), None)
        if partner is not None and rng.random() < 0.8:
            left.remove(partner)
            pairs.append((i, partner))
    pairs = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    d = below.d * rng.uniform(0.3, 1)
    across = rng.uniform(-0.95, 0.95, len(pairs)) * np.sqrt(d[pairs]).prod(axis=1)
    return Below(d / 2, (), pairs, across / 2)  # |u'Eu| <= u'diag(d)u, so that half of both is below diag(d)


def least_by_pairs(problem, below, g):
    """Least u'Du + 2 g'u over patterns that keep a number of inputs of each pair, the numbers relaxed per pair."""
    w, d, n = problem.weight, np.diag(below.d), problem.n
    d[below.pairs[:, 0], below.pairs[:, 1]] = d[below.pairs[:, 1], below.pairs[:, 0]] = below.across
    single = np.setdiff1d(np.arange(n), below.pairs)
    total, increments = 0.0, [[] for _ in problem.sparsity.keep]
    for inputs in [*below.pairs.tolist(), *([i] for i in single.tolist())]:
        least = [np.inf] * (len(inputs) + 1)
        for mask in itertools.product([False, True], repeat=len(inputs)):
            kept = np.array([i for i, keep in zip(inputs, mask, strict=True) if keep], dtype=int)
            u = np.zeros(n)
            u[inputs] = -w[inputs]
            u[kept] = 0
            u[kept] = -np.linalg.solve(d[np.ix_(kept, kept)], g[kept] + d[kept] @ u)
            least[sum(mask)] = min(least[sum(mask)], u @ d @ u + 2 * g[inputs] @ u[inputs])
        total += least[0]
        saved = least[0] - np.array(least)
        first = max(saved[1], saved[-1] / 2)
        group = problem.sparsity.group[problem.sparsity.unit[inputs[0]]]
        increments[group] += [first, saved[-1] - first][: len(inputs)]
    return total - sum(
        sum(sorted(mine)[::-1][:keep]) for mine, keep in zip(increments, problem.sparsity.keep, strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind):
    """Below the optimum, the value of the formula, and rational arithmetic in between."""
    rng = np.random.default_rng(KINDS.index(kind))
    found = 0
    for _ in range(8):
        for problem in problems(rng, 6, kind):
            if not problem.free_weights or problem.sparsity.units < problem.n:
                continue
            best, h = Brute().solve(problem), problem.hessian
            paired = with_pairs(problem, below(problem), rng)
            for v in (best.x - problem.weight, rng.standard_normal(problem.n)):
                proof = Split(paired, v)
                try:
                    strict, safe = lower_bound(problem, proof, 1.0), lower_bound(problem, proof)
                except NotProven:
                    continue  # a d of rounding size
                exact = exact_lower_bound(problem, proof)
                assert safe <= strict <= exact <= best.upper + allowed(problem)
                d = np.diag(paired.d)
                d[paired.pairs[:, 0], paired.pairs[:, 1]] = paired.across
                d[paired.pairs[:, 1], paired.pairs[:, 0]] = paired.across
                mv = (h - d) @ v
                value = least_by_pairs(problem, paired, mv) - v @ mv
                size = problem.reference + abs(exact) + np.abs(v) @ np.abs(h) @ np.abs(v)
                assert strict <= value + 1e-9 * size
                if kind in ("regular", "dead", "huge", "tiny"):
                    assert safe >= value - 1e-9 * size
                found += 1
    assert found > (3 if kind in ("singular", "duplicated") else 20)  # there D is next to nothing


def test_pairs_that_are_none():
    rng = np.random.default_rng(3)
    h, w = gram(rng, 4, "regular"), rng.standard_normal(4)
    d, v = np.full(4, 0.1 * np.linalg.eigvalsh(h.matrix)[0]), np.zeros(4)
    row = Problem(w, h, None, Sparsity.row(4, 2))
    pair = [[0, 1]]

    def split(pairs, across):
        return Split(Below(d, (), pairs, across), v)

    assert lower_bound(row, split(pair, [0.5 * d[0]])) <= Brute().solve(row).upper
    other = Sparsity.nm(4, 1, 2)
    for problem, proof, words in (
        (row, split(pair, [d[0]]), "minus infinity"),  # not definite
        (row, split([[0, 0]], [0.0]), "overlap"),
        (row, split([[0, 1], [1, 2]], [0.0, 0.0]), "overlap"),
        (row, split([[0, 4]], [0.0]), "not of this row"),
        (row, split(pair, [0.0, 0.0]), "do not fit"),
        (row, split(pair, [np.inf]), "do not fit"),
        (Problem(w, h, None, other), split([[0, 2]], [0.0]), "two groups"),
        (Problem(w, h, None, Sparsity.blocks(4, 2, 1)), split(pair, [0.0]), "pattern block"),
        (Problem(w, h, None, Sparsity.row(4, 2, update=False)), split(pair, [0.0]), "fixed weights"),
        (Problem(w, h, grid(rng, 4)), split(pair, [0.0]), "about quantization"),
    ):
        for bound in (lower_bound, exact_lower_bound):
            with pytest.raises(NotProven, match=words):
                bound(problem, proof)
    for bound in (lower_bound, exact_lower_bound):
        with pytest.raises(NotProven, match="has fixed"):
            bound(row, Tree([0, -1, -1], (split(pair, [0.0]),)))
