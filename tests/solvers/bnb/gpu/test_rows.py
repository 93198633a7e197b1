"""Rows through the product with one warp of Python in place of the GPU."""

import lanes
import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.base import SolverUnavailable, fallback_point
from pvq.solvers.bnb import BranchAndBound, enumeration
from pvq.solvers.bnb.blocks import solve_block
from pvq.solvers.bnb.gpu import engine, work
from pvq.solvers.bnb.gpu.rows import search_rows
from pvq.solvers.bnb.plan import layer_plan, row_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.options import Clock, Options
from pvq.solvers.result import BoundKind, Reason, Status


@pytest.fixture
def warp(monkeypatch):
    """The product with a warp for a GPU, to which everything below a few nodes is left."""
    one = lanes.Engine()
    monkeypatch.setattr(engine, "wanted", lambda problem, options: one)
    monkeypatch.setattr(enumeration, "BRIEF", 0)
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    monkeypatch.setattr(enumeration.GridSearch, "quick", lambda search, budget: Reason.NODES)
    monkeypatch.setattr(enumeration, "FEW_OPEN", 5)
    return one


def row(seed, n, levels=4, spread=1.0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n + 6, n))
    values = (np.arange(levels) - levels // 2) * 2.8 / levels
    grid = Grid(values[None], np.zeros(n, int))
    return Problem(spread * rng.standard_normal(n), Gram.from_array(a.T @ a / n), grid)


@pytest.mark.parametrize(("n", "levels", "spread"), [(14, 4, 1.0), (16, 2, 1.0), (9, 16, 2.0), (9, 255, 1.0)])
def test_rows_have_the_optimum_of_the_cpu(warp, n, levels, spread):
    for seed in range(1):
        problem = row(seed, n, levels, spread)
        found = BranchAndBound().solve(problem, Options(time_limit=None, device="gpu"))
        expected = BranchAndBound().solve(problem, Options(time_limit=None))
        assert found.status is expected.status is Status.OPTIMAL
        assert found.upper == pytest.approx(expected.upper, rel=1e-6)
        assert found.lower <= expected.upper
        assert expected.lower <= found.upper
        assert found.bound_kind is expected.bound_kind


def test_the_gpu_is_used_and_named(warp):
    found = BranchAndBound().solve(row(1, 18), Options(time_limit=None, device="gpu"))
    assert found.info["device"] == "gpu: one warp"
    assert warp.launches
    assert all(launch.complete for launch in warp.launches)
    assert "unproven" not in found.info


def test_a_search_that_takes_a_verifier_long_is_proven_where_that_is_asked_for(warp, monkeypatch):
    monkeypatch.setattr(enumeration, "REPEATED_STEPS", 100.0)
    found = BranchAndBound().solve(row(1, 18), Options(time_limit=None, device="gpu"))
    assert found.status is Status.OPTIMAL
    assert found.bound_kind is BoundKind.NUMERICAL
    assert found.info["unproven"].startswith("a verifier would repeat ")
    proven = BranchAndBound().solve(row(1, 18), Options(time_limit=None, device="gpu", prove=True))
    assert proven.bound_kind is BoundKind.RIGOROUS
    assert "unproven" not in proven.info


def test_a_launch_that_is_stopped_leaves_a_bound(warp):
    problem = row(2, 18)
    optimum = BranchAndBound().solve(problem, Options(time_limit=None)).upper
    warp.stop_after = 3
    options = Options(time_limit=None, device="gpu")
    search = warp.search

    def stopped(work, ended, least=4, give=3):
        found = search(work, ended, least, give)
        options.stop.set()
        return found

    warp.search = stopped
    found = BranchAndBound().solve(problem, options)
    assert not warp.launches[-1].complete
    assert found.status is Status.INTERRUPTED
    assert 0 < found.lower <= optimum <= found.upper


def test_leaves_that_are_lost_prove_nothing(warp, monkeypatch):
    """More leaves below the slack than there is room for: the launch stops, the CPU goes on."""
    monkeypatch.setattr(work, "LEAVES", 0)
    monkeypatch.setattr(work, "MORE_LEAVES", 0)
    problem = row(1, 18)
    found = BranchAndBound().solve(problem, Options(time_limit=None, device="gpu"))
    assert warp.launches[-1].lost
    assert not any(launch.complete for launch in warp.launches if launch.lost)
    assert found.status is Status.OPTIMAL
    assert found.upper == pytest.approx(BranchAndBound().solve(problem).upper, rel=1e-6)


def test_a_gpu_that_fails_leaves_the_row_to_the_cpu(warp):
    def fails(*arguments):
        raise engine.GpuError("the NVIDIA driver says: out of order")

    warp.search = fails
    found = BranchAndBound().solve(row(1, 18), Options(time_limit=None, device="gpu"))
    assert found.status is Status.OPTIMAL
    assert found.info["device"] == "cpu: the NVIDIA driver says: out of order"


def test_many_rows_in_one_launch(warp):
    """Some with the plan of the layer, some with their own, one that float32 cannot hold."""
    gram = row(0, 6).gram
    problems = [Problem(row(seed, 6).weight * (1 + seed % 3), gram, row(0, 6).grid) for seed in range(4)]
    clock = Clock(Options(time_limit=None))
    plans = [layer_plan(problem) if i % 2 else row_plan(problem, clock) for i, problem in enumerate(problems)]
    rows = [restate(problem, plan) for problem, plan in zip(problems, plans, strict=True)]
    starts = [polish_grid(problem, fallback_point(problem)) for problem in problems]
    thresholds = [problem.error(x) for problem, x in zip(problems, starts, strict=True)]
    rows.append(restate(problems[0], layer_plan(problems[0]), even=False))
    results = search_rows(warp, rows, [*thresholds, thresholds[0]], clock)
    assert len(warp.launches) == 1
    assert results.pop() is None
    for problem, start, (finished, points, _) in zip(problems, starts, results, strict=True):
        assert finished
        best = min(problem.error(x) for x in [start, *points])
        assert best == pytest.approx(BranchAndBound().solve(problem).upper, rel=1e-6)


def test_blocks_are_searched_together(warp):
    """All rows in one launch but the last, whose grid has another number of values; minima as on the CPU."""
    gram, grid = row(0, 6).gram, row(0, 6).grid
    targets = np.random.default_rng(5).uniform(-1.5, 1.5, (4, 6))
    grids = [grid, grid, grid, row(0, 6, levels=3).grid]
    found = solve_block(gram, targets, grids, options=Options(time_limit=None, node_limit=10**9, device="gpu"))
    expected = solve_block(gram, targets, grids, options=Options(time_limit=None))
    assert len(warp.launches[0].finished) == 3
    assert found.optimal.all()
    assert found.upper == pytest.approx(expected.upper, rel=1e-6)
    assert (found.lower <= expected.upper).all()
    assert (expected.lower <= found.upper).all()


def test_without_a_gpu_there_is_one_line(monkeypatch):
    def none():
        raise engine.GpuError("no NVIDIA driver is installed")

    monkeypatch.setattr(engine, "engine", none)
    with pytest.raises(SolverUnavailable, match="no GPU can be used: no NVIDIA driver is installed"):
        BranchAndBound().solve(row(0, 6), Options(device="gpu"))
    assert BranchAndBound().solve(row(0, 6), Options(device="auto")).status is Status.OPTIMAL
