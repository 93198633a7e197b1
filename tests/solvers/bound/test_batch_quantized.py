"""All rows of a long layer at once: below the optimum by enumeration, proven, and independent of the chunk."""

import itertools

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.verify import NotProven, lower_bound
from pvq.solvers.base import Options
from pvq.solvers.bound.batch import layer as layer_module
from pvq.solvers.bound.batch import quantized, search
from pvq.solvers.bound.batch.box import box_minimum
from pvq.solvers.bound.batch.clamped import clamped
from pvq.solvers.bound.batch.points import descend
from pvq.solvers.bound.batch.search import lowered
from pvq.solvers.bound.rows import bound_batch
from pvq.solvers.brute import Brute
from scipy.optimize import lsq_linear

OPTIONS = Options(time_limit=None)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Blocks of 3 inputs, so that rows that can be enumerated have several."""
    monkeypatch.setattr(layer_module, "SIZE", 3)


def gram(rng, n, kind):
    a = rng.standard_normal((40, n)) @ (np.eye(n) + 0.5 * rng.standard_normal((n, n)))
    if kind == "ill-conditioned":
        a *= 10.0 ** rng.uniform(-3, 0, n)
    if kind == "tied":
        a = np.repeat(a[:, :1], n, axis=1) + 0.1 * a
    return Gram.from_array(a.T @ a / 40)


def grids(rng, n, rows, kind):
    """Grids of the rows: even or not, one for all or each its own, in groups."""
    groups = 2 if "groups" in kind else 1
    group = np.arange(n) * groups // n
    base = np.array([-2.0, -1.0, 0.0, 1.0]) if "even" in kind else np.array([-1.7, -0.4, 0.1, 1.2])
    if "own" not in kind:
        shared = Grid(np.outer(rng.uniform(0.3, 0.6, groups), base), group)
        return [shared] * rows
    return [Grid(np.outer(rng.uniform(0.3, 0.6, groups), base), group) for _ in range(rows)]


KINDS = ("even", "uneven", "even own", "uneven own groups", "even groups")


def chunk(rng, kind, matrix="regular", n=7, rows=4, spread=1.0):
    h = gram(rng, n, matrix)
    return [Problem(spread * rng.standard_t(3, n), h, grid) for grid in grids(rng, n, rows, kind)]


def bounded(problems, options=OPTIONS, starts=None):
    """Each row with what is found of it, and its optimum."""
    starts = [None] * len(problems) if starts is None else starts
    found = bound_batch(problems, options, starts)
    return [(p, f, Brute().solve(p).upper) for p, f in zip(problems, found, strict=True)]


@pytest.mark.parametrize("matrix", ["regular", "ill-conditioned", "tied"])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_and_are_proven(kind, matrix):
    rng = np.random.default_rng(KINDS.index(kind))
    ratios = []
    for spread in (0.3, 1.0, 3.0):  # the last one clips
        problems = chunk(rng, kind, matrix, spread=spread)
        for problem, found, best in bounded(problems):
            assert problem.is_feasible(found.x)
            assert found.lower <= best * (1 + 1e-9) + 1e-12 * problem.reference
            assert best <= problem.error(found.x) * (1 + 1e-9)
            try:
                proven = lower_bound(problem, found.proof)
            except NotProven:
                assert matrix != "regular"
                continue
            # where inputs clip, the blocks of such rows have 1e5 times the row's bound, rounding included
            rel = 1e-2 if spread > 0.3 else 1e-5
            assert proven == pytest.approx(found.lower, rel=rel, abs=1e-6 * problem.reference)
            ratios.append(proven / best)
    assert np.mean(ratios) > (0.5 if matrix == "regular" else 0.1)


def test_a_proof_that_claims_more_is_not_one():
    """A block's search that says more than is true is repeated and gives what is true."""
    rng = np.random.default_rng(3)
    problems = chunk(rng, "even", n=6, rows=3)
    for problem, found, best in bounded(problems):
        searches = tuple(type(s)(s.order, 3 * s.threshold + problem.reference) for s in found.proof.blocks)
        raised = type(found.proof)(found.proof.below, found.proof.v, searches)
        assert lower_bound(problem, raised) <= best * (1 + 1e-12)


def test_rows_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(5)
    problems = chunk(rng, "even own", rows=5)
    together = bound_batch(problems, OPTIONS, [None] * 5)
    for problem, found in zip(problems, together, strict=True):
        (alone,) = bound_batch([problem], OPTIONS, [None])
        assert np.array_equal(alone.x, found.x)
        assert alone.lower == pytest.approx(found.lower, rel=0.02)  # the ascent of all ends when each is done


