"""Exact errors against rational arithmetic written out."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds import certified
from pvq.bounds.certified import as_integers, certified_uppers, exact_error, float_errors, rounded_up
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.outward import closed, sum_down, sum_up
from pvq.bounds.problem import Problem


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
def test_it_is_the_sum_of_exact_products(scale):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((9, 5)) * 10.0 ** rng.uniform(-6, 6, 5)
    problem = Problem(
        scale * rng.standard_normal(5),
        Gram.from_array(a.T @ a),
        Grid(scale * np.arange(-2.0, 3)[None], np.zeros(5, int)),
    )
    for x in (problem.grid.nearest(problem.weight), np.zeros(5), scale * np.full(5, 2.0)):
        u = [Fraction(w) - Fraction(v) for w, v in zip(problem.weight.tolist(), x.tolist(), strict=True)]
        h = problem.hessian.tolist()
        wanted = sum(u[i] * Fraction(h[i][j]) * u[j] for i in range(5) for j in range(5))
        assert exact_error(problem.gram, problem.weight, x) == wanted


def test_numbers_of_any_size_are_kept():
    a = np.array([0.0, -0.0, 5e-324, -1.7e308, 0.1, 3.0])
    whole, exponent = as_integers(a)
    assert [Fraction(int(k)) * Fraction(2) ** exponent for k in whole] == [Fraction(v) for v in a.tolist()]
    assert as_integers(np.zeros(3))[0].tolist() == [0, 0, 0]


def test_rounding_goes_up():
    assert rounded_up(Fraction(1, 10)) == 0.1  # the double nearest to 1/10 lies above it
    assert rounded_up(Fraction(1, 3)) == np.nextafter(1 / 3, 1)
    assert rounded_up(Fraction(1, 4)) == 0.25


def test_both_ends_hold_where_the_terms_cancel():
    """w along a direction in which H is next to nothing: float64 does not know a digit of e."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(50):
        a = rng.standard_normal((6, 4))
        a[:, 0] = a[:, 3] + 1e-9 * rng.standard_normal(6)
        row = Problem(
            np.array([1.0, 0, 0, -1]) * 10.0 ** rng.uniform(0, 4) + 1e-3 * rng.standard_normal(4),
            Gram.from_array(a.T @ a),
            Grid(np.arange(-2.0, 3)[None], np.zeros(4, int)),
        )
        for x in (np.zeros(4), row.grid.nearest(row.weight)):
            exact, found = exact_error(row.gram, row.weight, x), row.certified(x)
            assert Fraction(found.lower) <= exact <= Fraction(found.upper)
            assert found.upper <= float(exact) * (1 + 1e-8)
            assert found.rounding <= max(found.upper - found.lower, 1e-12 * row.reference)
            wrong += abs(row.error(x) - float(exact)) > 1e-6 * float(exact)
    assert wrong > 10  # the float64 value would not do


needs_wide = pytest.mark.skipif(certified.WIDE is None, reason="this processor has no numbers of 64 digits")


@needs_wide
@pytest.mark.parametrize("n", [1, 3, 40, 300])
def test_wider_numbers_enclose_what_integers_say(n):
    rng, better = np.random.default_rng(n), 0
    for k in range(20):
        a = rng.standard_normal((2 * n, n)) * 10.0 ** rng.uniform(-3, 0, n)
        a[:, -1] = a[:, 0] + 1e-7 * rng.standard_normal(2 * n)
        gram, scale = Gram.from_array(a.T @ a), 10.0 ** rng.uniform(-150, 140)
        w = scale * rng.standard_normal(n)
        x = w + scale * 1e-4 * rng.standard_normal(n)
        if k % 2:
            x = w + scale * np.where(np.arange(n) % n == 0, 1.0, 0.0) - scale * (np.arange(n) == n - 1)
        exact = exact_error(gram, w, x)
        for value, radius in (
            certified.wide_error(gram.matrix, w, x),
            [float(found[0]) for found in float_errors(gram, w[None], x[None])],
        ):
            assert abs(Fraction(value) - exact) <= Fraction(radius)
        better += certified.wide_error(gram.matrix, w, x)[1] < 0.01 * float_errors(gram, w[None], x[None])[1]
    assert better >= 10 or n == 1  # whose sum is one product
    assert certified.wide_error(np.full((2, 2), 1e300), np.full(2, 1e300), np.zeros(2))[1] == np.inf


