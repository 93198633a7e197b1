"""Proofs that a matrix is positive semidefinite, in floating point and in rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.enumeration import proven_diagonals
from pvq.bounds.verify.exact import exact_lower_bound, is_psd
from pvq.bounds.verify.psd import defect, leading_psd
from pvq.bounds.verify.refusal import NotProven
from pvq.bounds.verify.row import lower_bound
from pvq.solvers.brute import Brute

from row_cases import KINDS, gram, grid


@pytest.mark.parametrize("kind", KINDS)
def test_defect_makes_any_matrix_semidefinite(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(20):
        h = gram(rng, int(rng.integers(1, 9)), kind).matrix
        for a in (h, h - np.diag(rng.uniform(0, 1e-3, len(h)) * h.diagonal()), -h, h[::-1, ::-1] - h):
            eps = defect(a)
            if np.isfinite(eps).all():
                assert (eps >= 0).all()
                assert is_psd(
                    [
                        [
                            Fraction(float(a[i, j])) + (Fraction(float(eps[i])) if i == j else 0)
                            for j in range(len(a))
                        ]
                        for i in range(len(a))
                    ]
                )
        assert not defect(h).any()  # shifted where it was singular, a Gram matrix is proven as it stands
        live = h[np.ix_(h.diagonal() > 0, h.diagonal() > 0)]
        assert not len(live) or not np.isfinite(defect(live - np.diag(1.1 * live.diagonal()))).all()


def test_rational_semidefiniteness():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, rank = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        a = rng.integers(-3, 4, (rank, n))
        h = a.T @ a
        entries = [[Fraction(int(value)) for value in row] for row in h]
        assert is_psd(entries)
        entries[-1][-1] -= Fraction(1, 10**30)
        singular = np.linalg.matrix_rank(h) < n and np.linalg.matrix_rank(h[:-1, :-1]) == np.linalg.matrix_rank(h)
        assert is_psd(entries) is not singular


def test_matrices_that_are_indefinite_by_rounding():
    """Indefinite by 1e-12 of its size: what is missing is found, and the bound stays below the optimum."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = 6
        h = gram(rng, n, "regular")
        problem = Problem(rng.standard_normal(n), h, grid(rng, n))
        value, vector = np.linalg.eigh(h.matrix)
        d = np.full(n, value[0] + 1e-12 * value[-1])
        proof = Split(Below(d), vector[:, 0] * 1e3)
        found = lower_bound(problem, proof)
        assert found <= exact_lower_bound(problem, proof) <= Brute().solve(problem).upper
        assert not is_psd(
            [[Fraction(float(h.matrix[i, j] - (i == j) * d[i])) for j in range(n)] for i in range(n)]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_leading_blocks_with_something_taken_off(kind):
    """What is said to be proven is, in rational arithmetic; a diagonal that is a little too large is not."""
    rng = np.random.default_rng(KINDS.index(kind))
    said = 0
    for _ in range(60):
        h = gram(rng, int(rng.integers(2, 8)), kind).matrix
        n, d = len(h), np.zeros((len(h) + 1, len(h)))
        for m in range(1, n + 1):
            least = max(0.0, np.linalg.eigvalsh(h[:m, :m])[0])
            d[m, :m] = least * rng.choice([0.0, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0])
            d[m, rng.integers(m)] += rng.choice([0.0, 0.0, 0.0, 1e-3 * h.max(), np.inf, np.nan])
        proven = leading_psd(h, d)
        assert not proven[0]
        for m in np.flatnonzero(proven):
            said += 1
            block = [[Fraction(float(h[i, j])) for j in range(m)] for i in range(m)]
            for i in range(m):
                block[i][i] -= Fraction(float(d[m, i]))
            assert is_psd(block), (kind, m)
    assert said > 20 or kind == "dead"  # whose zero rows are left to `defect`
    h, n = gram(rng, 6, "regular").matrix, 6
    small = [0.9 * np.linalg.eigvalsh(h[: max(m, 1), : max(m, 1)])[0] * (np.arange(n) < m) for m in range(n + 1)]
    assert leading_psd(h, np.array(small))[1:].all()
    beyond = np.ldexp(h / np.abs(h).max(), 1023) * 1.5  # scales whose square is infinite
    assert not leading_psd(beyond, np.diag(beyond) * 1.01 * np.tri(n + 1, n, -1)).any()
    for scale in (2.0**-900, 2.0**900):
        assert leading_psd(scale * h, scale * np.array(small))[1:].all()
    with limited(0.0):
        assert not leading_psd(h, np.array(small))[1:].any()  # what the time has cut off is not proven


def test_diagonals_that_the_time_has_cut_off_are_no_proof():
    h = np.eye(5) + 0.5
    diagonals = 0.25 * np.tri(6, 5, -1)
    assert proven_diagonals(h[None], diagonals[None]).any()
    with limited(0.0), pytest.raises(NotProven, match="not established within 0 s"):
        proven_diagonals(h[None], diagonals[None])
