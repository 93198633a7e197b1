"""Blocks of the row's own: below H, never above the optimum, proven, and better than those of the layer."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.verify.reference import reference_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound import Bound, own_blocks, quantization
from pvq.solvers.bound import hulls as hulls_of
from pvq.solvers.bound.block_diagonal import block_diagonal
from pvq.solvers.bound.hulls import Hulls
from pvq.solvers.brute import Brute
from pvq.solvers.compile_time import compile_seconds
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.result import BoundKind, Status

from row_cases import grid_row

UNLIMITED = Options(time_limit=None)
HIGH = Options(time_limit=None, effort="high")


def bound(problem, relaxation=own_blocks, options=UNLIMITED):
    start = polish_grid(problem, problem.grid.levels[0, np.zeros(problem.n, np.int64)])
    return relaxation.bound_row(problem, start, problem.certified(start).upper, options, Clock(options))


@pytest.fixture
def short_blocks(monkeypatch):
    for module in (quantization, own_blocks):
        monkeypatch.setattr(module, "SIZES", (3, 2))
    monkeypatch.setattr(quantization, "prepare", lambda _: None)  # blocks of a batch would hold the whole row
    monkeypatch.setattr(own_blocks, "ROUNDS", 3)


def test_the_bound_is_below_every_grid_point_and_proven(short_blocks):
    better = proven = 0
    for seed in range(24):
        problem = presolve(grid_row(seed)).problem
        optimum, found = Brute().solve(problem).upper, bound(problem)
        assert found.lower <= optimum * (1 + 1e-9) + 1e-12 * problem.reference
        if found.proof is not None and found.lower > 1e-6 * problem.reference:
            verified = lower_bound(problem, found.proof)
            assert found.lower * (1 - 1e-4) - 1e-9 * problem.reference <= verified <= optimum * (1 + 1e-12)
            if proven < 4:  # rational arithmetic takes its time
                assert verified <= reference_bound(problem, found.proof)
            proven += 1
        better += found.lower > bound(problem, quantization).lower + 1e-3 * problem.reference
    assert proven > 12
    assert better > 3


def test_scaling_a_row_and_its_grid_scales_its_bound(short_blocks):
    for seed in (0, 2, 3, 6):
        one, other = bound(grid_row(seed)), bound(grid_row(seed, 4.0))
        assert other.lower == pytest.approx(16 * one.lower, rel=1e-6)
        assert other.ceiling == pytest.approx(16 * one.ceiling, rel=1e-6)


def test_a_step_stays_below_the_gram_matrix():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 30)) @ (np.eye(30) + 0.3 * rng.normal(size=(30, 30)))
    h = Gram.from_array(x.T @ x / 60)
    first = blocks = block_diagonal(h, 8)
    covariances = []
    for part in blocks.grams:
        points = rng.integers(-1, 2, (3, len(part)))
        covariances.append(np.cov(points.T, bias=True))
    for _ in range(20):
        blocks = own_blocks.stepped(h.matrix, blocks, covariances, Clock(UNLIMITED))
        d = np.zeros((30, 30))
        for b, part in zip(blocks.inputs, blocks.grams, strict=True):
            d[np.ix_(b, b)] = part.matrix
        assert np.linalg.eigvalsh(h.matrix - d)[0] > 0
    asked = [
        np.sum(c * (new.matrix - old.matrix))
        for c, new, old in zip(covariances, blocks.grams, first.grams, strict=True)
    ]
    assert sum(asked) > 0.1
    assert own_blocks.stepped(h.matrix, blocks, [0 * c for c in covariances], Clock(UNLIMITED)) is None


def small(seed):
    """A row of 6 inputs, blocks of 3 below its H, and f by trying all points of each block."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 6))
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(6, np.int64))
    problem = Problem(rng.normal(size=6), Gram.from_array(x.T @ x / 40), grid)
    blocks = block_diagonal(problem.gram, 3)
    m = problem.hessian.copy()
    for b, part in zip(blocks.inputs, blocks.grams, strict=True):
        m[np.ix_(b, b)] -= part.matrix
    points = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))

    def f(v):
        total = -v @ m @ v
        for b, part in zip(blocks.inputs, blocks.grams, strict=True):
            u = points - problem.weight[b]
            total += (np.einsum("ki,ki->k", u @ part.matrix, u) + 2 * u @ (m @ v)[b]).min()
        return total

    return problem, blocks, f


