"""A chunk whose blocks one warp of Python searches in place of a GPU: below the optimum, proven, as on the CPU."""

import itertools

import lanes
import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.verify import lower_bound
from pvq.solvers.base import SolverUnavailable
from pvq.solvers.bnb.gpu import engine, work
from pvq.solvers.bound.batch import layer as layer_module
from pvq.solvers.bound.batch import on_gpu, quantized
from pvq.solvers.bound.layer_wide import LayerWide
from pvq.solvers.bound.quantization import bound_row
from pvq.solvers.bound.rows import bound_batch
from pvq.solvers.brute import Brute
from pvq.solvers.device import device_note
from pvq.solvers.options import Clock, Options
from pvq.solvers.result import BoundKind

ROOM = 1e-4
"""Of the bound, for the verifier's rounding: where a row clips, values are 1000 times the bound and cancel."""

GPU, CPU = Options(time_limit=None, device="gpu"), Options(time_limit=None)


@pytest.fixture
def warp(monkeypatch):
    """Blocks of 3 inputs on a warp, of 2 on the CPU, and few steps: a warp of Python takes .1 s a launch."""
    one = lanes.Engine()
    monkeypatch.setattr(engine, "ready", lambda inputs, name: one)
    monkeypatch.setattr(on_gpu, "SIZE", 3)
    monkeypatch.setattr(layer_module, "SIZE", 2)
    monkeypatch.setattr(quantized, "STEPS", 1)
    monkeypatch.setattr(quantized, "TRIED", 1)
    return one


def chunk(seed, n=6, rows=2, levels=4, spread=1.0, own=False):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((30, n)) @ (np.eye(n) + 0.5 * rng.standard_normal((n, n)))
    gram = Gram.from_array(a.T @ a / 30)
    base = np.arange(levels) - (levels - 1) / 2
    scales = rng.uniform(0.5, 0.9, rows) if own else np.full(rows, 0.7)
    shared = [Grid(scale * base[None], np.zeros(n, np.int64)) for scale in scales]
    grids = shared if own else [shared[0]] * rows
    return [Problem(spread * rng.standard_normal(n), gram, grid) for grid in grids]


@pytest.mark.parametrize(("seed", "spread", "own"), [(0, 1.0, False), (1, 4.0, True), (2, 0.3, True)])
def test_bounds_hold_and_are_proven(warp, seed, spread, own):
    problems = chunk(seed, spread=spread, own=own)
    found = bound_batch(problems, GPU, [None] * len(problems))
    assert warp.launches
    for problem, outcome in zip(problems, found, strict=True):
        best = Brute().solve(problem).upper
        assert outcome.info["device"] == "gpu: one warp"
        assert problem.is_feasible(outcome.x)
        assert 0 < outcome.lower <= best * (1 + 1e-9)
        assert outcome.lower * (1 - ROOM) <= lower_bound(problem, outcome.proof) <= best * (1 + 1e-9)
        assert best <= problem.error(outcome.x) * (1 + 1e-9)


def test_bounds_are_those_of_such_blocks_on_the_cpu(warp, monkeypatch):
    problems = chunk(3, n=5)  # blocks of 3 and of 2: a launch for each
    on_warp = bound_batch(problems, GPU, [None] * 2)
    monkeypatch.setattr(layer_module, "SIZE", 3)
    on_cpu = bound_batch(problems, CPU, [None] * 2)
    for one, other in zip(on_warp, on_cpu, strict=True):
        assert one.lower == pytest.approx(other.lower, rel=0.01)
        assert "device" not in other.info


@pytest.mark.parametrize(("far", "least"), [(1.0, 14), (30.0, 6)])
def test_least_of_a_block_against_all_its_points(warp, far, least):
    rng = np.random.default_rng(4)
    problems = chunk(4)
    layer = layer_module.long_layer(problems[0].gram, 3)
    numbers = tuple(on_gpu.block_numbers(plan, 3.0) for plan in layer.plans)
    rows = quantized.Chunk(problems, layer)
    closed = 0
    for _ in range(4):
        targets = rows.w + far * rng.standard_normal(rows.w.shape)
        index = rng.integers(0, 4, rows.w.shape).astype(np.int16)
        low, done = np.zeros((2, 2)), np.zeros((2, 2), bool)
        search = on_gpu.BlocksOnGpu(warp, numbers, lambda: False)
        search(targets, index, rows.levels, layer.searches, 0.99, 0, low, np.zeros(2, np.int64), done)
        closed += int(done.sum())
        for r, (b, (at, part)) in itertools.product(
            range(2), enumerate(zip(layer.slices, layer.parts, strict=True))
        ):
            values = rows.levels.values[0][0]
            away = targets[r, at] - np.array(list(itertools.product(values, repeat=3)))
            best = np.einsum("ij,jk,ik->i", away, part, away).min()
            after = targets[r, at] - values[index[r, at]]
            assert low[r, b] <= best * (1 + 1e-12)
            if done[r, b]:
                assert low[r, b] >= 0.98 * best
                assert after @ part @ after <= best / 0.98
    assert closed >= least  # of 16; float32 does not reach as far as some targets are


