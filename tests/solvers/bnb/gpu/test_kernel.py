"""The kernel's own source, run by 32 lanes of Python, against the CPU's search; what its numbers promise."""

from fractions import Fraction

import lanes
import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.base import fallback_point
from pvq.solvers.bnb.gpu.numbers import error_unit, numbers_of, why_not
from pvq.solvers.bnb.gpu.precision import Precision, start_centres
from pvq.solvers.bnb.gpu.rows import state
from pvq.solvers.bnb.gpu.work import DeviceRow, Root, work_of
from pvq.solvers.bnb.plan import row_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.bnb.walk import Walk
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.options import Clock, Options

NOTHING = np.zeros(0, np.int64)


def restated(seed, n, levels=4):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n + 8, n))
    values = (np.arange(levels) - levels // 2) * 2.8 / levels
    problem = Problem(
        rng.standard_normal(n), Gram.from_array(a.T @ a / n), Grid(values[None], np.zeros(n, np.int64))
    )
    row = restate(problem, row_plan(problem, Clock(Options(time_limit=None))))
    return row, problem.error(polish_grid(problem, fallback_point(problem)))


def optimum(row, upper):
    walk = Walk(row, 1.0)
    walk.take_root()
    walk.run(10**9, 2 * upper, 2 * upper)
    return float(walk.bounds[0])


def launch_of(row, threshold):
    numbers = numbers_of(row)
    k, raised, doubled = state(row, numbers, threshold)
    return work_of([DeviceRow(numbers, raised, doubled, (Root(row.weight, 0.0, NOTHING),))], k), raised


@pytest.mark.parametrize(("n", "levels"), [(1, 4), (2, 2), (12, 4), (20, 4), (13, 16), (35, 2)])
def test_as_many_nodes_as_the_cpu_visits(n, levels):
    """Below the optimum no leaf lowers the threshold, so that the tree is the same for both."""
    row, upper = restated(n, n, levels)
    best = optimum(row, upper)
    work, raised = launch_of(row, best * 0.999)
    found = lanes.run(work, least=2)
    walk = Walk(row, 1.0)
    walk.take_root()
    walk.run(10**9, np.inf, raised * error_unit(row, numbers_of(row)))
    assert found.complete
    assert not len(found.picks)
    assert found.counts[0] == walk.nodes


def test_a_threshold_above_the_optimum_finds_it():
    row, upper = restated(3, 14)
    best = optimum(row, upper)
    found = lanes.run(launch_of(row, best * 1.1)[0], least=1)
    assert found.complete
    assert min(row.problem.error(row.point(picks)) for picks in found.picks) == pytest.approx(best, rel=1e-9)


def test_work_changes_hands():
    """The same leaves whether groups give away at every look, or keep what they have."""
    row, upper = restated(1, 20)
    work, _ = launch_of(row, optimum(row, upper) * 0.999)
    shared, kept = lanes.run(work, least=1), lanes.run(work, least=10**6)
    assert shared.counts[0] == kept.counts[0]
    assert shared.counts[2] < kept.counts[2]  # fewer steps of the warp: several groups have work


@pytest.mark.parametrize("k", [13, 16, 18])
def test_a_move_is_undone_exactly(k):
    rng = np.random.default_rng(k)
    centres = start_centres(rng.uniform(-3, 6, 200), k, 3.0)
    for c, a, m in zip(centres, rng.standard_normal(200), rng.integers(-(2**k), 2**k, 200) / 2**k, strict=True):
        a, m = np.float32(a), np.float32(m)
        moved = lanes.fma_down(a, m, c)
        assert 0 <= Fraction(float(a)) * Fraction(float(m)) + Fraction(float(c)) - Fraction(float(moved)) < 2**-k
        assert -lanes.fma_down(a, m, -moved) == c


@pytest.mark.parametrize(("n", "levels"), [(9, 4), (24, 16)])
def test_the_threshold_leaves_room_for_all_rounding(n, levels):
    """Every decision in float32 next to rational arithmetic: what is below t there is below T here."""
    row, _ = restated(n, n, levels)
    numbers = numbers_of(row)
    rng = np.random.default_rng(0)
    order, unit = range(n - 1, -1, -1), error_unit(row, numbers)
    slope = [[Fraction(float(v)) for v in line[:n]] for line in row.factors[1][:n]]
    for _ in range(20):
        picks = np.clip(np.rint(row.weight + rng.uniform(-0.9, 0.9, n)), 0, row.top)
        exact, error = [Fraction(float(w)) for w in row.weight], Fraction(0)
        for i in order:
            move = exact[i] - int(picks[i])
            error += Fraction(float(row.factors[0][i])) * move * move
            for j in range(i):
                exact[j] += slope[i][j] * move
        stated = state(row, numbers, float(error) * (1 + 1e-12))
        assert stated is not None
        k, raised, _ = stated
        centres, cost = start_centres(row.weight, k, row.top), np.float32(0)
        offset = np.float32(Precision(numbers, k).offset)
        for i in order:
            move = (centres[i] - offset) - np.float32(picks[i])
            cost = lanes.fma(numbers.pivot[i] * move, move, cost)
            for j in range(i):
                centres[j] = lanes.fma_down(np.float32(row.factors[1][i, j]), move, centres[j])
        assert cost < raised
        assert raised < 1.01 * float(error) / unit


def test_rows_that_float32_cannot_hold_are_left_to_the_cpu():
    row, upper = restated(4, 10)
    assert state(row, numbers_of(row), upper) is not None
    assert state(row, numbers_of(row), upper * 1e-30) is None  # below what its centres can tell apart
    assert why_not(restate(row.problem, row.plan, even=False)) == "the grid is not evenly spaced"
