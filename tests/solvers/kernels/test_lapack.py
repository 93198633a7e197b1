"""Factors and solutions by address against numpy; other threads go on meanwhile."""

import threading
import time

import numpy as np
import pytest
from pvq.solvers.kernels import lapack


def positive(n, seed=0):
    a = np.random.default_rng(seed).standard_normal((n, n))
    return a @ a.T + n * np.eye(n)


@pytest.mark.parametrize("n", [1, 2, 7, 130])
def test_against_numpy(n):
    h, b = positive(n), np.random.default_rng(1).standard_normal((3, n))
    a, x = h.copy(), b.copy()
    assert lapack.factor(a)
    assert np.allclose(np.triu(a).T, np.linalg.cholesky(h))
    lapack.solve(a, x)
    assert np.allclose(x @ h, b)
    assert lapack.invert(a)
    assert np.allclose(np.triu(a), np.triu(np.linalg.inv(h)))


def test_nothing_and_what_has_no_factor():
    empty = np.empty((0, 0))
    assert lapack.factor(empty)
    lapack.solve(empty, np.empty((1, 0)))
    lapack.solve(np.eye(3), np.empty((0, 3)))
    assert not lapack.factor(-np.eye(3))
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert not lapack.factor(indefinite)


@pytest.mark.parametrize(
    "bad", [np.eye(3, dtype=np.float32), np.eye(6)[::2, ::2], np.ones((2, 3)), np.asfortranarray(positive(3))]
)
def test_what_lapack_would_read_wrongly_is_refused(bad):
    with pytest.raises(ValueError, match="contiguous"):
        lapack.factor(bad)
    with pytest.raises(ValueError, match="contiguous"):
        lapack.solve(np.eye(3), np.ones((2, 4)))
    locked = np.eye(3)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="contiguous"):
        lapack.factor(locked)


def test_other_threads_go_on():
    m, turns, ended = positive(1200), [], threading.Event()

    def work():
        for _ in range(5):
            lapack.factor(m.copy())
        ended.set()

    other = threading.Thread(target=work)
    other.start()
    while not ended.is_set():
        turns.append(None)
        time.sleep(1e-4)
    other.join()
    assert len(turns) > 15  # two for each factor would be those between them
