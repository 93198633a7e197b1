"""The diagonal ascent: feasible always, near the largest where that is known, at home with singular matrices."""

import numpy as np
import pytest
from pvq.solvers.kernels.cholesky import cholesky_margin, factor, invert, solve
from pvq.solvers.kernels.diagonal import ascend, inverse_of_difference, largest_diagonal, proves_below
from pvq.solvers.relax.ascent import starting_diagonal


def gram(rng, n, samples=None, decay=0.0):
    x = rng.normal(size=(n, samples or 3 * n)) * np.exp(-decay * np.arange(n))[:, None]
    h = rng.normal(size=(n, n)) @ x if decay else x
    return h @ h.T / h.shape[1]


@pytest.mark.parametrize("n", [1, 2, 5, 8, 33, 70])
def test_cholesky_kernels_agree_with_lapack(n):
    rng = np.random.default_rng(n)
    h = gram(rng, n)
    r = h.copy()
    assert factor(r, n)
    np.testing.assert_allclose(np.triu(r), np.linalg.cholesky(h).T, rtol=1e-10, atol=1e-12)
    p = np.empty((n, n))
    invert(r, n, np.empty((n, n)), p)
    np.testing.assert_allclose(p @ h, np.eye(n), atol=1e-9)
    b = rng.normal(size=n)
    x = b.copy()
    solve(r, n, x)
    np.testing.assert_allclose(h @ x, b, atol=1e-9)


def test_factor_refuses_indefinite_and_nan():
    assert not factor(np.array([[1.0, 2.0], [2.0, 1.0]]), 2)
    assert not factor(np.array([[np.nan]]), 1)


@pytest.mark.parametrize("n", [3, 31, 32, 33, 70])
@pytest.mark.parametrize("least", [0.0, -np.inf])
def test_a_sweep_keeps_the_inverse_and_raises_the_barrier_function(n, least):
    rng = np.random.default_rng(n)
    h = gram(rng, n)
    c = rng.uniform(0.1, 1, n)
    d = np.zeros(n)
    p = np.linalg.inv(h)
    p = np.ascontiguousarray((p + p.T) / 2)
    mu = 0.05
    before = -np.inf
    for _ in range(5):
        ascend(p, d, c, mu, least)
        value = c @ d + mu * np.linalg.slogdet(h - np.diag(d))[1]
        assert value >= before - 1e-9
        before = value
        fresh = np.empty((n, n))
        assert inverse_of_difference(h, d, fresh)
        np.testing.assert_allclose(p, fresh, rtol=1e-6, atol=1e-8 * np.abs(fresh).max())
        assert (d >= least).all()


@pytest.mark.parametrize("seed", range(40))
def test_result_is_feasible_whatever_the_matrix(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    h = gram(rng, n, samples=int(rng.integers(1, 3 * n + 1)), decay=float(rng.choice([0.0, 0.2, 1.0])))
    if n > 3:
        copy = rng.integers(0, n, 2)
        h[copy[0]] = h[copy[1]]
        h[:, copy[0]] = h[:, copy[1]]
        dead = rng.integers(0, n)
        h[dead] = h[:, dead] = 0
    h *= 10.0 ** rng.integers(-8, 8)
    d = largest_diagonal(h, rng.uniform(0, 1, n))
    assert (d >= 0).all()
    slack = 8 * cholesky_margin(n) * h.diagonal()
    eigenvalues = np.linalg.eigvalsh(h - np.diag(d) + np.diag(slack))
    assert eigenvalues[0] >= -1e-14 * n * np.abs(eigenvalues).max(initial=0)


def test_regular_matrices_are_proven_and_solved_to_the_optimum():
    rng = np.random.default_rng(0)
    n = 20
    # H = M + D*, Mq = 0: q'(H - D)q >= 0 means (q^2)'d <= (q^2)'D* for every feasible d
    q = rng.uniform(0.5, 2, n)
    half = rng.normal(size=(n, n - 1))
    half -= np.outer(q, q @ half) / (q @ q)
    best = rng.uniform(0.5, 1.5, n)
    h = half @ half.T + np.diag(best)
    d = largest_diagonal(h, q**2, sweeps=60, accuracy=1e-3)
    assert proves_below(h, d)
    assert 0.99 * (q**2 @ best) <= q**2 @ d <= q**2 @ best


def test_null_directions_get_nothing():
    rng = np.random.default_rng(1)
    h = gram(rng, 10)
    h[3] = h[7]
    h[:, 3] = h[:, 7]
    d = largest_diagonal(h)
    assert d[[3, 7]].max() < 1e-10
    others = np.setdiff1d(np.arange(10), [3, 7])
    assert d[others].min() > 1e-3


def test_warm_start_and_negative_entries():
    rng = np.random.default_rng(2)
    h = gram(rng, 30)
    d = largest_diagonal(h)
    assert largest_diagonal(h, d0=d, sweeps=3).sum() >= 0.99 * d.sum()
    weights = np.where(np.arange(30) < 3, 1.0, 1e-4)
    free = largest_diagonal(h, weights, nonnegative=False, sweeps=30)
    assert proves_below(h, free)
    assert weights @ free >= weights @ largest_diagonal(h, weights, sweeps=30) - 1e-6


def test_a_barrier_lost_to_rounding_leaves_the_diagonal_inside():
    """1 - t P_ii = mu P_ii / c_i rounds to 0: the step is left out instead of dividing by it."""
    p, d = np.diag([4.0, 2.0]), np.zeros(2)
    ascend(p, d, np.array([1.0, 1.0]), 1e-30, 0.0)
    assert np.isfinite(p).all()
    assert (d <= [0.25, 0.5]).all()


def test_an_inverse_that_rounding_has_eaten_is_none():
    """Rank 1 with shares of next to nothing: 1 / (H^-1)_ii would be a division by 0."""
    p = np.empty((2, 2))
    assert not inverse_of_difference(np.diag([1e-320, 1.0]), np.zeros(2), p)
    v = np.array([1.0, 1e-160, 1e-9])
    for h in (np.outer(v, v), np.outer(v, v) + 1e-300 * np.eye(3)):
        d = largest_diagonal(h, np.array([1e-200, 1.0, 1e-300]))
        assert np.isfinite(d).all()
        assert (d >= 0).all()


def test_the_ascent_starts_at_0_where_an_input_has_no_error():
    h = np.zeros((4, 4))
    h[np.ix_([0, 2], [0, 2])] = [[2.0, 1.0], [1.0, 3.0]]
    d = starting_diagonal(h)
    assert d[[1, 3]].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(d[[0, 2]], starting_diagonal(np.array([[2.0, 1.0], [1.0, 3.0]])))
    assert (d[[0, 2]] > 0).all()
    assert starting_diagonal(np.zeros((2, 2))).tolist() == [0.0, 0.0]
