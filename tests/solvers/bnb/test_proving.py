"""The search for masks with its tree: never above the optimum, proven where leaves are enough, numerical else."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import lower_bound
from pvq.solvers.base import Options
from pvq.solvers.bnb.proving import Proving
from pvq.solvers.brute import Brute
from pvq.solvers.result import BoundKind, Reason, Status

LONG = Options(time_limit=1000.0)
"""A limit that nothing here meets."""


def row(seed, n=10, keep=4, update=True):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((2 * n, n)) * np.exp(rng.standard_normal(n) / 2)
    return Problem(
        rng.standard_normal(n), Gram.from_array(a.T @ a / n), None, Sparsity.row(n, keep, update=update)
    )


@pytest.mark.parametrize("leaves", [1, 3, 200])
def test_the_tree_proves_what_it_can(leaves):
    kinds = []
    for seed in range(6):
        problem = row(seed)
        best = Brute().solve(problem).upper
        found = Proving(leaves).solve(problem, LONG)
        assert found.status is Status.OPTIMAL  # of the search
        assert found.lower <= best * (1 + 1e-12)
        assert 0 < found.proven <= best
        assert found.proof.leaves <= leaves + 20
        assert lower_bound(problem, found.proof) >= found.proven
        assert 0 < lower_bound(problem, found.elsewhere) <= best
        kinds.append(found.bound_kind)
    if leaves == 200:
        assert set(kinds) == {BoundKind.RIGOROUS}


def test_a_search_that_is_cut_off_is_rigorous():
    for seed in range(4):
        problem = row(seed, n=14, keep=5)
        best = Brute().solve(problem).upper
        found = Proving(200).solve(problem, replace(LONG, node_limit=4))
        assert found.lower <= best <= found.upper * (1 + 1e-12)
        assert found.proven > 0
        assert found.reason in (Reason.TIME, Reason.NODES, Reason.FINISHED)
        if found.status is not Status.OPTIMAL:
            assert found.proven >= 0.9 * found.lower


def test_what_has_no_tree_is_searched_as_ever():
    problem = row(0, update=False)
    found = Proving(200).solve(problem, LONG)
    assert found.status is Status.OPTIMAL
    assert found.upper == pytest.approx(Brute().solve(problem).upper)
    assert Proving(200).solve(row(0), replace(LONG, time_limit=None)).proof is None
    at_once = Proving(200).solve(row(0), replace(LONG, time_limit=0.0))
    assert at_once.lower <= Brute().solve(row(0)).upper <= at_once.upper * (1 + 1e-12)
