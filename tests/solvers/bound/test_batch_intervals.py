"""Pruned rows at once where H has a near-null direction: intervals hold, are proven, and gain."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Cover, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import NotProven, lower_bound
from pvq.bounds.verify.reference import reference_bound
from pvq.solvers.base import Options
from pvq.solvers.bound.batch import intervals, pruned
from pvq.solvers.brute import Brute
from pvq.solvers.relax.near_null import first_cover, near_null

OPTIONS = Options(time_limit=None)
N = 8
PATTERNS = {"row": Sparsity.row(N, 3), "n:m": Sparsity.nm(N, 2, 4)}
LONG = Sparsity.row(32, 8)


def rows(seed, pattern, small=1e-4, count=4, most=2.0):
    """Rows of a Gram matrix whose smallest eigenvalue is far below the others."""
    rng, sparsity = np.random.default_rng(seed), PATTERNS.get(pattern, LONG)
    n = len(sparsity.unit)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    h = q @ np.diag([small, *(0.5 * (2 * most) ** rng.uniform(0.0, 1.0, n - 1))]) @ q.T
    gram = Gram.from_array((h + h.T) / 2)
    return [Problem(rng.standard_t(3, n), gram, None, sparsity) for _ in range(count)]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_intervals_hold_and_are_proven(pattern, own):
    with_intervals, without = [], []
    for seed in range(4):
        problems = rows(seed, pattern)
        layer = pruned.pruned_layer(problems)
        assert layer.intervals is not None
        found = pruned.bound_rows(problems, layer, OPTIONS, [None] * len(problems), own=own)
        used = [{id(split.below) for split in outcome.proof.splits} for outcome in found]
        assert max(map(len, used)) <= 1 + own  # the layer's D and the row's
        assert len(set.union(*used)) <= 1 + own * len(problems)
        for problem, outcome in zip(problems, found, strict=True):
            best = Brute().solve(problem).upper
            assert outcome.lower <= best * (1 + 1e-9)
            assert best <= problem.error(outcome.x) * (1 + 1e-9)
            proven = lower_bound(problem, outcome.proof)
            if outcome.lower > 0:
                assert proven == pytest.approx(outcome.lower, rel=1e-4)
            assert proven <= best
            with_intervals.append(outcome.lower / best)
            plain = Split(Below(1e-4 * np.ones(N) / 2), outcome.proof.splits[0].v)
            without.append(max(0.0, lower_bound(problem, plain)) / best)
    assert np.mean(with_intervals) > 0.3 > 3 * np.mean(without)


def test_a_direction_of_one_input_holds_nothing_else_down():
    """As a decoder's first inputs to its feed-forward part: one of them is next to 0, and D is good beside it."""
    shares, apart = [], 0
    for seed in range(6):
        spread = rows(seed, "row", small=0.5)
        scale = np.ones(N)
        scale[seed] = 1e-4
        gram = Gram.from_array(scale[:, None] * spread[0].hessian * scale)
        values = np.linalg.eigvalsh(gram.matrix)
        apart += values[1] > 1e4 * values[0]
        assert near_null(gram) is None
        problems = [replace(problem, gram=gram) for problem in spread]
        layer = pruned.pruned_layer(problems)
        assert layer.intervals is None
        for problem, outcome in zip(
            problems, pruned.bound_rows(problems, layer, OPTIONS, [None] * 4), strict=True
        ):
            best = Brute().solve(problem).upper
            assert outcome.lower <= best * (1 + 1e-9)
            assert lower_bound(problem, outcome.proof) == pytest.approx(outcome.lower, rel=1e-4)
            shares.append(outcome.lower / best)
    assert apart == 6
    assert np.mean(shares) > 0.3


def test_both_checkers_agree():
    problems = rows(7, "row", count=2)
    layer = pruned.pruned_layer(problems)
    for problem, outcome in zip(problems, pruned.bound_rows(problems, layer, OPTIONS, [None, None]), strict=True):
        assert lower_bound(problem, outcome.proof) <= reference_bound(problem, outcome.proof)


