"""The relaxation's interval contains the optimum: against enumeration, on degenerate rows, and on real rows."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bound import Bound, quantization
from pvq.solvers.bound.block_diagonal import block_diagonal
from pvq.solvers.bound.layer_wide import LayerWide
from pvq.solvers.brute import Brute
from pvq.solvers.layer import solve_layer
from pvq.solvers.relax import near_null, paired, pruning
from pvq.solvers.result import BoundKind, Status

# mean of lower / optimum that the relaxation reaches at least; conv_stem has condition 1e5
INSTANCES = {"conv_stem": 0.1, "blocks.3.depthwise": 0.75, "blocks.4.expand": 0.75}
GRIDS = (
    [-1.0, 0.0, 1.0],
    [-2.0, -1.0, 0.0, 1.0],
    [-3.0, -1.0, -0.25, 0.5, 2.0],
    [0.5, 1.5],
)


def gram(seed, n, rng):
    """Every other one degenerate in some way."""
    x = rng.normal(size=(n, int(rng.integers(1, n)) if seed % 5 == 1 else 4 * n))
    if seed % 5 == 2:
        x = np.diag(10.0 ** -rng.uniform(0, 6, n)) @ rng.normal(size=(n, n)) @ x
    if seed % 3 == 1:
        i, j, k = rng.permutation(n)[:3]
        x[i] = x[j] * rng.choice([-1, 1, 2])
        x[k] *= rng.choice([0.0, 1e-9])
    if seed % 7 == 3:
        x -= x.mean(axis=0)
    return Gram.from_array(x @ x.T)


def pruned(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice([4, 6, 8, 9, 12]))
    kind = seed % 3
    if kind == 0:
        pattern = Sparsity.row(n, int(rng.integers(1, n)))
    elif kind == 1:
        of = int(rng.choice([m for m in (2, 3, 4) if n % m == 0]))
        pattern = Sparsity.nm(n, int(rng.integers(1, of)), of)
    else:
        size = int(rng.choice([m for m in (2, 3) if n % m == 0]))
        pattern = Sparsity.blocks(n, size, int(rng.integers(1, n // size)))
    w = rng.normal(size=n) * np.exp(rng.normal(size=n)) * 10.0 ** rng.integers(-3, 4)
    return Problem(w, gram(seed, n, rng), None, pattern)


def quantized(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 7))
    levels = np.array([GRIDS[seed % 4]])
    group = np.zeros(n, np.int64)
    if seed % 6 == 5:
        levels, group = levels * np.array([[1.0], [0.3]]), np.arange(n) % 2
    size = 10.0 ** rng.integers(-3, 4)
    w = rng.normal(size=n) * (2.0 if seed % 2 else 0.7)
    return Problem(w * size, gram(seed, n, rng), Grid(levels * size, group))


def assert_holds(problem, result, optimum):
    slack = 1e-9 * max(optimum, 1e-3 * problem.reference)  # rounding of e itself
    assert result.status is not Status.FAILED, result.info
    assert result.lower <= optimum + slack
    assert optimum <= result.upper + slack
    assert problem.is_feasible(result.x)
    assert result.upper == problem.certified(result.x).upper


def against_enumeration(problems):
    """How many bounds are proven, and lower / optimum where the optimum is not 0."""
    proven, ratios = 0, []
    for problem in problems:
        result = Bound().solve(problem, Options(time_limit=None))
        optimum = Brute().solve(problem).upper
        assert_holds(problem, result, optimum)
        proven += result.bound_kind is BoundKind.RIGOROUS
        if optimum > 1e-9 * problem.reference:
            ratios.append(result.lower / optimum)
    return proven, ratios


def test_pruned_rows_against_enumeration():
    proven, ratios = against_enumeration(map(pruned, range(105)))
    assert proven > 50  # where H is singular no D > 0 is below it: such rows have next to nothing to prove
    assert np.median(ratios) > 0.8


def test_quantized_rows_against_enumeration(monkeypatch):
    monkeypatch.setattr(quantization, "SIZES", (3,))  # several blocks, so that v matters
    _, ratios = against_enumeration(map(quantized, range(105)))
    assert np.median(ratios) > 0.4  # half of the rows are degenerate


def with_values(seed):
    """A grid under a pattern, with and without 0 among the levels, or fixed weights."""
    if seed % 2:
        problem = pruned(seed)
        return replace(problem, sparsity=replace(problem.sparsity, update=False))
    problem, rng = quantized(seed), np.random.default_rng(seed)
    n = problem.n
    in_blocks = n % 2 == 0 and seed % 3
    pattern = Sparsity.blocks(n, 2, 1) if in_blocks else Sparsity.row(n, int(rng.integers(1, n)))
    return replace(problem, sparsity=pattern)


def test_rows_with_a_pattern_and_values_against_enumeration(monkeypatch):
    monkeypatch.setattr(quantization, "SIZES", (3,))
    proven, ratios = against_enumeration(map(with_values, range(110)))
    assert proven > 90
    assert np.median(ratios) > 0.7


def test_blocks_without_the_pattern_prove_a_row_that_has_one(monkeypatch):
    """At two bits and little sparsity the grid alone is the stronger relaxation: its blocks are the proof."""
    monkeypatch.setattr(quantization, "SIZES", (13, 7))
    problem = small("blocks.4.expand", method="joint", bits=2, sparsity=0.25, rows=(0, 6))
    found = solve_layer(problem, Bound(), Options(time_limit=None))
    blocks = [row.result.proof.blocks for row in found.rows]
    assert any(blocks)
    assert {row.result.bound_kind for row in found.rows} == {BoundKind.RIGOROUS}
    assert found.lower > 0.4 * found.upper


def small(name, **setting):
    layer = load_layer(f"benchmarks/instances/efficientnet_lite0.{name}.npz")
    return state_problem(layer.weight, layer.grams, Setting(**setting))


@pytest.mark.parametrize("name", INSTANCES)
def test_the_interval_of_real_pruned_rows_contains_their_optimum(name):
    problem = small(name, method="prune", sparsity=0.75, rows=(0, 12))
    found, exact = solve_layer(problem, Bound()), solve_layer(problem, BranchAndBound())
    ratios = []
    for i, (row, known) in enumerate(zip(found.rows, exact.rows, strict=True)):
        assert_holds(problem.row(i), row.result, known.result.upper)
        ratios.append(row.result.lower / known.result.upper if known.result.upper else 1.0)
    assert np.mean(ratios) > INSTANCES[name]


@pytest.mark.parametrize("bits", [2, 4])
def test_the_interval_of_real_quantized_rows_contains_their_optimum(bits, monkeypatch):
    monkeypatch.setattr(quantization, "SIZES", (20,))  # two blocks in rows of 40 inputs
    problem = small("blocks.4.expand", method="quant", bits=bits, rows=(0, 12))
    found, exact = solve_layer(problem, Bound()), solve_layer(problem, BranchAndBound())
    for i, (row, known) in enumerate(zip(found.rows, exact.rows, strict=True)):
        assert_holds(problem.row(i), row.result, known.result.upper)
    assert found.lower > 0.5 * exact.lower
    assert {row.result.bound_kind for row in found.rows} == {BoundKind.RIGOROUS}


def test_pairs_raise_the_bound_of_real_rows():
    problem = small("blocks.9.expand", method="prune", sparsity=0.75, inputs=(0, 64), rows=(0, 8))
    clock, gains = Clock(Options(time_limit=None)), []
    for i in range(len(problem)):
        row = presolve(problem.row(i)).problem
        upper = row.error(pruning.upper_point(row))
        alone = pruning.bound_by_diagonal(pruning.PrunedRow.of(row, upper), clock)[1].bound
        below, found = pruning.bound_by_pairs(pruning.PrunedRow.of(row, upper), clock)
        assert lower_bound(row, Split(below, found.point - row.weight)) == pytest.approx(found.bound, rel=1e-6)
        gains.append((found.bound - alone) / upper)
    assert min(gains) >= 0
    assert np.mean(gains) > 0.02


def test_pairs_keep_to_their_groups_and_leave_rows_alone_that_have_none():
    rng = np.random.default_rng(0)
    w, h = rng.normal(size=8), Gram.from_array(np.cov(rng.normal(size=(8, 30))))
    clock = Clock(Options(time_limit=None))
    for sparsity, has in (
        (Sparsity.row(8, 3), True),
        (Sparsity.nm(8, 2, 4), True),
        (Sparsity.row(8, 0), False),
        (Sparsity.row(8, 8), False),
        (Sparsity.blocks(8, 2, 1), False),
        (Sparsity.row(8, 3, update=False), False),
    ):
        problem = Problem(w, h, None, sparsity)
        assert paired.has_pairs(problem) is has
        if has:
            upper = Brute().solve(problem).upper
            start = Below(pruning.proven(h, pruning.start_of(h)))
            below, x, bound = paired.improve(problem, upper, start, w, clock)
            group = sparsity.group[below.pairs]
            assert len(below.pairs) == 4
            assert (group[:, 0] == group[:, 1]).all()
            assert 0 < lower_bound(problem, Split(below, x - w)) <= bound * (1 + 1e-9) <= upper * (1 + 1e-9)


def test_a_near_null_direction_is_covered_by_intervals():
    """LayerNorm-like rows: one eigenvalue far below the others. Plain bounds are near 0 there."""
    better = above_0 = found_directions = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(5, 11))
        x = rng.normal(size=(n, 4 * n))
        x -= x.mean(axis=0) * (1 - 10.0 ** -rng.integers(2, 7))  # eigenvalues down to 1e-12 of the others
        h = Gram.from_array(x @ x.T)
        problem = Problem(rng.normal(size=n), h, None, Sparsity.row(n, int(rng.integers(1, n - 1))))
        direction = near_null.near_null(h)
        if direction is None:
            continue
        found_directions += 1
        optimum = Brute().solve(problem).upper
        upper = optimum * float(rng.uniform(1, 2))  # any upper end gives a valid range
        clock = Clock(Options(time_limit=None))
        interval = near_null.bound_by_intervals(problem, upper, direction, clock)
        found, cover = interval.lower, interval.proof
        assert found <= optimum * (1 + 1e-9)
        # a D next to the boundary of the cone costs the verifier some digits
        assert lower_bound(problem, cover) == pytest.approx(found, rel=1e-4, abs=1e-9 * problem.reference)
        plain = pruning.bound_by_pairs(pruning.PrunedRow.of(problem, upper), clock)[1].bound
        above_0 += found > 0
        better += found > 2 * plain
    assert found_directions > 30
    assert above_0 >= found_directions - 3
    assert better > found_directions / 2


def test_the_block_diagonal_is_below_the_gram_matrix():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 30)) @ (np.eye(30) + 0.3 * rng.normal(size=(30, 30)))
    h = Gram.from_array(x.T @ x / 60)
    blocks = block_diagonal(h, 8)
    d = np.zeros((30, 30))
    for b, part in zip(blocks.inputs, blocks.grams, strict=True):
        d[np.ix_(b, b)] = part.matrix
    assert np.linalg.eigvalsh(h.matrix - d)[0] > 0
    assert sorted(np.concatenate(blocks.inputs)) == list(range(30))
    one = block_diagonal(h, 30)
    assert np.allclose(one.grams[0].matrix, h.matrix[np.ix_(one.inputs[0], one.inputs[0])], rtol=0.05, atol=1e-3)


def test_an_interrupted_row_keeps_its_interval():
    problem = small("blocks.4.expand", method="prune", sparsity=0.75, rows=(0, 1)).row(0)
    options = Options()
    options.stop.set()
    result = Bound().solve(problem, options)
    assert result.status is Status.INTERRUPTED
    assert 0 < result.lower <= result.upper


def test_a_row_on_its_grid_has_no_error():
    problem = Problem(
        np.array([1.0, -1.0, 0.0]), Gram.from_array(np.eye(3) + 0.5), Grid([[-1.0, 0.0, 1.0]], [0, 0, 0])
    )
    result = Bound().solve(problem)
    assert result.upper == 0
    assert result.status is Status.OPTIMAL


def test_more_kept_inputs_never_raise_the_bound_by_more_than_the_relaxation_loses():
    """Bounds of nested problems move the right way: the upper end of k bounds the lower end of k + 1."""
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.4.expand.npz")
    uppers, lowers = [], []
    for sparsity in (0.9, 0.75, 0.5, 0.25):
        row = state_problem(layer.weight, layer.grams, Setting("prune", sparsity=sparsity)).row(3)
        result = Bound().solve(row)
        uppers.append(result.upper)
        lowers.append(result.lower)
    assert all(a >= b for a, b in zip(uppers, lowers[1:], strict=False))
    assert lowers == sorted(lowers, reverse=True)


def test_scaling_a_row_and_its_grid_scales_its_interval():
    problem = quantized(8)
    scaled = Problem(4 * problem.weight, problem.gram, Grid(4 * problem.grid.levels, problem.grid.group))
    one, other = Bound().solve(problem), Bound().solve(scaled)
    assert other.lower == pytest.approx(16 * one.lower, rel=1e-6)
    assert other.upper == pytest.approx(16 * one.upper, rel=1e-12)


def test_a_quantized_row_has_at_least_what_its_batch_has(monkeypatch):
    monkeypatch.setattr(quantization, "SIZES", (3,))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        grid = Grid(np.linspace(-1.0, 1.0, 4)[None], np.zeros(40, np.int64))
        problem = Problem(rng.uniform(-1.0, 1.0, 40), gram(seed, 40, rng), grid)
        row, batch = (solver.solve(problem, Options(time_limit=None)) for solver in (Bound(), LayerWide()))
        assert row.bound_kind is BoundKind.RIGOROUS
        assert row.lower >= batch.lower * (1 - 1e-9)


@pytest.mark.parametrize("factor", [2.0, 1e9])
def test_a_false_claim_of_a_batch_is_not_proven(monkeypatch, factor):
    """One that is above a known error is not looked at, one below it proves no more than it is worth."""
    monkeypatch.setattr(quantization, "SIZES", (3,))
    take, claims = quantization.bound_rows, 0

    def claimed(*row):
        nonlocal claims
        claims += 1
        (outcome,) = take(*row)
        return [replace(outcome, lower=factor * outcome.lower)]

    monkeypatch.setattr(quantization, "bound_rows", claimed)
    for seed in range(24):
        problem = quantized(seed)
        found, optimum = Bound().solve(problem, Options(time_limit=None)), Brute().solve(problem).upper
        assert found.status is not Status.FAILED
        if factor > 2 or found.bound_kind is BoundKind.RIGOROUS:
            assert_holds(problem, found, optimum)
    assert claims > 8
