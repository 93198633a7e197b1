"""Enumeration against its definition: every grid point, on regular and on degenerate rows."""

import dataclasses
import itertools
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound, enumeration
from pvq.solvers.bnb.enumeration import solve_grid
from pvq.solvers.bnb.restated import Restated
from pvq.solvers.brute import Brute
from pvq.solvers.result import BoundKind, Status

LAYER = Path(__file__).parents[3] / "benchmarks/instances/efficientnet_lite0.blocks.9.expand.npz"
KINDS = ("regular", "singular", "duplicated", "dead", "ill-conditioned", "ties")


def gram(rng, n, kind):
    a = rng.standard_normal((max(1, n - 2) if kind == "singular" else 30, n))
    if kind == "duplicated":
        a[:, 0] = a[:, -1]
    if kind == "dead":
        a[:, rng.integers(n)] = 0
    if kind == "ill-conditioned":
        a *= 10.0 ** rng.uniform(-4, 0, n)
    return Gram.from_array(a.T @ a / len(a))


def real_row(n, bits):
    """Part of a row of `blocks.9.expand`."""
    layer = load_layer(LAYER)
    setting = Setting("quant", rows=(1, 2), inputs=(0, n), bits=bits, granularity="channel")
    return state_problem(layer.weight, layer.grams, setting).row(0)


def weights(rng, n, kind):
    w = rng.standard_normal(n) * rng.choice([0.5, 1, 3])  # 3: far outside the grid
    return np.round(2 * w) / 2 + 0.25 if kind == "ties" else w


def even_grid(rng, n):
    groups = int(rng.integers(1, 3))
    return Grid(np.arange(-2, 2) * rng.uniform(0.3, 1, (groups, 1)), rng.integers(0, groups, n))


def uneven_grid(rng, n):
    groups = int(rng.integers(1, 3))
    levels = np.sort(
        np.stack([rng.choice(np.arange(-9, 9) * 0.37, 4, replace=False) for _ in range(groups)]), axis=1
    )
    return Grid(levels, rng.integers(0, groups, n))


def check(problem):
    """Both ends hold, and the gap closes except where H is singular: there the rounding slack may be larger."""
    found, optimum = BranchAndBound().solve(problem), Brute().solve(problem).upper
    rounding = 1e-12 * problem.reference
    assert found.lower <= optimum * (1 + 1e-9) + rounding
    assert optimum <= found.upper * (1 + 1e-9) + rounding
    assert found.upper <= optimum * (1 + 1e-6) + 2 * rounding
    assert found.lower >= found.upper * (1 - 1e-4) - rounding
    if problem.gram.rank == problem.gram.live.sum():
        assert found.status is Status.OPTIMAL
    assert problem.is_feasible(found.x)


@pytest.mark.parametrize("kind", KINDS)
def test_long_searches_that_start_from_the_point_of_a_beam(monkeypatch, kind):
    """Every row here has one, by limits so low that no search ends before them."""
    beams = []
    beam = enumeration.upper_point
    monkeypatch.setattr(enumeration, "upper_point", lambda *words: beams.append(words) or beam(*words))
    monkeypatch.setattr(enumeration, "BEAM", range(1, 193))
    monkeypatch.setattr(enumeration, "QUICK", 4)
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    rng = np.random.default_rng(61)
    for _ in range(15):
        n = int(rng.integers(5, 8))
        check(
            Problem(
                weights(rng, n, kind),
                gram(rng, n, kind),
                (even_grid if rng.random() < 0.5 else uneven_grid)(rng, n),
            )
        )
    assert len(beams) >= 10


def test_short_rows_and_patterns_wait_for_no_beam(monkeypatch):
    monkeypatch.setattr(enumeration, "upper_point", lambda *words: pytest.fail("a beam"))
    rng = np.random.default_rng(62)
    w, h, grid = weights(rng, 6, "regular"), gram(rng, 6, "regular"), even_grid(rng, 6)
    check(Problem(w, h, grid))
    monkeypatch.setattr(enumeration, "BEAM", range(1, 193))
    monkeypatch.setattr(enumeration, "QUICK", 4)
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    check(Problem(w, h, grid, Sparsity.row(6, 3)))
    check(Problem(w, h, None, Sparsity.row(6, 3, update=False)))


@pytest.mark.parametrize("make_grid", [even_grid, uneven_grid])
@pytest.mark.parametrize("kind", KINDS)
def test_grids(kind, make_grid):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(40):
        n = int(rng.integers(2, 7))
        check(Problem(weights(rng, n, kind), gram(rng, n, kind), make_grid(rng, n)))


@pytest.mark.parametrize("make_grid", [even_grid, uneven_grid, None])
@pytest.mark.parametrize("kind", KINDS)
def test_grids_and_fixed_weights_under_a_budget(kind, make_grid):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(15):
        grid = make_grid and make_grid(rng, 4)
        for n, pattern in (
            (4, Sparsity.row(4, int(rng.integers(0, 5)), update=False)),
            (4, Sparsity.nm(4, 1, 2, update=False)),
            (4, Sparsity.blocks(4, 2, 1, update=False)),
        ):
            check(Problem(weights(rng, n, kind), gram(rng, n, kind), grid, pattern))


