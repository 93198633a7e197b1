"""The bound that the shift of a singular H gives: never above the optimum, and accepted by the verifier."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.solvers.base import Options
from pvq.solvers.bound import Bound
from pvq.solvers.brute import Brute
from pvq.solvers.flat import flat_proof
from pvq.solvers.result import BoundKind


def row(n, rank, seed, **constraints):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rank, n))
    return Problem(rng.standard_normal(n), Gram.from_array(a.T @ a / rank), **constraints)


def grid(n):
    return Grid(0.5 * np.arange(-2, 2)[None], np.zeros(n, int))


@pytest.mark.parametrize("seed", range(20))
def test_it_is_below_the_optimum(seed):
    """Gram matrices of a few inputs, whose shift is a few units in the last place."""
    n = 4 + seed % 3
    for constraints in (
        {"grid": grid(n)},
        {"sparsity": Sparsity.row(n, 2)},
        {"sparsity": Sparsity.row(n, 2, update=False)},
        {"grid": grid(n), "sparsity": Sparsity.row(n, 2)},
    ):
        problem = row(n, 2, seed, **constraints)
        proof = flat_proof(problem)
        if proof is None:  # as often where the shift is no more than the rounding of a factorisation
            continue
        assert 0 < lower_bound(problem, proof) <= problem.certified(Brute().solve(problem).x).upper


def test_it_is_the_distance():
    """At 300 inputs of rank 20 the shift is well above the rounding of a factorisation."""
    n, k = 300, 100
    problem = row(n, 20, 0, sparsity=Sparsity.row(n, k))
    proof = flat_proof(problem)
    smallest = np.sort(problem.weight**2)[: n - k].sum()
    bound, d = lower_bound(problem, proof), proof.below.d[0]
    assert 0 < 0.9 * d * smallest < bound <= d * smallest
    least = n * np.finfo(float).eps * np.linalg.eigvalsh(problem.hessian)[-1]
    assert d < 0.81 * least
    assert flat_proof(replace(problem, weight=problem.weight + 1)).below is proof.below  # one for all rows


def test_pruning_to_the_rank_has_both_ends():
    """It was 0 below: the relaxation's bound is smaller than the rounding of w'Hw."""
    n = 300
    problem = row(n, 20, 1, sparsity=Sparsity.row(n, 150))
    result = Bound().solve(problem, Options(time_limit=None))
    assert result.bound_kind is BoundKind.RIGOROUS
    assert result.proof is not None
    assert 0.2 * result.upper < result.lower <= result.upper
    assert lower_bound(problem, result.proof) == pytest.approx(result.lower, rel=1e-12)


def test_more_than_the_shift_is_refused():
    n = 300
    problem = row(n, 20, 2, grid=grid(n))
    d, nothing = flat_proof(problem).below.d, np.zeros(n)
    true = lower_bound(problem, flat_proof(problem))
    assert true > 0
    for times in (4, 100, 1e6):  # at least twice the least eigenvalue
        try:
            assert lower_bound(problem, Split(Below(times * d), nothing)) <= 0
        except NotProven:
            continue


def test_no_shift_no_proof():
    assert flat_proof(row(6, 12, 0, grid=grid(6))) is None


def test_the_distance_grows_as_less_is_kept():
    n = 300
    ends = [
        lower_bound(problem, flat_proof(problem))
        for problem in (row(n, 20, 3, sparsity=Sparsity.row(n, k)) for k in (0, 50, 150, 299, 300))
    ]
    assert all(more > less for more, less in pairwise(ends[:-1]))
    assert ends[-1] <= 0


@pytest.mark.parametrize("power", [-900, 900])
def test_entries_whose_squares_leave_the_range_of_float64(power):
    """Their norm was 0, and the division by it ended the row."""
    problem = row(300, 20, 5, grid=grid(300))
    gram = problem.gram
    other = Gram(np.ldexp(gram.matrix, power), float(np.ldexp(gram.shift, power)), gram.rank)
    first, second = (flat_proof(replace(problem, gram=g)).below.d for g in (gram, other))
    assert first.min() > 0
    assert np.array_equal(np.ldexp(first, power), second)
