"""What passes say of those that are left, and where the next one should end."""

import math

import numpy as np
import pytest
from pvq.benchmarks.made import made_layer
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bnb.beam import WIDE, WIDER, WIDTH, upper_point, wider
from pvq.solvers.bnb.growth import AIM, EARLY, LEAST_STEP, ON_THE_WAY, STEP, SURE, Pace
from pvq.solvers.result import Status


def after(passes):
    pace = Pace(0.1, 1e-9)
    for threshold, nodes in passes:
        pace.ended(threshold, nodes)
    return pace


def grown(power, end=0.6):
    """Passes that grow by a power."""
    return after([(t, 1e9 * t**power) for t in (0.3, 0.5, end)])


@pytest.mark.parametrize("power", [4.0, 11.0, 24.0])
def test_nodes_that_grow_like_a_power_go_on_so(power):
    assert grown(power).ahead(1.0) == pytest.approx(1e9 * 0.6 ** (power - ON_THE_WAY * power))


@pytest.mark.parametrize(
    "passes",
    [
        [],
        [(0.5, 10.0)],
        [(0.5, 10.0), (0.6, 9.0)],
        [(0.0, 1.0), (0.5, 10.0)],
        [(0.5, 10.0), (1.1, 99.0)],
        [(1e-14, 3), (1.02e-14, 5)],
    ],
)
def test_nothing_is_said_where_nothing_tells(passes):
    assert after(passes).ahead(1.0) is None


@pytest.mark.parametrize("power", [5.0, 11.0, 24.0])
def test_a_pass_that_should_end_in_time_is_the_last(power):
    pace = grown(power)
    ahead = pace.ahead(1.0)
    assert pace.next(1.0, 1.01 * ahead / SURE) == math.inf
    assert pace.next(1.0, 0.99 * ahead / SURE) == pytest.approx(EARLY ** (1 / pace.power))


def test_a_first_pass_makes_nobody_sure():
    """It may say that little is ahead: nodes grow faster later on."""
    pace = Pace(0.3, 1000.0)
    pace.ended(0.5, 10_000.0)
    assert pace.next(1.0, 1.01 * pace.to(1.0) / SURE) < math.inf


@pytest.mark.parametrize("power", [5.0, 11.0, 24.0])
def test_near_the_end_no_pass_takes_what_the_last_one_lacks(power):
    pace = grown(power, 0.97)
    ahead = pace.ahead(1.0)
    assert pace.next(1.0, 1.01 * ahead) == math.inf
    short = pace.next(1.0, 0.5 * ahead)
    assert short > 0.97
    assert short == math.inf or short >= LEAST_STEP * 0.97


def test_where_the_end_is_out_of_reach_half_of_what_is_left_is_spent():
    pace = grown(11.0)
    left = 10 * pace.nodes
    assert pace.next(3.0, left) == pytest.approx(0.6 * (AIM * 10) ** (1 / pace.power))
    assert pace.next(3.0, 1.0) == pytest.approx(0.6 * LEAST_STEP)


def test_without_a_limit_passes_grow_by_a_factor():
    pace = grown(11.0)
    assert pace.next(3.0, math.inf) == pytest.approx(0.6 * STEP ** (1 / pace.power))
    assert pace.next(0.6, math.inf) == math.inf


def test_without_a_bound_there_is_one_pass():
    assert Pace(0.0, 10.0).next(1.0, math.inf) == math.inf
    assert Pace(0.0, 10.0).next(1.0, 5.0) == math.inf


@pytest.mark.parametrize("limit", [1e3, 1e6, 1e9, math.inf])
@pytest.mark.parametrize("power", [2.0, 8.0, 30.0])
def test_passes_of_a_search_rise_until_it_ends(limit, power):
    pace, low, spent = Pace(0.05, 10.0), 0.05, 0.0
    for _ in range(200):
        threshold = pace.next(1.0, max(limit - spent, 0.0))
        assert threshold > low
        if threshold >= 1:
            return
        low = threshold
        nodes = 1e5 * low**power
        spent += nodes
        pace.ended(low, nodes)
    raise AssertionError("200 passes")


def row(name, bits):
    layer = made_layer(name)
    return state_problem(layer.weight, layer.grams, Setting("quant", bits)).row(0)


def test_a_search_that_is_cut_off_says_what_it_would_take():
    problem = row("gaussian:56x8:1", 3)
    solver = BranchAndBound()
    whole = solver.solve(problem, Options(time_limit=None))
    assert whole.status is Status.OPTIMAL
    assert "nodes_ahead" not in whole.info
    part = solver.solve(problem, Options(time_limit=None, node_limit=whole.nodes // 3))
    assert part.status is Status.NODE_LIMIT
    assert np.log(part.info["nodes_ahead"] / whole.nodes) == pytest.approx(
        0, abs=np.log(4)
    )  # 1.3 was seen, 2 on other rows


def test_wider_beams_are_for_searches_that_take_longer():
    problem = row("gaussian:64x8:1", 4)
    x = upper_point(problem)
    same, width = wider(problem, x, WIDTH, 1e5)
    assert width == WIDTH
    assert same is x
    better, width = wider(problem, x, WIDTH, 2e7)
    assert width == WIDE
    assert problem.is_feasible(better)
    best, width = wider(problem, better, width, math.inf)
    assert width == WIDER[-1][0]
    assert problem.error(best) <= problem.error(better) <= problem.error(x)
    assert wider(problem, best, width, math.inf)[0] is best