def test_a_cover_that_leaves_something_out_proves_less():
    """Fewer intervals, a D that is too large, another direction with this D: never above the optimum."""
    fell = refused = 0
    for seed in range(3):
        problems = rows(seed, "row")
        layer = pruned.pruned_layer(problems)
        for problem, outcome in zip(
            problems, pruned.bound_rows(problems, layer, OPTIONS, [None] * 4), strict=True
        ):
            cover, best = outcome.proof, Brute().solve(problem).upper
            whole = lower_bound(problem, cover)
            fell += (
                lower_bound(problem, Cover(cover.p, cover.floor, cover.edges[1:-1], cover.splits[1:-1])) < whole
            )
            large = Below(1.5 * cover.splits[0].below.d)
            others = [
                Cover(0.3 * cover.p, cover.floor, cover.edges, cover.splits),
                Cover(cover.p, 3 * cover.floor, cover.edges, cover.splits),
                Cover(cover.p, cover.floor, cover.edges, tuple(Split(large, s.v) for s in cover.splits)),
            ]
            for other in others:
                try:
                    assert lower_bound(problem, other) <= best
                except NotProven:
                    refused += 1
            assert lower_bound(problem, cover) == whole
    assert fell > 6
    assert refused > 12


def test_what_is_known_of_one_matrix_is_not_taken_for_another():
    """The same D and direction below another H: D is tested against that one."""
    problem = rows(1, "row", count=1)[0]
    layer = pruned.pruned_layer([problem])
    (outcome,) = pruned.bound_rows([problem], layer, OPTIONS, [None])
    assert lower_bound(problem, outcome.proof) > 0
    smaller = replace(problem, gram=Gram.from_array(0.2 * problem.hessian))
    with pytest.raises(NotProven):
        lower_bound(smaller, outcome.proof)


def test_a_stopped_clock_still_covers_everything():
    problems = rows(2, "row")
    layer = pruned.pruned_layer(problems)
    stopped = Options(time_limit=0.0)
    for problem, outcome in zip(problems, pruned.bound_rows(problems, layer, stopped, [None] * 4), strict=True):
        reach = np.sqrt(problem.error(outcome.x) / near_null(problem.gram).floor)
        assert outcome.proof.edges[0] <= -reach
        assert reach <= outcome.proof.edges[-1]
        assert {id(split.below) for split in outcome.proof.splits} == {id(layer.below)}
        assert lower_bound(problem, outcome.proof) <= Brute().solve(problem).upper


def test_a_row_gains_by_a_diagonal_of_its_own(monkeypatch):
    """Its bound is no less than with the layer's D alone, and more on the whole."""
    gains = []
    for seed in range(3):
        problems = rows(seed, "long", count=6, most=50.0)
        layer = pruned.pruned_layer(problems)
        own = pruned.bound_rows(problems, layer, OPTIONS, [None] * 6)
        with monkeypatch.context() as patch:
            patch.setattr(intervals, "nearer", lambda *_: None)
            shared = pruned.bound_rows(problems, layer, OPTIONS, [None] * 6)
        for problem, one, other in zip(problems, own, shared, strict=True):
            assert lower_bound(problem, one.proof) == pytest.approx(one.lower, rel=1e-4)
            assert {id(split.below) for split in other.proof.splits} == {id(layer.below)}
            gains.append(one.lower / other.lower)
    assert min(gains) > 0.999
    assert np.mean(gains) > 1.015


def test_the_interval_around_0_gives_up_a_part_of_what_the_row_has():
    """Where the bound is a hundredth of the upper end, .006 of that would be most of it."""
    direction = near_null(rows(0, "row")[0].gram)
    few, many = first_cover(1.0, 0.5, direction), first_cover(1.0, 0.01, direction)
    width = many[0][1] - many[0][0]
    assert width**2 / 4 == pytest.approx(0.02 * 0.01)
    assert few[0] == first_cover(1.0, 0.0, direction)[0]
    assert len(few) < len(many) <= len(few) + 4
    edges = sorted(many)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(edges))
    assert edges[0][0] == -edges[-1][1] == first_cover(1.0, 0.5, direction)[-1][0]


def test_a_row_without_error_has_no_intervals():
    problems = rows(3, "row")
    kept = replace(problems[0], weight=np.where(np.arange(N) < 3, problems[0].weight, 0.0))
    layer = pruned.pruned_layer(problems)
    first, second = pruned.bound_rows([kept, problems[1]], layer, OPTIONS, [kept.weight, None])
    assert first.lower == 0
    assert isinstance(second.proof, Cover)
