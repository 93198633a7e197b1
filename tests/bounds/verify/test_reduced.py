"""Proofs in a reduced basis: against the optimum, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Basis, Enumeration, Order, Reduced
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.reference import NotEstablished, reference_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.solvers.bnb.lattice import reduced
from pvq.solvers.brute import Brute


def ill_conditioned(rng, n, levels=4):
    """Nearly one direction, far from axes; steps of one or two sizes."""
    a = rng.standard_normal((n + 3, n)) * 10.0 ** rng.uniform(-4, -0.5)
    a[0] += rng.standard_normal(n) * 3
    groups = int(rng.integers(1, 3))
    grid = Grid(
        np.arange(-levels // 2, levels // 2) * rng.uniform(0.3, 1, (groups, 1)), rng.integers(0, groups, n)
    )
    return Problem(rng.standard_normal(n) * rng.choice([0.5, 2.0]), Gram.from_array(a.T @ a / n), grid)


def basis_of(problem):
    """The basis that a search of ours takes."""
    levels = problem.grid.levels
    step = ((levels[:, -1] - levels[:, 0]) / (levels.shape[1] - 1))[problem.grid.group]
    lattice = reduced(problem.hessian, step / step.max())
    return None if lattice is None else lattice.for_proofs


def test_what_is_proven_is_the_optimum_and_no_more():
    rng = np.random.default_rng(0)
    proven = moved = 0
    for _ in range(60):
        problem = ill_conditioned(rng, int(rng.integers(2, 6)))
        basis, optimum = basis_of(problem), Brute().solve(problem).upper
        if basis is None or not optimum > 0:
            continue
        try:
            bound = lower_bound(problem, Reduced(basis, 2 * optimum))
        except NotProven:
            continue  # float64 cannot tell its levels apart
        assert (1 - 1e-5) * optimum <= bound <= optimum * (1 + 1e-12)
        assert bound <= float(reference_bound(problem, Reduced(basis, 2 * optimum)))
        assert lower_bound(problem, Reduced(basis, 0.5 * optimum)) <= 0.5 * optimum
        proven += 1
        moved += (np.abs(basis.matrix).sum(axis=1) > 1).any()
    assert proven > 40
    assert moved > 20  # bases that are no permutation


@pytest.fixture
def proof():
    problem = ill_conditioned(np.random.default_rng(3), 5)
    return problem, Reduced(basis_of(problem), Brute().solve(problem).upper)


def refused(problem, proof, first, second=None):
    with pytest.raises(NotProven, match=first):
        lower_bound(problem, proof)
    if second is not None:
        with pytest.raises(NotEstablished, match=second):
            reference_bound(problem, proof)


def test_every_entry_of_the_basis_counts(proof):
    problem, true = proof
    assert lower_bound(problem, true) > 0
    for name in ("matrix", "inverse"):
        for at in range(25):
            entries = getattr(true.basis, name).copy()
            entries.flat[at] += 1
            false = replace(true, basis=replace(true.basis, **{name: entries}))
            refused(problem, false, "belong together", "belong together")


def test_what_is_no_basis_is_refused(proof):
    problem, true = proof
    basis, n = true.basis, problem.n
    other = Basis(np.eye(n - 1), np.eye(n - 1), np.zeros((n, n - 1)))
    refused(problem, Reduced(other, 1.0), "not one of this row", "not one of this row")
    large = np.eye(n, dtype=np.int64)
    large[0, 1] = 2**21
    inverse = 2 * np.eye(n, dtype=np.int64) - large
    refused(problem, Reduced(Basis(large, inverse, basis.diagonal), 1.0), "numbers above")
    for threshold in (0.0, -1.0, np.inf):
        refused(problem, Reduced(basis, threshold), "threshold", "threshold")
    wild = np.array([[1.0, 0.0], [0.0, 1.0]])
    flat = Problem(np.ones(2), Gram.from_array(wild), Grid(np.array([[-1.0, 0.0, 1.1]]), np.zeros(2, np.int64)))
    refused(flat, Reduced(Basis(wild, wild, np.zeros((3, 2))), 1.0), "equal steps")
    with limited(None, nodes=2):
        refused(problem, true, "within 2 nodes")


def test_diagonals_that_are_too_large_are_not_used(proof):
    problem, true = proof
    bound = lower_bound(problem, true)
    wrong = replace(true.basis, diagonal=np.full((problem.n + 1, problem.n), 1e6))
    assert lower_bound(problem, replace(true, basis=wrong)) == pytest.approx(bound, rel=1e-9)


def test_the_same_as_an_enumeration():
    """In the basis of the inputs themselves."""
    rng = np.random.default_rng(5)
    for _ in range(10):
        a = rng.standard_normal((9, 4))
        grid = Grid(np.arange(-2.0, 2.0)[None, :] * 0.6, np.zeros(4, np.int64))
        problem = Problem(rng.standard_normal(4), Gram.from_array(a.T @ a), grid)
        n, optimum = problem.n, Brute().solve(problem).upper
        one, nothing = np.eye(n, dtype=np.int64), np.zeros((n + 1, n))
        found = lower_bound(problem, Reduced(Basis(one, one, nothing), 2 * optimum))
        plain = lower_bound(problem, Enumeration(Order(np.arange(n), nothing), 2 * optimum))
        assert found == pytest.approx(plain, rel=1e-6)