@pytest.mark.parametrize("pairs", [False, True])
def test_the_ceiling_is_above_f_everywhere_and_reached_at_the_centre(pairs):
    reached = 0
    for seed in range(12):
        problem, blocks, f = small(seed)
        rng, clock = np.random.default_rng(seed), Clock(UNLIMITED)
        hulls = Hulls(problem, blocks, np.sign(problem.weight) - problem.weight)
        first = hulls.ceiling
        hulls.settle(1e-9, 500, clock, pairs)
        assert hulls.ceiling <= first
        for step, towards in itertools.product((1e-2, 1e-1, 1.0), rng.normal(size=(20, 6))):
            assert f(hulls.centre + step * towards) <= hulls.ceiling + 1e-9
        # what local search has not found an exact one adds, and then nothing is left
        for _ in range(10):
            value = quantization.evaluate(problem, blocks, hulls.centre.copy(), None, 1e-9, UNLIMITED, clock)
            assert value.bound == pytest.approx(f(value.v), abs=1e-6)
            hulls.add(value.minimiser, blocks)
            hulls.settle(1e-9, 500, clock, pairs)
        reached += f(hulls.centre) > hulls.ceiling - 1e-4
        # c'Hc and the covariances say the same
        shares = [np.sum(c * g.matrix) for c, g in zip(hulls.covariances(), blocks.grams, strict=True)]
        assert hulls.centre @ problem.hessian @ hulls.centre + sum(shares) == pytest.approx(hulls.ceiling)
    assert reached >= 11


def test_more_points_than_there_is_room_for(monkeypatch):
    problem, blocks, f = small(3)
    rng, clock = np.random.default_rng(3), Clock(UNLIMITED)
    monkeypatch.setattr(hulls_of, "MOST", 5)
    hulls = Hulls(problem, blocks, np.sign(problem.weight) - problem.weight)
    for _ in range(30):
        hulls.add(rng.integers(-1, 2, 6) - problem.weight, blocks)
        before = hulls.ceiling
        hulls.settle(1e-9, 5, clock)
        assert f(hulls.centre) <= hulls.ceiling + 1e-9
        assert hulls.ceiling <= before + 1e-9


def test_two_searches_of_the_same_v_are_as_good_as_the_better_one_of_each_block():
    problem, blocks, f = small(5)
    v, clock = np.full(6, 0.1), Clock(UNLIMITED)
    rough, fine = (quantization.evaluate(problem, blocks, v, None, g, UNLIMITED, clock) for g in (0.5, 1e-6))
    both = rough.joined(replace(fine, lowers=(fine.lowers[0], 0.0), bound=-1.0))
    assert rough.bound < both.bound <= f(v) + 1e-9
    assert both.proofs == (fine.proofs[0], rough.proofs[1])
    assert rough.joined(fine).bound == pytest.approx(fine.bound)
    assert lower_bound(problem, both.split(blocks)) == pytest.approx(both.bound, rel=1e-6)


def test_real_rows_gain(monkeypatch):
    monkeypatch.setattr(own_blocks, "ROUNDS", 4)
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.4.project.npz")
    problem = presolve(state_problem(layer.weight, layer.grams, Setting(method="quant", bits=2)).row(0)).problem
    one, other = Bound().solve(problem, UNLIMITED), Bound().solve(problem, HIGH)
    assert other.bound_kind is BoundKind.RIGOROUS
    assert other.lower > one.lower + 0.02 * one.upper
    assert other.lower <= one.upper
    assert other.lower <= other.info["ceiling"] <= 1.1 * one.upper
    assert "ceiling" not in one.info
    # the same with a block that is a little too large for H is refused
    below, block = other.proof.below, other.proof.below.blocks[0]
    false = replace(below, blocks=(replace(block, matrix=block.matrix * 1.2), *below.blocks[1:]))
    with pytest.raises(NotProven):
        lower_bound(problem, replace(other.proof, below=false))


def test_the_time_and_an_interrupt_are_heard():
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.4.project.npz")
    problem = presolve(state_problem(layer.weight, layer.grams, Setting(method="quant", bits=4)).row(1)).problem
    options = Options(time_limit=0.3, effort="high")
    Bound().solve(problem, options)  # compiles most of it
    begin, compiled = time.process_time(), compile_seconds()
    result = Bound().solve(problem, options)
    # of the processor, of which other work on the machine takes nothing; the whole search has 3.7 s
    assert time.process_time() - begin - (compile_seconds() - compiled) < 1.5
    assert 0 < result.lower <= result.upper
    options.stop.set()
    assert Bound().solve(problem, options).status is Status.INTERRUPTED
