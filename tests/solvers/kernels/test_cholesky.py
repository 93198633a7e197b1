"""Compiled factors and inverses, with every remainder of rows and columns that tiles leave."""

from __future__ import annotations

import numpy as np
import pytest
from pvq.solvers.kernels.cholesky import factor, inverse, solve


def positive(n: int) -> np.ndarray:
    """A well-conditioned (n, n) matrix."""
    a = np.random.default_rng(n).normal(size=(n, 2 * n))
    return a @ a.T


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 15, 16, 17, 31, 50, 100, 133, 402])
def test_the_factor_and_the_inverse_are_those_of_the_matrix(n: int) -> None:
    a = positive(n)
    r = a.copy()
    assert factor(r, n)
    np.testing.assert_allclose(np.triu(r).T @ np.triu(r), a, atol=1e-13 * np.abs(a).max())
    np.testing.assert_allclose(inverse(r) @ a, np.eye(n), atol=1e-12)


@pytest.mark.parametrize("n", range(1, 14))
def test_small_factors_and_solves_at_every_remainder_of_four(n: int) -> None:
    a = positive(n)
    r, b = np.full((n + 2, n + 2), np.nan), np.arange(1.0, n + 1)
    r[:n, :n] = a
    assert factor(r, n)
    np.testing.assert_allclose(np.triu(r[:n, :n]).T @ np.triu(r[:n, :n]), a, rtol=1e-13, atol=1e-13)
    x = b.copy()
    solve(r, n, x)
    np.testing.assert_allclose(a @ x, b, rtol=1e-11)
    for i in range(n):
        worse = a.copy()
        worse[i, i] -= 1.1 / np.linalg.inv(a)[i, i]
        assert not factor(worse, n)


@pytest.mark.parametrize("n", [3, 30, 101])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_an_indefinite_matrix_has_no_factor_wherever_it_shows(n: int, where: float) -> None:
    a = positive(n)
    i = int(where * (n - 1))
    a[i, i] -= 1.1 / np.linalg.inv(a)[i, i]  # the Schur complement of i turns negative
    assert not factor(a, len(a))


def test_nan_is_not_positive() -> None:
    a = positive(27)
    a[-1, -1] = np.nan
    assert not factor(a, len(a))


@pytest.mark.parametrize("n", [1, 4, 7, 12])
def test_a_pivot_of_zero_is_not_positive_and_raises_nothing(n: int) -> None:
    for zero in range(n):
        a = np.eye(n)
        a[zero, zero] = 0.0
        assert not factor(a, n)
