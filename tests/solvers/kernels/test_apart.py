"""Functions apart give what they give when they are called as usual, and leave no reference behind."""

import sys
import time
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit, types
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys
from pvq.solvers.compile_time import compile_seconds
from pvq.solvers.kernels import apart as module
from pvq.solvers.kernels.apart import MATRIX, REAL, TRUTH, VECTOR, WHOLE, apart, inner
from pvq.solvers.kernels.cholesky import factor, solve


class Both(NamedTuple):
    matrix: np.ndarray
    number: float


@apart(types.Tuple((REAL, WHOLE)), MATRIX, types.NamedTuple([MATRIX, REAL], Both), TRUTH)
def two(a, both, add):
    a[0, 0] += both.number if add else 0.0
    return a[0, 0] * both.matrix[1, 1], len(a)


@apart(VECTOR, VECTOR)
def doubled(a):
    return 2.0 * a


@njit
def calls(a, b):
    one = two(a, Both(b, 3.0), True)
    other = two(a, Both(b, 3.0), False)
    return one[0], other[1], doubled(doubled(a[0]))


def test_arguments_and_results_of_every_kind_pass():
    a, b = np.arange(9.0).reshape(3, 3), np.full((2, 2), 5.0)
    value, size, row = calls(a, b)
    assert (value, size, a[0, 0]) == (15.0, 3, 3.0)
    np.testing.assert_array_equal(row, [12.0, 4.0, 8.0])


def test_no_reference_is_left_or_lost():
    a, b = np.ones((3, 3)), np.ones((2, 2))
    calls(a, b)
    counts = sys.getrefcount(a), sys.getrefcount(b)
    _nrt_python.memsys_enable_stats()
    try:
        before = rtsys.get_allocation_stats()
        for _ in range(100):
            calls(a, b)
        after = rtsys.get_allocation_stats()
    finally:
        _nrt_python.memsys_disable_stats()
    assert after.alloc - before.alloc == after.free - before.free > 0
    assert (sys.getrefcount(a), sys.getrefcount(b)) == counts


def test_compiled_and_python_callers_agree():
    @njit
    def solved(r, x):
        return factor(r, len(x)) and solved_by(r, x)

    @njit
    def solved_by(r, x):
        solve(r, len(x), x)
        return True

    h = np.eye(6) + 0.5
    r, x = h.copy(), np.arange(6.0)
    s, y = h.copy(), np.arange(6.0)
    assert solved(r, x)
    assert factor(s, 6)
    solve(s, 6, y)
    assert np.array_equal(x, y)
    np.testing.assert_allclose(h @ x, np.arange(6.0), atol=1e-12)


def test_arrays_of_another_kind_are_refused():
    """By address no type is checked, so compiling must."""

    @njit
    def wrong(a):
        doubled(a)

    for a in (np.ones(4, np.float32), np.ones((2, 2)), np.ones(8)[::2], np.ones(4, np.int64)):
        with pytest.raises(TypingError):
            wrong(a)


@apart(REAL, REAL)
def least_of_positive(x):
    if x <= 0.0:
        raise ValueError("not positive")
    return 1.0 / x


def test_an_exception_reaches_the_caller():
    @njit
    def caller(a):
        total = 0.0
        for x in a:
            total += least_of_positive(x)
        return total

    assert caller(np.array([1.0, 2.0])) == 1.5
    with pytest.raises(ValueError, match="not positive"):
        caller(np.array([1.0, -2.0]))
    assert least_of_positive(4.0) == 0.25


@inner()
def half(x):
    return x / 2.0


def test_a_small_function_is_compiled_with_its_callers_and_runs_in_python():
    @njit
    def caller(x):
        return half(x) + half(2.0 * x)

    assert caller(3.0) == 4.5
    assert len(half.compiled.signatures) == 1
    assert half(5.0) == 2.5
    assert half(np.int64(1)) == 0.5
    assert len(half.compiled.signatures) == 1


def test_compiling_in_a_call_is_not_of_a_clocks_time():
    @apart(REAL, REAL)
    def late(x):
        return 3.0 * x

    @njit
    def caller(x):
        return late(x)

    caller.compile("float64(float64)")
    assert not late.compiled.signatures
    before, compiled = time.perf_counter(), compile_seconds()
    assert caller(2.0) == 6.0
    assert late.compiled.signatures
    assert 0.5 * (time.perf_counter() - before) < compile_seconds() - compiled


def test_what_cannot_be_compiled_is_an_error_and_no_crash(monkeypatch, capfd):
    def fails(compiled, arguments):
        raise MemoryError

    monkeypatch.setattr(module, "_address", fails)

    @apart(VECTOR, VECTOR)
    def never(a):
        return a

    @njit
    def caller(a):
        return never(a)

    with pytest.raises(RuntimeError, match="never was not compiled"):
        caller(np.ones(2))
    assert "MemoryError" in capfd.readouterr().err
