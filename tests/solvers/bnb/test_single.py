"""The search in float32: its slack against rational arithmetic, and the float64 search node for node."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.base import fallback_point
from pvq.solvers.bnb import enumeration, single_walk
from pvq.solvers.bnb.plan import layer_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.bnb.single import LOOSE, single_of
from pvq.solvers.bnb.single_walk import SingleWalk, walk_for
from pvq.solvers.bnb.walk import Walk
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.options import Options
from pvq.solvers.result import Reason

SHRINK = 1 - 1e-9


def row(rng, n, count, far=0.0, step=0.5, alike=0.0, samples=3.0):
    """A row with weights up to `far` spans outside an even grid, and inputs that share a part `alike`."""
    a = rng.standard_normal((int(samples * n), n)) + alike * rng.standard_normal((int(samples * n), 1))
    grid = Grid(np.arange(count)[None, :] * step, np.zeros(n, np.int64))
    w = rng.uniform(-far, 1 + far, n) * step * (count - 1)
    return Problem(w, Gram.from_array(a.T @ a), grid)


def searched(walk, upper, budget=10**9, threshold=None):
    """Error and point of the best leaf below a threshold, None if there is none, in pieces."""
    walk.take_root()
    threshold, x = SHRINK * upper if threshold is None else threshold, None
    for _ in range(100_000):
        done = walk.run(budget, upper, threshold)
        if walk.bounds[0] < upper:
            upper, x = float(walk.bounds[0]), walk.row.point(walk.picks)
            threshold = min(threshold, SHRINK * upper)
        if done:
            return upper, x
    raise AssertionError("the search does not end")


def in_single(problem):
    restated = restate(problem, layer_plan(problem))
    return SingleWalk(restated, SHRINK, single_of(restated))


def in_double(problem):
    return Walk(restate(problem, layer_plan(problem)), SHRINK)


@pytest.mark.parametrize("count", [2, 3, 16, 200])
@pytest.mark.parametrize("far", [0.0, 0.6, 20.0])
def test_the_best_of_all_points(count, far):
    rng = np.random.default_rng([count, int(10 * far)])
    for n in {2: (1, 5, 9), 3: (1, 6), 16: (1, 3), 200: (1, 2)}[count]:
        for _ in range(4):
            problem = row(rng, n, count, far)
            points = np.array(list(itertools.product(*(problem.grid.of(i) for i in range(n)))))
            u = points - problem.weight
            least = np.einsum("pi,ij,pj->p", u, problem.hessian, u).min()
            start = problem.error(fallback_point(problem)) * (1 + 1e-6)
            for budget in (1, 50, 10**6):
                walk = in_single(problem)
                _, x = searched(walk, start, budget)
                assert x is not None
                assert problem.error(x) <= least * (1 + 1e-7)


@pytest.mark.parametrize(("n", "count"), [(17, 16), (32, 4), (33, 2), (40, 4)])
@pytest.mark.parametrize("alike", [0.0, 3.0])
def test_a_threshold_barely_above_the_optimum(n, count, alike):
    """Rounding must not cut the way to the best point, of which nothing is left below the threshold but itself."""
    rng = np.random.default_rng([n, count, int(alike)])
    for k in range(6):
        problem = row(rng, n, count, (0.0, 0.3)[k % 2], 10.0 ** (k - 3), alike)
        walk = in_double(problem)
        optimum, best = searched(walk, problem.error(polish_grid(problem, fallback_point(problem))) * (1 + 1e-6))
        walk = in_single(problem)
        error, x = searched(walk, optimum * (1 + 1e-6), threshold=optimum * (1 + 1e-10))
        assert walk.is_single
        assert error == pytest.approx(optimum, rel=1e-12)
        assert np.array_equal(x, best)


def test_without_the_slack_best_points_are_lost():
    """What the test above would say of thresholds that are not raised."""
    rng, lost = np.random.default_rng(0), 0
    for _ in range(60):
        problem = row(rng, 20, 16, 0.0, alike=3.0)
        optimum, _ = searched(
            in_double(problem), problem.error(polish_grid(problem, fallback_point(problem))) * (1 + 1e-6)
        )
        restated = restate(problem, layer_plan(problem))
        single = single_of(restated)

        class Bare(type(single)):
            relative = 1.0

            def radius(self, threshold):
                return 0.0

        bare = Bare(**{name: getattr(single, name) for name in single.__dataclass_fields__})
        for walk, counts in ((SingleWalk(restated, SHRINK, bare), True), (in_single(problem), False)):
            _, x = searched(walk, optimum * (1 + 1e-6), threshold=optimum * (1 + 1e-10))
            assert counts or x is not None
            lost += counts and x is None
    assert lost > 5


@pytest.mark.parametrize(("n", "count", "far"), [(24, 4, 0.2), (30, 16, 0.0), (48, 2, 0.5)])
def test_the_tree_is_hardly_larger_than_in_double_precision(n, count, far):
    rng = np.random.default_rng(n)
    for _ in range(4):
        problem = row(rng, n, count, far)
        threshold = 0.9 * problem.error(polish_grid(problem, fallback_point(problem)))
        nodes = []
        for walk in (in_double(problem), in_single(problem)):
            walk.take_root()
            assert walk.run(10**8, math.inf, threshold)
            nodes.append(walk.nodes)
        assert nodes[0] <= nodes[1] <= 1.02 * nodes[0] + 100


def test_centres_are_rounded_by_no_more_than_is_said():
    """Paths of random decisions, with product and sum rounded apart, against rational numbers."""
    rng = np.random.default_rng(1)
    for k in range(12):
        n, count = 14, (2, 16, 200)[k % 3]
        problem = row(rng, n, count, (0.0, 5.0)[k % 2], alike=float(k % 2) * 3)
        restated = restate(problem, layer_plan(problem))
        single, (pivot, slope, _) = single_of(restated), restated.factors
        threshold = problem.error(polish_grid(problem, fallback_point(problem)))
        limit = LOOSE * threshold
        exact = [Fraction(w) for w in restated.weight]
        centres = restated.weight.astype(np.float32)
        start = int(rng.integers(1, n + 1))  # decided in float64 above it, here exactly
        partial = 0.0
        far = (np.abs(restated.weight) + np.sqrt(limit * single.spread)) * 1.001
        a = (n - np.arange(n)) * 2.0 ** (np.ceil(np.log2(far)) - 25)
        carried = a + np.sqrt(limit) * single.lost
        for i in range(n - 1, -1, -1):
            s = float(exact[i]) if i >= start else float(centres[i])
            choices = [x for x in range(count) if partial + pivot[i] * (s - x) ** 2 < limit]
            if not choices:
                break
            x = choices[int(rng.integers(len(choices)))]
            partial += pivot[i] * (s - x) ** 2
            off = exact[i] - x if i >= start else Fraction(s) - x
            for j in range(i):
                exact[j] += Fraction(float(slope[i, j])) * off
                if i < start:
                    move = np.float32(single.slope[i, j] * np.float32(float(off)))
                    centres[j] = np.float32(move + centres[j])
            if i == start:
                centres[:start] = np.array([float(e) for e in exact[:start]], np.float32)
            if i <= start:
                pairs = zip(centres[:i], exact[:i], strict=True)
                lost = np.array([abs(float(Fraction(float(c)) - e)) for c, e in pairs])
                assert (np.abs(centres[:i]) < far[:i]).all()
                assert (lost <= carried[:i]).all()


def test_many_equal_points_are_left_to_double_precision():
    """Weights halfway between two values: every point has the same error, and none is better than the first."""
    n = 14
    grid = Grid(np.arange(4.0)[None], np.zeros(n, np.int64))
    for budget in (100, 10**6):
        walk = in_single(Problem(np.full(n, 0.5), Gram.from_array(np.eye(n)), grid))
        upper, x = searched(walk, n, budget)
        assert not walk.is_single
        assert upper == n / 4
        assert np.isin(x, (0, 1)).all()


def test_rows_that_float32_does_not_fit():
    rng = np.random.default_rng(2)
    problem = row(rng, 12, 16)
    restated = restate(problem, layer_plan(problem))
    threshold = problem.error(fallback_point(problem))
    assert isinstance(walk_for(restated, SHRINK, threshold, math.inf), SingleWalk)
    assert not isinstance(walk_for(restated, SHRINK, threshold, 1000), SingleWalk)
    for far in (0.0, math.inf, 1e-300 * threshold, threshold * 1e-12):  # too close: rounding is more than that
        assert not isinstance(walk_for(restated, SHRINK, far, math.inf), SingleWalk)
    away = replace(problem, weight=problem.weight + 1e8)
    restated = restate(away, layer_plan(away))
    assert not isinstance(walk_for(restated, SHRINK, away.error(fallback_point(away)), math.inf), SingleWalk)
    uneven = Problem(problem.weight, problem.gram, Grid(np.array([[0.0, 0.5, 2.0]]), np.zeros(12, np.int64)))
    assert single_of(restate(uneven, layer_plan(uneven))) is None
    singular = Problem(np.ones(3), Gram.from_array(np.ones((3, 3))), Grid(np.arange(3.0)[None], np.zeros(3, int)))
    restated = restate(singular, layer_plan(singular))
    assert not isinstance(walk_for(restated, SHRINK, 0.1, math.inf), SingleWalk)


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_through_the_search_have_the_same_result_and_a_proof(monkeypatch, threads):
    rng, made = np.random.default_rng(3), []
    monkeypatch.setattr(enumeration, "walk_for", lambda *a: made.append(walk_for(*a)) or made[-1])
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    monkeypatch.setattr(enumeration.GridSearch, "quick", lambda search, budget: Reason.NODES)
    monkeypatch.setattr(enumeration, "OPEN", 5)
    for n, count in ((20, 16), (26, 4), (34, 2)):
        problem, results = row(rng, n, count, 0.1, samples=1.3), []
        for least in (math.inf, 0):
            monkeypatch.setattr(single_walk, "LONG", least)
            options = Options(time_limit=None, threads=threads, prove=True)
            results.append(enumeration.solve_grid(problem, options, None))
            assert any(isinstance(walk, SingleWalk) for walk in made) == (least == 0)
            made.clear()
        double, single = results
        assert problem.error(single.x) == pytest.approx(problem.error(double.x), rel=1e-9)
        assert single.lower == pytest.approx(double.lower, rel=1e-6)
        assert double.proof is not None
        assert single.proof is not None
        assert single.proof.threshold == pytest.approx(double.proof.threshold, rel=1e-6)
