"""The rounding slack of enumeration, against rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.bnb.beam import upper_point
from pvq.solvers.bnb.plan import layer_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.bnb.uneven import move
from pvq.solvers.bnb.walk import root_bound


def exact_error(problem, x):
    u = [Fraction(w) - Fraction(v) for w, v in zip(problem.weight.tolist(), x.tolist(), strict=True)]
    return sum(
        Fraction(h) * a * b
        for row, a in zip(problem.hessian.tolist(), u, strict=True)
        for h, b in zip(row, u, strict=True)
    )


def gram_of(rng, n, condition):
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    h = (q * 10.0 ** np.linspace(-condition, 0, n)) @ q.T
    return Gram.from_array((h + h.T) / 2)


def sums_of(row, picks):
    """What a search adds up on the way to a leaf: at every level what is decided, and the bound of what is not."""
    pivot, slope, diagonal = row.factors
    n = len(row.weight)
    centre, decided, sums = row.weight.copy(), 0.0, []
    for i in range(n - 1, -1, -1):
        moved = centre[i] - row.values[row.group[i], picks[i]]
        decided += pivot[i] * moved * moved
        centre[:i] += slope[i, :i] * moved
        off = np.abs(row.values[row.group[:i]] - centre[:i, None]).min(axis=1)
        sums.append(decided + float(diagonal[i, :i] @ (off * off)))
    return sums


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("condition", [3, 7, 9, 11])
def test_no_sum_exceeds_the_error_by_more(condition, even):
    """Points near the Babai point of the row, which are those that a search meets."""
    rng = np.random.default_rng(condition)
    above, n = 0, 12
    for _ in range(25):
        grid = Grid(np.arange(-8, 8)[None, :] * 0.07, np.zeros(n, np.int64))
        problem = Problem(rng.uniform(-0.5, 0.5, n), gram_of(rng, n, condition), grid)
        row = restate(problem, layer_plan(problem), even=even)
        pivot, slope, _ = row.factors
        picks, centre = np.zeros(n, np.int64), row.weight.copy()
        for i in range(n - 1, -1, -1):
            near = np.abs(row.values[row.group[i]] - centre[i]).argmin() + rng.choice([0, 0, 0, -1, 1])
            picks[i] = min(max(near, 0), 15)
            centre[:i] += slope[i, :i] * (centre[i] - row.values[row.group[i], picks[i]])
        error = exact_error(problem, row.point(picks))
        sums = sums_of(row, picks)
        slack = row.slack(float(error) * (1 + 1e-6))
        assert all(Fraction(value) - Fraction(slack) <= error for value in sums)
        above += any(Fraction(value) > error for value in sums)
    assert above > 3  # without the slack it would be wrong


def test_it_is_small_where_float64_is_good_enough():
    """Condition 1e7: a gap of 1e-6 can still be shown, which the rounding carried from centre to centre hid."""
    rng = np.random.default_rng(0)
    grid = Grid(np.arange(-8, 8)[None, :] * 0.07, np.zeros(48, np.int64))
    for _ in range(5):
        problem = Problem(rng.uniform(-0.5, 0.5, 48), gram_of(rng, 48, 7), grid)
        row = restate(problem, layer_plan(problem))
        upper = problem.error(upper_point(problem))
        assert 0 < row.slack(upper) < 1e-7 * upper


@pytest.mark.parametrize("levels", [3, 16, 48, 49, 200])
@pytest.mark.parametrize("even", [True, False])
def test_the_bound_of_the_root_is_what_the_search_adds_up_ahead_of_it(levels, even):
    rng = np.random.default_rng(levels)
    for _ in range(10):
        rows = np.sort(rng.normal(size=(3, levels)), axis=1)
        grid = Grid(np.linspace(-0.3, 0.5, levels)[None] * [[1], [2], [0.5]] if even else rows, np.arange(9) % 3)
        problem = Problem(rng.uniform(-1, 1, 9), gram_of(rng, 9, 2), grid)
        row = restate(problem, layer_plan(problem))
        assert (row.top > 0) == even
        diagonal, out = row.factors[2][9], np.empty(row.width)
        taken = row.grid, row.pattern, row.spare()
        assert root_bound(row) == pytest.approx(move(9, row.weight, out, np.zeros(9), 0.0, diagonal, *taken))
