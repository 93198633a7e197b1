"""Trees that prove optimal masks: verified, and never above the optimum by brute force."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bnb.proof_tree import proof_of_optimum
from pvq.solvers.brute import Brute
from pvq.solvers.result import BoundKind, Status

KINDS = ("regular", "singular", "duplicated", "dead", "ill-conditioned")


def gram(rng, n, kind):
    a = rng.standard_normal((n - 2 if kind == "singular" else 30, n))
    if kind == "duplicated":
        a[:, 0] = a[:, -1]
    if kind == "dead":
        a[:, rng.integers(n)] = 0
    if kind == "ill-conditioned":
        a *= 10.0 ** rng.uniform(-4, 0, n)
    return Gram.from_array(a.T @ a / len(a))


@pytest.mark.parametrize("kind", KINDS)
def test_optima_are_proven(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    kinds = []
    for _ in range(8):
        n = 8
        w, h = rng.standard_normal(n), gram(rng, n, kind)
        for pattern in (
            Sparsity.row(n, int(rng.integers(1, n))),
            Sparsity.nm(n, 1, 4),
            Sparsity.nm(n, 2, 4),
            Sparsity.blocks(n, 2, int(rng.integers(1, 4))),
        ):
            problem = Problem(w, h, None, pattern)
            found = BranchAndBound().solve(problem, Options(time_limit=None, prove=True))
            best = Brute().solve(problem).upper
            assert found.proven <= best * (1 + 1e-12) + 1e-12 * problem.reference
            if found.bound_kind is BoundKind.RIGOROUS:
                assert found.status is Status.OPTIMAL
                assert found.proven == found.lower
                if found.lower > 0:  # 0 needs no proof
                    assert lower_bound(presolve(problem).problem, found.proof) >= found.lower
            kinds.append(found.bound_kind)
    if kind in ("regular", "dead"):
        assert kinds.count(BoundKind.RIGOROUS) == len(kinds)


def test_more_than_the_optimum_is_not_proven():
    rng = np.random.default_rng(0)
    for _ in range(20):
        problem = Problem(rng.standard_normal(8), gram(rng, 8, "regular"), None, Sparsity.row(8, 3))
        best = Brute().solve(problem).upper
        assert proof_of_optimum(problem, best, best * (1 + 1e-6)) is None
        tree = proof_of_optimum(problem, best, 0.9 * best)
        assert 0.89 * best <= lower_bound(problem, tree) <= best


def test_a_leaf_less_is_not_a_proof():
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal(10), gram(rng, 10, "regular"), None, Sparsity.row(10, 4))
    best = Brute().solve(problem).upper
    tree = proof_of_optimum(problem, best, 0.999 * best)
    assert tree.leaves > 2
    for leaf in np.flatnonzero(tree.code < 0):
        with pytest.raises(NotProven, match=r"ends before|twice"):
            lower_bound(problem, Tree(np.delete(tree.code, leaf), tree.splits))