def test_a_better_start_is_kept():
    rng = np.random.default_rng(6)
    problems = chunk(rng, "uneven", rows=6, spread=2.0)
    for problem, found, best in bounded(problems, starts=[Brute().solve(problem).x for problem in problems]):
        assert problem.error(found.x) == pytest.approx(best, rel=1e-12)


def test_points_that_make_up_for_what_is_clipped_are_never_worse_and_often_better():
    rng, fewer = np.random.default_rng(4), 0
    for _ in range(10):
        problems = chunk(rng, "even", n=24, rows=8, spread=0.5)
        rows = quantized.Chunk(problems, layer_module.long_layer(problems[0].gram))
        v = rows.clamped()
        assert v.any()
        plain, found = rows.rounded(np.zeros_like(v)), rows.points([None] * len(problems), v)
        exact = [problem.error(rows.x_of(r, found.index[r])) for r, problem in enumerate(problems)]
        np.testing.assert_allclose(found.errors, exact, rtol=1e-9)
        assert (found.errors <= plain.errors).all()
        fewer += int((found.errors < 0.99 * plain.errors).sum())
    assert fewer >= 10


@pytest.mark.parametrize("kind", ["even", "uneven", "even own"])
def test_no_single_move_betters_a_point_that_was_descended_from(kind):
    rng, moved = np.random.default_rng(11), 0
    for _ in range(10):
        problems = chunk(rng, kind, n=12, rows=4, spread=2.0)
        layer = layer_module.long_layer(problems[0].gram)
        rows = quantized.Chunk(problems, layer)
        levels = problems[0].grid.count
        index = rng.integers(0, levels, rows.w.shape).astype(np.int16)
        before = [problem.error(rows.x_of(r, index[r])) for r, problem in enumerate(problems)]
        after = descend(layer.hessian, rows.w, index, rows.levels)
        for r, problem in enumerate(problems):
            error = problem.error(rows.x_of(r, index[r]))
            assert after[r] == pytest.approx(error, rel=1e-9)
            moved += error < before[r]
            for i, step in itertools.product(range(12), (-1, 1)):
                other = index[r].copy()
                other[i] = np.clip(other[i] + step, 0, levels - 1)
                assert problem.error(rows.x_of(r, other)) >= error * (1 - 1e-9)
    assert moved >= 39


def test_inputs_of_sizes_that_32_bits_do_not_hold():
    """D H^-1 has entries of 1e40 where inputs differ as much: it stays in 64 bits."""
    rng = np.random.default_rng(12)
    problems = chunk(rng, "even", n=8, rows=3)
    size = np.ldexp(1.0, np.array([0, 140, 0, 140, 0, 0, 0, 0]))
    scaled = Gram(
        problems[0].hessian * size[:, None] * size, 0.0, 8
    )  # `from_array` takes small inputs for rounding
    direction = layer_module.long_layer(scaled).direction
    assert direction.dtype == np.float64
    assert np.isfinite(direction).all()
    assert layer_module.long_layer(problems[0].gram).direction.dtype == np.float32


def test_a_stopped_clock_still_gives_an_interval():
    rng = np.random.default_rng(7)
    problems = chunk(rng, "even", rows=3)
    stopped = Options(time_limit=0.0)
    for problem, found, best in bounded(problems, stopped):
        assert lower_bound(problem, found.proof) <= best <= problem.error(found.x) * (1 + 1e-12)


def test_singular_matrices_are_left_to_others():
    a = np.random.default_rng(0).standard_normal((3, 7))
    h = Gram(a.T @ a, rank=3)
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(7, np.int64))
    assert bound_batch([Problem(np.ones(7), h, grid)], OPTIONS, [None]) is None