@needs_wide
def test_long_rows_are_tried_in_wider_numbers_and_end_in_integers(monkeypatch):
    monkeypatch.setattr(certified, "KEPT", 0)
    taken = []
    monkeypatch.setattr(certified, "exact_error", lambda *words: taken.append(1) or exact_error(*words))
    rng = np.random.default_rng(2)
    a = rng.standard_normal((6, 4))
    for apart, integers in ((1e-4, 0), (1e-9, 1)):
        b = a.copy()
        b[:, 0] = b[:, 3] + apart * rng.standard_normal(6)
        gram, w = Gram.from_array(b.T @ b), np.array([1.0, 0, 0, -1]) + 1e-12 * rng.standard_normal(4)
        taken.clear()
        found = certified.certified_error(gram, w, np.zeros(4), 1.0)
        assert Fraction(found.lower) <= exact_error(gram, w, np.zeros(4)) <= Fraction(found.upper)
        assert found.upper <= found.lower * (1 + 1e-8)
        assert len(taken) == integers


@pytest.mark.parametrize("n", [1, 3, 40, 600])
def test_many_rows_at_once_are_rounded_up(n):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((2 * n, n))
    gram = Gram.from_array(a.T @ a)
    w, x = rng.standard_normal((3, n)), rng.standard_normal((3, n))
    x[2] = w[2]
    uppers = certified_uppers(gram, w, x)
    for i in range(2):
        assert (
            exact_error(gram, w[i], x[i])
            <= Fraction(uppers[i])
            <= Fraction(gram.error(w[i] - x[i])) * Fraction(1 + 1e-9)
        )
    assert uppers[2] == 0.0


def test_what_is_closed_is_closed_up_to_the_gap_or_the_rounding():
    assert closed(0.999, 1.0, 0.0, 1e-2)
    assert not closed(0.999, 1.0, 0.0, 1e-4)
    assert closed(0.0, 1e-15, 1e-14, 1e-6)
    assert not closed(0.0, 1e-13, 1e-14, 1e-6)


def test_sums_are_rounded_to_their_side():
    numbers = [1.0, 1e-30, -1e-40]
    exact = sum(map(Fraction, numbers))
    assert Fraction(sum_down(numbers)) <= exact <= Fraction(sum_up(numbers))
    assert (sum_down(numbers), sum_up(numbers)) == (1.0, np.nextafter(1.0, 2.0))
    for nothing in ([], [0.0, -0.0], [-0.0]):
        assert [str(end(nothing)) for end in (sum_down, sum_up)] == ["0.0", "0.0"]


def test_numbers_beyond_float64_are_infinite_above_and_the_largest_below():
    assert rounded_up(Fraction(10) ** 400) == np.inf
    assert -rounded_up(-(Fraction(10) ** 400)) == np.finfo(np.float64).max


def test_a_method_s_error_next_to_0_may_be_up_by_a_thousandth_and_is_never_down():
    """Integers for a thousand rows of 1280 inputs took four minutes, within a limit of twenty seconds."""
    rng = np.random.default_rng(4)
    n = certified.KEPT + 40
    a = rng.standard_normal((20, n))
    gram = Gram.from_array(a.T @ a / 20)
    null = np.linalg.svd(a)[2][20:]
    w = rng.standard_normal((3, n))
    x = w + 1e-3 * rng.standard_normal((3, len(null))) @ null + 1e-8 * rng.standard_normal((3, n))
    exact = [exact_error(gram, w[i], x[i]) for i in range(3)]
    closest, scored = certified_uppers(gram, w, x), certified_uppers(gram, w, x, scored=True)
    for value, up, within in zip(exact, closest, scored, strict=True):
        assert value <= Fraction(up) <= value * (1 + Fraction(3, 10**9))
        assert value <= Fraction(within) <= value * (1 + Fraction(3, 1000))
    short = slice(0, 30)
    part = Gram.from_array(gram.matrix[short, short])
    assert np.array_equal(
        certified_uppers(part, w[:, short], x[:, short], scored=True),
        certified_uppers(part, w[:, short], x[:, short]),
    )
