"""Blocks of the row's own: below H, never above the optimum, proven, and better than those of the layer."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.verify.reference import reference_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.layers.format import load_layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound import Bound, own_blocks, quantization
from pvq.solvers.bound.block_diagonal import block_diagonal
from pvq.solvers.bound.hulls import Hulls
from pvq.solvers.brute import Brute
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


def test_the_centre_of_the_hulls_is_the_best_v_for_their_points():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 6))
    h = Gram.from_array(x.T @ x / 40)
    blocks = block_diagonal(h, 3)
    m = h.matrix.copy()
    for b, part in zip(blocks.inputs, blocks.grams, strict=True):
        m[np.ix_(b, b)] -= part.matrix
    points = rng.normal(size=(5, 6))
    hulls = Hulls(h.matrix, blocks, 4)
    for u in points:  # the last finds no room
        hulls.add(u)

    def model(v):
        total = -v @ m @ v
        for b, part in zip(blocks.inputs, blocks.grams, strict=True):
            total += min(u[b] @ part.matrix @ u[b] + 2 * (m @ v)[b] @ u[b] for u in points[:4])
        return total

    centre = hulls.settle(blocks, 1e-6)
    best = model(centre)
    for step, towards in itertools.product((1e-2, 1e-1, 1.0), rng.normal(size=(50, 6))):
        assert model(centre + step * towards) <= best + 1e-8
    shares = sum(np.trace(c @ g.matrix) for c, g in zip(hulls.covariances(centre), blocks.grams, strict=True))
    assert centre @ h.matrix @ centre + shares == pytest.approx(best, abs=1e-7)  # no gap


def test_real_rows_gain(monkeypatch):
    monkeypatch.setattr(own_blocks, "ROUNDS", 4)
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.4.project.npz")
    problem = presolve(state_problem(layer.weight, layer.grams, Setting(method="quant", bits=2)).row(0)).problem
    one, other = Bound().solve(problem, UNLIMITED), Bound().solve(problem, HIGH)
    assert other.bound_kind is BoundKind.RIGOROUS
    assert other.lower > one.lower + 0.02 * one.upper
    assert other.lower <= one.upper
    # the same with a block that is a little too large for H is refused
    below, block = other.proof.below, other.proof.below.blocks[0]
    false = replace(below, blocks=(replace(block, matrix=block.matrix * 1.2), *below.blocks[1:]))
    with pytest.raises(NotProven):
        lower_bound(problem, replace(other.proof, below=false))


def test_the_time_and_an_interrupt_are_heard():
    layer = load_layer("benchmarks/instances/efficientnet_lite0.blocks.4.project.npz")
    problem = presolve(state_problem(layer.weight, layer.grams, Setting(method="quant", bits=4)).row(1)).problem
    options = Options(time_limit=0.3, effort="high")
    result = Bound().solve(problem, options)
    assert result.seconds < 0.3 * 1.1 + 1
    assert 0 < result.lower <= result.upper
    options.stop.set()
    assert Bound().solve(problem, options).status is Status.INTERRUPTED
