"""Inverses by LAPACK against numpy."""

import numpy as np
import pytest
from pvq.solvers.kernels import blas


def positive(rng, n, condition=10.0):
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    h = (q * np.geomspace(1, condition, n)) @ q.T
    return (h + h.T) / 2


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 130, 300])
def test_inverse(n):
    h = positive(np.random.default_rng(n), n)
    p = blas.inverse_if_positive(h.copy())
    assert np.array_equal(p, p.T)
    assert np.allclose(p @ h, np.eye(n), atol=1e-10)


def test_what_has_no_inverse():
    h = positive(np.random.default_rng(0), 20)
    h[3] = h[:, 3] = 0.0
    assert blas.inverse_if_positive(h.copy()) is None
    assert not blas.is_positive(h.copy())
    assert blas.inverse_if_positive(-np.eye(5)) is None
    assert blas.is_positive(np.eye(5))