@pytest.mark.parametrize(
    ("grid", "bits"), [("ternary", None), ("fp4-e2m1", None), ("int-asym", 2), ("int-sym", 3)]
)
def test_formats(grid, bits):
    from pvq.bounds.layer_problem import Setting, state_problem

    rng = np.random.default_rng(0)
    for granularity in ("tensor", "channel", "group:2"):
        a = rng.standard_normal((20, 3))
        layer = state_problem(rng.standard_normal((6, 3)), a.T @ a, Setting("quant", bits, grid, granularity))
        for i in range(6):
            check(layer.row(i))


def hard(seed=0, n=40, sparsity=None):
    """A row that takes far more than a few thousand nodes."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n + 5, n))
    grid = Grid(np.arange(-2, 2)[None] * 0.7, np.zeros(n, int))
    return Problem(rng.standard_normal(n), Gram.from_array(a.T @ a / n), grid, sparsity)


def test_permuting_the_inputs_does_not_change_the_optimum():
    problem = hard(n=18)
    order = np.random.default_rng(1).permutation(18)
    permuted = Problem(problem.weight[order], Gram.from_array(problem.hessian[np.ix_(order, order)]), problem.grid)
    assert BranchAndBound().solve(permuted).upper == pytest.approx(BranchAndBound().solve(problem).upper, rel=1e-6)


def test_scaling_scales_the_optimum():
    problem = hard(n=18)
    scaled = Problem(1e-3 * problem.weight, problem.gram, Grid(1e-3 * problem.grid.levels, problem.grid.group))
    assert BranchAndBound().solve(scaled).upper == pytest.approx(
        1e-6 * BranchAndBound().solve(problem).upper, rel=1e-6
    )


def test_more_freedom_never_hurts():
    solve = BranchAndBound().solve
    problem = hard(n=16)
    finer = dataclasses.replace(problem, grid=Grid(np.arange(-4, 4)[None] * 0.35, problem.grid.group))
    assert solve(finer).upper <= solve(problem).upper * (1 + 1e-6)
    errors = [solve(dataclasses.replace(problem, sparsity=Sparsity.row(16, k))).upper for k in (0, 2, 5, 9, 16)]
    assert all(more <= less * (1 + 1e-6) for less, more in itertools.pairwise(errors))


@pytest.mark.parametrize("pattern", [None, Sparsity.row(40, 15)])
def test_limits_leave_a_valid_interval(pattern):
    """More nodes tighten the interval, and the intervals of all limits overlap."""
    problem = hard(n=40, sparsity=pattern)
    results = [BranchAndBound().solve(problem, Options(time_limit=None, node_limit=k)) for k in (1, 20, 20_000)]
    assert all(result.status is Status.NODE_LIMIT for result in results[:2])
    assert max(result.lower for result in results) <= min(result.upper for result in results)
    assert all(result.lower > 0 for result in results)
    stopped = Options()
    stopped.stop.set()
    interrupted = BranchAndBound().solve(hard(n=110), stopped)
    assert interrupted.status is Status.INTERRUPTED
    assert 0 < interrupted.lower < interrupted.upper


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make_grid", [even_grid, uneven_grid])
@pytest.mark.parametrize(("n", "pattern"), [(30, None), (18, Sparsity.row(18, 7))])
def test_the_split_search_agrees_with_the_quick_one(monkeypatch, make_grid, n, pattern, threads):
    from pvq.solvers.bnb import enumeration

    rng = np.random.default_rng(3)
    problems = [dataclasses.replace(hard(seed, n), grid=make_grid(rng, n), sparsity=pattern) for seed in range(4)]
    quick = [BranchAndBound().solve(problem) for problem in problems]
    monkeypatch.setattr(enumeration, "QUICK", 50)
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    monkeypatch.setattr(enumeration, "OPEN", 30)
    monkeypatch.setattr(enumeration, "CHUNK", 100)
    nodes = 0
    for problem, plain in zip(problems, quick, strict=True):
        split = BranchAndBound().solve(problem, Options(threads=threads, time_limit=None))
        nodes += split.nodes
        assert split.status is plain.status is Status.OPTIMAL
        assert split.upper == pytest.approx(plain.upper, rel=1e-6)
    assert nodes > 1000  # most of them long after the quick search gave up


@pytest.mark.parametrize("threads", [1, 2])
def test_a_limit_in_the_split_search_leaves_a_good_bound(monkeypatch, threads):
    from pvq.solvers.bnb import enumeration

    monkeypatch.setattr(enumeration, "QUICK", 50)
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    monkeypatch.setattr(enumeration, "CHUNK", 1000)
    problem = hard(1, 45)
    best = BranchAndBound().solve(problem, Options(time_limit=None))
    ratios = []
    for limit in (3_000, 20_000, 100_000):
        found = BranchAndBound().solve(problem, Options(time_limit=None, node_limit=limit, threads=threads))
        assert 0 < found.lower <= best.upper * (1 + 1e-9)
        assert best.lower <= found.upper
        ratios.append(found.lower / best.upper)
    assert ratios == sorted(ratios)
    assert ratios[-1] > 0.8


def test_long_searches_are_proven_where_there_is_time(monkeypatch):
    problem = real_row(88, 4)
    found = BranchAndBound().solve(problem, Options(time_limit=None))
    assert found.nodes > 4_000_000
    assert found.status is Status.OPTIMAL
    assert found.bound_kind is BoundKind.RIGOROUS
    assert lower_bound(problem, found.proof) == pytest.approx(found.lower)
    with limited(None, 1_000_000), pytest.raises(NotProven, match="within 1,000,000 nodes"):
        lower_bound(problem, found.proof)
    monkeypatch.setattr(enumeration, "REPEATED_STEPS", 1e4)
    hasty = BranchAndBound().solve(problem, Options(time_limit=60.0))
    assert hasty.status is Status.OPTIMAL
    assert hasty.bound_kind is BoundKind.NUMERICAL
    assert hasty.info["unproven"].startswith(f"a verifier would repeat {hasty.nodes:,} nodes")


def test_a_singular_row_whose_passes_are_short_ends_in_time():
    """H of half the rank: thresholds rise from rounding size by hundreds of short passes."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((12, 6)) @ rng.standard_normal((6, 200))
    setting = Setting(method="quant", bits=4, grid="int-asym", granularity="channel")
    problem = state_problem(rng.standard_normal((1, 12)), x @ x.T / 200, setting).row(0)
    BranchAndBound().solve(problem, Options(time_limit=0.01))  # compiles
    begin = time.process_time()
    found = BranchAndBound().solve(problem, Options(time_limit=0.1))
    assert found.status is Status.TIME_LIMIT
    assert time.process_time() - begin < 0.7  # 1.5 s where the clock is not asked between passes