def test_leaves_that_are_lost_and_launches_that_are_stopped_prove_nothing(warp, monkeypatch):
    problems = chunk(5)
    monkeypatch.setattr(work, "LEAVES", 0)
    monkeypatch.setattr(work, "MORE_LEAVES", 0)
    lost = bound_batch(problems, GPU, [None] * 2)
    assert any(launch.lost for launch in warp.launches)
    monkeypatch.undo()
    monkeypatch.setattr(engine, "ready", lambda inputs, name: warp)
    monkeypatch.setattr(on_gpu, "SIZE", 3)
    warp.stop_after = 2
    stopped = bound_batch(problems, GPU, [None] * 2)
    assert not all(launch.complete for launch in warp.launches)
    for problem, *outcomes in zip(problems, lost, stopped, strict=True):
        best = Brute().solve(problem).upper
        for outcome in outcomes:
            assert outcome.lower <= best * (1 + 1e-9)
            assert lower_bound(problem, outcome.proof) >= outcome.lower * (1 - ROOM)


def test_a_gpu_that_fails_leaves_the_chunk_to_the_cpu(warp):
    def fails(*arguments):
        raise engine.GpuError("the NVIDIA driver says: out of order")

    warp.search = fails
    problems = chunk(6)
    expected = bound_batch(problems, CPU, [None] * 2)
    for one, other in zip(bound_batch(problems, GPU, [None] * 2), expected, strict=True):
        assert (one.lower, one.info["device"]) == (other.lower, "cpu: the NVIDIA driver says: out of order")


@pytest.mark.parametrize(
    ("values", "groups", "why"),
    [
        ([-1.0, -0.2, 0.4, 1.0], 1, "the grid is not evenly spaced"),
        ([-1.0, 0.0, 1.0], 2, "several scales a row"),
        (np.linspace(-1, 1, 300), 1, "the grid does not have 2 to 256 values"),
    ],
)
def test_what_a_gpu_does_not_take_is_said(warp, values, groups, why):
    first = chunk(7)[0]
    scales = np.linspace(1.0, 1.2, groups)
    grid = Grid(np.outer(scales, values), np.arange(6) * groups // 6)
    (found,) = bound_batch([Problem(first.weight, first.gram, grid)], GPU, [None])
    assert found.info["device"] == f"cpu: {why}"
    assert not warp.launches


def test_a_matrix_that_is_nearly_singular_is_left_to_the_cpu(warp):
    first = chunk(7, n=3)[0]
    size = np.array([1.0, 1e-7, 1.0])
    gram = Gram(first.hessian * size[:, None] * size, rank=3)  # `from_array` takes small inputs for rounding
    problem = Problem(first.weight, gram, first.grid)
    (found,) = bound_batch([problem], GPU, [None])
    assert found.info["device"] == "cpu: the matrix is nearly singular"
    assert found.lower <= Brute().solve(problem).upper * (1 + 1e-9)


def test_rows_one_by_one_begin_there_too(warp):
    problem = chunk(8)[0]
    x = np.asarray(problem.grid.levels[0][np.abs(problem.weight[:, None] - problem.grid.levels[0]).argmin(1)])
    bounded = bound_row(problem, x, problem.error(x), GPU, Clock(GPU))
    assert bounded.lower <= Brute().solve(problem).upper * (1 + 1e-9)


def test_a_comparison_s_rows_are_rigorous_and_their_place_is_told(warp):
    problems = chunk(9)
    results = LayerWide().solve_rows(problems, GPU, [None] * 2)
    assert {result.bound_kind for result in results} == {BoundKind.RIGOROUS}
    assert device_note(results, "gpu") == "rows were searched on gpu: one warp (2)"


def test_without_a_gpu_there_is_one_line(monkeypatch):
    def none():
        raise engine.GpuError("no NVIDIA driver is installed")

    monkeypatch.setattr(engine, "engine", none)
    problems = chunk(0)
    with pytest.raises(SolverUnavailable, match="no GPU can be used: no NVIDIA driver is installed"):
        bound_batch(problems, GPU, [None] * 2)
    (found, *_) = bound_batch(problems, Options(time_limit=None, device="auto"), [None] * 2)
    assert found.info["device"] == "cpu: no GPU"
