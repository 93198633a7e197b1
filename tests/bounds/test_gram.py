import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import Gram


def test_regular_matrix_is_kept_as_it_is():
    a = np.random.default_rng(0).standard_normal((30, 6))
    gram = Gram.from_array(a.T @ a / 30)
    assert gram.shift == 0
    assert gram.rank == 6
    assert np.array_equal(gram.matrix, gram.matrix.T)


def test_rank_deficient_matrix_is_shifted_by_rounding_only():
    a = np.random.default_rng(1).standard_normal((3, 6))
    gram = Gram.from_array(a.T @ a / 3)
    assert gram.rank == 3
    assert 0 < gram.shift < 1e-13 * np.linalg.eigvalsh(gram.matrix)[-1] * 6
    np.linalg.cholesky(gram.matrix)


def test_dead_inputs_stay_exactly_dead_when_the_rest_is_shifted():
    a = np.random.default_rng(2).standard_normal((2, 6))
    a[:, 3] = 0
    gram = Gram.from_array(a.T @ a)
    assert gram.shift > 0
    assert not gram.matrix[3].any()
    assert gram.live.tolist() == [True, True, True, False, True, True]


def test_zero_matrix_is_a_layer_without_error():
    gram = Gram.from_array(np.zeros((3, 3)))
    assert gram.rank == 0
    assert gram.error(np.ones(3)) == 0


def test_indefinite_matrix_names_its_eigenvalue():
    with pytest.raises(ProblemError, match=r"smallest eigenvalue is -2"):
        Gram.from_array(np.diag([1.0, -2.0, 3.0]))


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.full((2, 2), np.nan), np.zeros((0, 0))])
def test_malformed_matrices(bad):
    with pytest.raises(ProblemError):
        Gram.from_array(bad)


def test_submatrix_is_shared_and_memo_computes_once():
    gram = Gram.from_array(np.diag([1.0, 2.0, 3.0]))
    assert gram.take(np.array([0, 2])) is gram.take(np.array([0, 2]))
    calls = []
    for _ in range(2):
        gram.memo(len, lambda: calls.append(1))
    assert len(calls) == 1


def test_a_memo_computes_once_whichever_threads_ask():
    """A key may ask for another while others wait for both."""
    gram, calls, gate = Gram.from_array(np.eye(2)), [], threading.Barrier(4)

    def inner():
        calls.append("inner")
        return 2

    def outer():
        calls.append("outer")
        time.sleep(0.05)  # long enough for the others to arrive
        return gram.memo(min, inner) + 1

    def ask(i):
        gate.wait()
        return gram.memo(max, outer) if i % 2 else gram.memo(min, inner)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [2, 3, 2, 3]
    assert sorted(calls) == ["inner", "outer"]


def test_a_pickled_matrix_is_the_same_and_forgets_its_memo():
    gram = Gram.from_array(np.diag([1.0, 0.0, 3.0]))
    gram.memo(len, lambda: threading.Lock())
    copy = pickle.loads(pickle.dumps(gram))
    assert np.array_equal(copy.matrix, gram.matrix)
    assert (copy.shift, copy.rank) == (gram.shift, gram.rank)
    assert not copy.matrix.flags.writeable
    assert copy.memo(len, lambda: 1) == 1


@pytest.mark.parametrize("times", [-1e4, -1.0, 0.0, 0.5, 2.0, 30.0, 1e3, 1e6])
def test_long_matrices_are_shifted_by_the_rule_of_short_ones(times):
    """Most long matrices are clearly positive, and their eigenvalues are not asked for."""
    n = 300
    q, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((n, n)))
    values = np.linspace(0.5, 1.0, n)
    values[0] = times * n * np.finfo(np.float64).eps
    matrix = q * values @ q.T
    matrix = (matrix + matrix.T) / 2
    smallest, largest = np.linalg.eigvalsh(matrix)[[0, -1]]
    rounding = n * np.finfo(np.float64).eps * largest
    gram = Gram.from_array(matrix)
    assert gram.shift == (rounding - smallest if smallest < rounding else 0.0)
    assert gram.rank == n - (smallest <= rounding)
    assert Gram.from_array(matrix, gram.shift).shift == gram.shift
