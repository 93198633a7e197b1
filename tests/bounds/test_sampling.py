"""Draws of rows and what is estimated from them: coverage by repeated draws, exact where all rows are drawn."""

import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.sampling import draw, ratio
from scipy.stats import binom

HASH = "0123456789abcdef" * 4
ROWS = 240
DRAWS = 2000


def population(kind, rng):
    """x and y of all rows, as errors of rounding and of the best weights are: sizes differ, ratios less."""
    x = rng.lognormal(0.0, 0.5, ROWS)
    y = {
        "proportional": x * rng.gamma(25.0, 1 / 25.0, ROWS),
        "offset": 0.3 + 0.5 * x * rng.gamma(25.0, 1 / 25.0, ROWS),
        "unrelated": rng.gamma(9.0, 1 / 9.0, ROWS),
    }[kind]
    return x, y


@pytest.mark.parametrize("kind", ["proportional", "offset", "unrelated"])
@pytest.mark.parametrize("n", [16, 60])
def test_limits_hold_the_sum_about_as_often_as_they_say(kind, n):
    rng = np.random.default_rng(n)
    x, y = population(kind, rng)
    hits = 0
    for _ in range(DRAWS):
        rows = rng.choice(ROWS, n, replace=False)
        found = ratio(y[rows], x[rows], ROWS).times(x.sum()).estimate()
        hits += found.low <= y.sum() <= found.high
    # the limits are approximate: 2 % are granted to the skewness of the rows, the rest to the number of draws
    assert hits >= binom.ppf(1e-4, DRAWS, 0.93)
    assert hits <= binom.ppf(1 - 1e-4, DRAWS, 0.97)


def test_the_limits_of_sampling_with_replacement_would_be_too_wide():
    rng = np.random.default_rng(3)
    x, y = population("proportional", rng)
    rows = rng.choice(ROWS, 180, replace=False)
    known = ratio(y[rows], x[rows], ROWS).estimate()
    endless = ratio(y[rows], x[rows], 10**9).estimate()
    assert known.error == pytest.approx(0.5 * endless.error, rel=1e-6)


def test_two_sums_are_compared_on_the_same_rows():
    rng = np.random.default_rng(4)
    x, y = population("proportional", rng)
    more = y * rng.gamma(400.0, 1.1 / 400.0, ROWS)
    truth = 10 * np.log10(more.sum() / y.sum())
    hits = 0
    for _ in range(DRAWS):
        rows = rng.choice(ROWS, 16, replace=False)
        first, second = (ratio(of[rows], x[rows], ROWS).times(x.sum()) for of in (more, y))
        found = first.over(second).in_db().estimate()
        hits += found.low <= truth <= found.high
        assert found.error < first.in_db().estimate().error
    assert binom.ppf(1e-4, DRAWS, 0.93) <= hits <= binom.ppf(1 - 1e-4, DRAWS, 0.97)


def test_all_rows_give_the_sum_itself():
    x, y = population("offset", np.random.default_rng(0))
    found = ratio(y, x, ROWS).times(x.sum()).estimate()
    assert found.value == pytest.approx(y.sum(), rel=1e-15)
    assert found.error == 0
    assert found.low == found.high == found.value


def test_one_row_gives_no_limits():
    found = ratio(np.array([2.0]), np.array([4.0]), 10).times(40.0).estimate()
    assert found.value == 20
    assert (found.error, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize("x", [[0.0, 0.0, 0.0], [0.0, 3e-300, 0.0]])
def test_rows_that_say_nothing_of_the_others_give_no_limits(x):
    found = ratio(np.array([0.0, 1e-300, 0.0]), np.array(x), 10).times(5.0).estimate()
    assert (found.value is None) == (not any(x))
    assert found.low is None


def test_limits_are_never_below_what_was_seen():
    found = ratio(np.array([1.0, 0.0, 0.0]), np.ones(3), 30).times(30.0).estimate(least=1.0)
    assert found.low == 1.0 < found.value < found.high


def test_a_draw_is_reproducible_in_order_and_without_repetition():
    rows = draw(range(10, 90), 12, 7, HASH)
    assert rows == draw(range(10, 90), 12, 7, HASH)
    assert sorted(set(rows)) == list(rows)
    assert set(rows) <= set(range(10, 90))
    assert rows != draw(range(10, 90), 12, 8, HASH)
    assert rows != draw(range(10, 90), 12, 7, HASH[::-1])


def test_every_row_is_drawn_equally_often():
    times = np.zeros(20)
    for seed in range(2000):
        times[list(draw(range(20), 5, seed, HASH))] += 1
    assert binom.ppf(1e-6, 2000, 0.25) <= times.min() <= times.max() <= binom.ppf(1 - 1e-6, 2000, 0.25)


def test_no_more_rows_than_there_are():
    assert draw(range(4), 9, 0, HASH) == (0, 1, 2, 3)
    with pytest.raises(ProblemError, match="`sample_rows` must be at least 1, not 0"):
        draw(range(4), 0, 0, HASH)
