"""The beam: the same points as a plain one, ties or not, and never worse than where it starts."""

from __future__ import annotations

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.base import fallback_point
from pvq.solvers.bnb.beam import Decoder, beam, upper_point


def plain(decoder, w, levels, group, width, tries):
    """The costs of the points of a beam, best first, one point after the other."""
    points = [(0.0, w.copy(), ())]
    for i in range(len(w) - 1, -1, -1):
        row, found = levels[group[i]], []
        for cost, centres, picks in points:
            away = np.abs(row - centres[i])
            for pick in np.argsort(away, kind="stable")[:tries]:
                moved = centres.copy()
                moved[:i] += decoder.slope[i, :i] * (centres[i] - row[pick])
                found.append((cost + decoder.pivot[i] * away[pick] ** 2, moved, (int(pick), *picks)))
        points = sorted(found, key=lambda point: point[0])[:width]
    return [cost for cost, _, _ in points], [picks for _, _, picks in points]


def costs_of(decoder, w, levels, group, points):
    """The error of each point, u'Hu of the decoder's order."""
    values = levels[group, points]
    centres, total = np.tile(w, (len(points), 1)), np.zeros(len(points))
    for i in range(len(w) - 1, -1, -1):
        away = centres[:, i] - values[:, i]
        total += decoder.pivot[i] * away**2
        centres[:, :i] += away[:, None] * decoder.slope[i, :i]
    return total


@pytest.mark.parametrize("width", [1, 2, 7, 40])
@pytest.mark.parametrize("seed", range(8))
def test_the_points_of_a_plain_beam(seed, width):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    a = rng.standard_normal((n + 3, n))
    levels = np.sort(rng.standard_normal((2, 4)), axis=1)
    group, w = rng.integers(0, 2, n), rng.standard_normal(n)
    decoder = Decoder.of(a.T @ a, rng.permutation(n))
    costs, picks = plain(decoder, w, levels, group, width, 3)
    found = beam(decoder.slope, decoder.pivot, w, levels, group, width, 3)
    assert [tuple(map(int, point)) for point in found] == picks
    np.testing.assert_allclose(costs_of(decoder, w, levels, group, found), costs, rtol=1e-9)


@pytest.mark.parametrize("width", [1, 3, 10, 16, 100])
def test_ties_fill_the_beam_and_no_more(width):
    """Independent inputs half way between two values: every point costs the same."""
    n, levels = 6, np.array([[0.0, 1.0]])
    decoder = Decoder.of(np.eye(n), np.arange(n))
    found = beam(decoder.slope, decoder.pivot, np.full(n, 0.5), levels, np.zeros(n, np.int64), width, 2)
    assert len(found) == len({tuple(point) for point in found}) == min(width, 2**n)


def test_wide_beams_find_the_optimum_of_short_rows():
    rng = np.random.default_rng(3)
    for _ in range(20):
        n = 6
        a = rng.standard_normal((9, n))
        grid = Grid(np.sort(rng.standard_normal((1, 3)), axis=1), np.zeros(n, np.int64))
        problem = Problem(rng.standard_normal(n), Gram.from_array(a.T @ a), grid)
        every = np.array(np.meshgrid(*[grid.levels[0]] * n)).reshape(n, -1).T
        least = min(problem.error(x) for x in every)
        x = upper_point(problem, None, 3**n)
        assert problem.error(x) == pytest.approx(least, rel=1e-12)
        assert problem.error(x) <= problem.error(fallback_point(problem))