def test_a_good_start_is_used():
    problem = hard(n=30)
    best = BranchAndBound().solve(problem)
    again = BranchAndBound().solve(problem, Options(node_limit=1), start=best.x)
    assert again.upper <= best.upper


def test_a_row_of_next_to_no_weight_is_still_optimal():
    """Rows like this exist in real layers; the rounding of an evenly restated grid would drown them."""
    problem = hard(n=12)
    tiny = dataclasses.replace(problem, weight=1e-9 * problem.weight)
    assert BranchAndBound().solve(tiny).status is Status.OPTIMAL


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", [False, True])
def test_where_rounding_eats_the_bound_of_a_search_that_of_its_root_is_proven(monkeypatch, kind, pattern):
    """Centres of more than 200 inputs carry more rounding than a row has error."""
    monkeypatch.setattr(Restated, "slack", lambda self, upper: 1e9)
    monkeypatch.setattr(enumeration, "LONGEST", 0)
    rng = np.random.default_rng(KINDS.index(kind))
    said = 0
    for _ in range(20):
        n = int(rng.integers(2, 7))
        shared = gram(rng, n, kind)
        live = shared.live
        m = int(live.sum())
        problem = Problem(
            weights(rng, n, kind)[live],
            Gram.from_array(shared.matrix[np.ix_(live, live)]),
            Grid(np.array([[-1.2, -0.4, 0.0, 0.4]]), np.zeros(m, np.int64)),
            Sparsity.row(m, min(2, m)) if pattern else None,
        )
        optimum = problem.certified(Brute().solve(problem).x)
        found = solve_grid(problem, Options(time_limit=None), None)
        assert isinstance(found.proof, Split) or found.lower == 0.0
        assert 0.0 <= found.lower <= optimum.upper
        if found.lower > 0.0:
            said += 1
            verified = lower_bound(problem, found.proof)
            assert verified <= optimum.upper
            assert verified >= 0.98 * found.lower
    assert said > 5 or kind in ("singular", "duplicated")  # where D is next to 0


def test_the_bound_ahead_of_a_search_is_exact_where_weights_are_next_to_the_grid(monkeypatch):
    """Steps and centres carry the rounding of the weights, which may be all of such an error."""
    monkeypatch.setattr(Restated, "slack", lambda self, upper: 1e9)
    rng, said = np.random.default_rng(3), 0
    levels = np.array([-3.3, -1.1, 1.1, 3.3])
    for _ in range(40):
        n = int(rng.integers(2, 6))
        w = rng.choice(levels, n) + 1e-9 * rng.standard_normal(n)
        h = np.diag(rng.uniform(0.5, 2.0, n))
        problem = Problem(w, Gram.from_array(h), Grid(levels[None], np.zeros(n, np.int64)))
        least = sum(
            Fraction(h[i, i]) * min((Fraction(w[i]) - Fraction(v)) ** 2 for v in levels.tolist()) for i in range(n)
        )
        found = solve_grid(problem, Options(time_limit=None), None)
        assert Fraction(found.lower) <= least
        said += found.lower >= 0.9 * float(least)
    assert said == 40