@pytest.mark.parametrize(("budget", "far"), [(5, 1.0), (3000, 1.0), (3000, 1000.0)])
def test_least_of_a_block_against_all_its_points(budget, far):
    """Also where the search is cut off, and where targets are outside of the range."""
    rng = np.random.default_rng(budget)
    ended = 0
    for _ in range(40):
        problems = chunk(rng, "uneven own groups", n=6, rows=3)
        layer = layer_module.long_layer(problems[0].gram)
        rows = quantized.Chunk(problems, layer)
        targets = rows.w + far * rng.standard_normal(rows.w.shape)
        index = rng.integers(0, 4, rows.w.shape).astype(np.int16)
        low, nodes = np.zeros((3, len(layer.parts))), np.zeros(3, np.int64)
        before = index.copy()
        done = np.zeros(low.shape, bool)
        search.block_minima(targets, index, rows.levels, layer.searches, 0.99, budget, low, nodes, done)
        for r, (b, (at, part)) in itertools.product(
            range(3), enumerate(zip(layer.slices, layer.parts, strict=True))
        ):
            own = rows.levels.values[r][rows.levels.group[at]]

            away = targets[r, at] - np.array(list(itertools.product(*own)))
            best = np.einsum("ij,jk,ik->i", away, part, away).min()
            assert low[r, b] <= best * (1 + 1e-12)
            after, start = (targets[r, at] - own[np.arange(len(own)), points[r, at]] for points in (index, before))
            assert after @ part @ after <= start @ part @ start * (1 + 1e-12)
            ended += low[r, b] >= 0.98 * best
    assert ended > (200 if budget > 5 else 20)


def test_nothing_is_given_up_of_what_a_block_costs_inside_its_box():
    """Targets a thousand steps outside: searches go below a part of what rounding adds, not of the whole."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        m, count = 5, 4
        part = gram(rng, m, "regular").matrix
        levels = np.sort(rng.standard_normal((m, count)), axis=1)
        t = 1000.0 * rng.standard_normal(m)
        out = np.empty(m)
        base = box_minimum(m, part, t, levels, out)
        root = np.linalg.cholesky(part).T
        exact = lsq_linear(root, root @ t, (levels[:, 0], levels[:, -1]), tol=1e-14)
        slope = part @ (exact.x - t)
        ends = ((exact.x - levels[:, 0] < 1e-9) & (slope > 0)) | ((levels[:, -1] - exact.x < 1e-9) & (slope < 0))
        assert base == pytest.approx(2 * exact.cost, rel=1e-6)
        assert (out > 1.0).sum() <= ends.sum()
        assert (out[~ends] < 1.0).all()
        best = min((t - x) @ part @ (t - x) for x in map(np.array, itertools.product(*levels)))
        assert base <= best * (1 + 1e-9)
        claimed = lowered(best, base, 0.99)
        assert best - claimed == pytest.approx(0.01 * max(best - base, 0.0), abs=1e-9 * best)


def test_a_target_inside_its_box_costs_nothing_there():
    out = np.ones(2)
    assert box_minimum(2, np.eye(2), np.array([0.5, -0.5]), np.array([[-1.0, 1.0]] * 2), out) == 0.0
    assert (out == 0.0).all()


def test_blocks_at_the_clamped_start_prove_no_less_than_it_does():
    """(Hv)'(u - v) >= 0 over the box, so that D only adds to v'Hv where all searches end."""
    rng = np.random.default_rng(4)
    clipped = 0
    for _ in range(20):
        problems = [Problem(4.0 * p.weight, p.gram, p.grid) for p in chunk(rng, "even", rows=4)]
        layer = layer_module.long_layer(problems[0].gram)
        rows = quantized.Chunk(problems, layer)
        v = rows.clamped()
        plain = np.einsum("ij,ij->i", v @ layer.hessian, v)
        points = rows.points([None] * len(problems), v)
        found = rows.evaluate(v, points.index, 0.999, 100_000)
        assert (found.bound >= plain * (1 - 1e-3)).all()
        clipped += int((plain > 0.1 * points.errors).sum())
    assert clipped > 20


def test_clamped_inputs_prove_their_error():
    """v'Hv is below e of every point of the box, and its v proves it with D = 0."""
    rng = np.random.default_rng(2)
    some = 0
    for _ in range(50):
        n = 6
        h = gram(rng, n, "regular").matrix
        w = 2.0 * rng.standard_normal(n)
        low, high = -rng.uniform(0.2, 1, n), rng.uniform(0.2, 1, n)
        v = clamped(np.linalg.inv(h), w, low, high)
        value = v @ h @ v
        some += value > 0
        x = rng.uniform(low, high, (2000, n))
        errors = np.einsum("ij,jk,ik->i", w - x, h, w - x)
        assert value <= errors.min() * (1 + 1e-9)
        u = np.stack([low - w, high - w])
        slope = h @ v
        proven = -v @ slope + 2 * np.minimum(u[0] * slope, u[1] * slope).sum()
        assert proven == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert some > 40
