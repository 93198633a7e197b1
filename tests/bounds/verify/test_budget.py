"""Limits of a verification: said when they are reached, and no other answer changes with them."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Enumeration, Order, Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import NotProven, lower_bound, verify_certificate
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.exact import exact_lower_bound
from pvq.bounds.verify.reference import NotEstablished, reference_bound
from pvq.bounds.verify.tree import MAX_LEAVES

from certificate_cases import EXAMPLES


def test_no_time_establishes_nothing():
    for _, _, weight, gram, certificate in EXAMPLES:
        with limited(0.0), pytest.raises(NotProven, match="not established within 0 s"):
            verify_certificate(certificate, weight, gram, certificate.sha256)


def test_enough_time_changes_nothing():
    for _, _, weight, gram, certificate in EXAMPLES[::5]:
        free = verify_certificate(certificate, weight, gram, certificate.sha256)
        with limited(3600.0):
            assert verify_certificate(certificate, weight, gram, certificate.sha256).rows == free.rows


def test_nodes_end_a_search():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20, 8))
    grid = Grid(np.array([[-1.0, -0.5, 0.0, 0.5, 1.0]]), np.zeros(8, np.int64))
    problem = Problem(rng.standard_normal(8), Gram.from_array(a.T @ a / 20), grid)
    proof = Enumeration(Order(np.arange(8), np.zeros((9, 8))), 0.1 * problem.reference)
    for check in (lower_bound, exact_lower_bound):
        with limited(None, 10), pytest.raises(NotProven, match="cannot be repeated"):
            check(problem, proof)
        assert check(problem, proof) > 0


def test_a_search_without_end_is_stopped_and_shows_nothing():
    """Nothing is cut before half of 40 inputs are decided: the compiled search looks at the bell."""
    n = 40
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(n, np.int64))
    problem = Problem(np.full(n, 0.4), Gram.from_array(np.eye(n)), grid)
    proof = Enumeration(Order(np.arange(n), np.zeros((n + 1, n))), 6.3)
    for check in (lower_bound, exact_lower_bound):
        with limited(0.5, 10**15), pytest.raises(NotProven, match=r"not established within 0.5 s"):
            check(problem, proof)


def test_a_tree_is_not_walked_to_its_end():
    problem = Problem(np.ones(20), Gram.from_array(np.eye(20)), None, Sparsity.row(20, 10))
    split = Split(Below(np.zeros(20)), np.zeros(20))
    with limited(0.0), pytest.raises(NotProven, match="not established within 0 s"):
        lower_bound(problem, Tree(np.full(2**10, -1), (split,)))
    with pytest.raises(NotProven, match="not established: a tree of 16385 leaves"):
        lower_bound(problem, Tree(np.full(MAX_LEAVES + 1, -1), (split,)))
    with pytest.raises(NotEstablished, match="not established: a tree has at most 16384 leaves"):
        reference_bound(problem, Tree(np.full(MAX_LEAVES + 1, -1), (split,)))


def test_splits_that_no_leaf_uses_cost_nothing():
    problem = Problem(np.ones(3), Gram.from_array(np.eye(3)), None, Sparsity.row(3, 1))
    used = Split(Below(np.full(3, 0.5)), np.zeros(3))
    other = Split(Below(np.full(9, 0.5)), np.zeros(3))  # of another size, which nobody notices
    assert lower_bound(problem, Tree([-1], (used, other))) == lower_bound(problem, Tree([-1], (used,)))
