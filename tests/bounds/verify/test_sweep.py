"""The search over equal steps, from the first node on: it misses no point, and shows nothing more."""

import math

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Order
from pvq.bounds.verify import enumeration
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.exact import exact_upper_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.sweep import BATCH
from pvq.solvers.brute import Brute

from row_cases import KINDS, gram, order_of


@pytest.fixture(autouse=True)
def swept(monkeypatch):
    """(threshold it began with, what it ended with, nodes) of every sweep."""
    calls, sweep = [], enumeration.sweep

    def noted(*given):
        found = sweep(*given)
        calls.append((given[5], *found))
        return found

    monkeypatch.setattr(enumeration, "FIRST", 0)
    monkeypatch.setattr(enumeration, "sweep", noted)
    return calls


def whole(n, top, own=False):
    """The values 0 ... top, or of each input others."""
    scale = np.linspace(1.0, 0.7, n)[:, None] if own else np.ones((1, 1))
    shift = np.linspace(-3.0, 2.0, n)[:, None] if own else np.zeros((1, 1))
    return Grid(scale * np.arange(top + 1.0) + shift, np.arange(n) if own else np.zeros(n, np.int64))


def just_above(problem, best, order):
    """What a threshold a little above the optimum proves: never more than the optimum."""
    for factor in (1 + 1e-9, 1.001, 2.0, 1e6):
        with limited(None, 10**9):
            found = lower_bound(problem, Enumeration(order, best * factor))
        assert found <= best
        assert found >= best * (1 - 1e-8)
    assert lower_bound(problem, Enumeration(order, best * (1 - 1e-9))) >= best * (1 - 2e-9)


@pytest.mark.parametrize("top", [1, BATCH - 2, BATCH - 1, BATCH, 2 * BATCH - 1, 2 * BATCH, 4 * BATCH - 1])
def test_the_best_value_is_found_wherever_it_is_in_a_batch(top, swept):
    """One input, all of whose values are children of one node: first, last, on both sides of a batch's end."""
    order, h = Order(np.arange(1), np.zeros((2, 1))), Gram.from_array(np.array([[2.0]]))
    for k in range(top + 1):
        problem = Problem(np.array([k + 0.25]), h, whole(1, top))
        found = lower_bound(problem, Enumeration(order, 1e9), 1.0)
        assert 0.125 * (1 - 1e-8) < found <= 0.125
    assert [nodes for *_, nodes in swept] == [top + 1] * (top + 1)


@pytest.mark.parametrize("top", [1, 2, 15, 100, 255])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_two_to_four_inputs_without_diagonals(n, top, swept):
    """Nothing is cut but by what is decided, and every level's heap is filled and emptied many times."""
    if (top + 1) ** n > 20_000:
        top = int(20_000 ** (1 / n)) - 1
    rng = np.random.default_rng(n * top)
    for own in (False, True):
        grid = whole(n, top, own)
        low, high = grid.levels.min(axis=1), grid.levels.max(axis=1)
        weight = rng.uniform(low[grid.group] - 1, high[grid.group] + 1)
        problem = Problem(weight, gram(rng, n, "regular"), grid)
        just_above(problem, Brute().solve(problem).upper, Order(rng.permutation(n), np.zeros((n + 1, n))))
    assert len(swept) == 10


@pytest.mark.parametrize("n", [*range(1, 11), 12])
def test_every_number_of_inputs_up_to_two_lines(n, swept):
    """Few values: children come from more than one node, four at a time with up to three that are none."""
    rng = np.random.default_rng(n)
    for bits in (1, 2) if n <= 6 else (1,):
        problem = Problem(
            rng.uniform(-0.5, 2**bits, n), gram(rng, n, "regular"), whole(n, 2**bits - 1, own=n % 2 == 0)
        )
        best = Brute().solve(problem).upper
        just_above(problem, best, order_of(problem.hessian))
    assert len(swept) >= 5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dead"])
def test_no_more_than_the_optimum_of_any_matrix(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(20):
        n = int(rng.integers(2, 7))
        problem = Problem(
            rng.standard_normal(n),
            gram(rng, n, kind),
            Grid((np.arange(4.0) - 2)[None] * 0.4, np.zeros(n, np.int64)),
        )
        best = exact_upper_bound(problem, Brute().solve(problem).x)
        for threshold in (best * (1 - 1e-9), best * (1 + 1e-6), best * 3 + 1e-3 * problem.reference):
            if threshold <= 0:
                continue
            try:
                assert lower_bound(problem, Enumeration(order_of(problem.hessian), threshold), 1.0) <= best
            except NotProven:
                assert kind in ("singular", "duplicated", "ill-conditioned")


def test_the_same_nodes_and_the_same_bound_as_one_after_the_other(monkeypatch, swept):
    rng, visited, visit = np.random.default_rng(3), [], enumeration.visit

    def noted(*given):
        found = visit(*given)
        visited.append(found)
        return found

    monkeypatch.setattr(enumeration, "visit", noted)
    for n in (9, 17, 24):
        inputs = rng.standard_normal((4 * n, n)) @ rng.standard_normal((n, n))
        problem = Problem(
            rng.standard_normal(n),
            Gram.from_array(inputs.T @ inputs / len(inputs)),
            Grid((np.arange(16.0) - 8)[None] * 0.3, np.zeros(n, np.int64)),
        )
        order = Order(order_of(problem.hessian).order, np.zeros((n + 1, n)))
        rounded = np.clip(np.rint(problem.weight / 0.3), -8, 7) * 0.3
        monkeypatch.setattr(enumeration, "FIRST", 10**9)
        best = lower_bound(problem, Enumeration(order, problem.error(rounded)))
        for part in (0.5, 0.9, 1 - 1e-7, 1.001, 2.0):
            proof = Enumeration(order, part * best)
            monkeypatch.setattr(enumeration, "FIRST", 0)
            many = lower_bound(problem, proof)
            monkeypatch.setattr(enumeration, "FIRST", 10**9)
            assert math.isclose(lower_bound(problem, proof), many, rel_tol=1e-9)
            began, ended, nodes = swept[-1]
            assert ended == visited[-1][0] or math.isclose(ended, visited[-1][0], rel_tol=1e-12)
            if ended == began:  # no point was found: the order does not matter
                assert nodes == visited[-1][1]
    assert any(ended == began and nodes > 1000 for began, ended, nodes in swept)
    assert any(ended < began for began, ended, _ in swept)


def test_a_search_that_finds_a_point_goes_on_one_after_the_other(monkeypatch, swept):
    monkeypatch.setattr(enumeration, "FIRST", 200)
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal(12), gram(rng, 12, "regular"), whole(12, 1))
    best = Brute().solve(problem).upper
    assert lower_bound(problem, Enumeration(order_of(problem.hessian), 1e3 * best)) <= best
    assert swept == []


@pytest.mark.parametrize("power", [-330, -120, 120, 330])
def test_numbers_far_from_one_are_left_to_the_other_search(power, swept):
    rng, size = np.random.default_rng(1), 2.0**power
    near = gram(rng, 4, "regular")
    problem = Problem(rng.standard_normal(4), Gram.from_array(near.matrix * size), whole(4, 3))
    best = Brute().solve(problem).upper
    assert best * (1 - 1e-8) <= lower_bound(problem, Enumeration(order_of(near.matrix), 2 * best)) <= best
    assert swept == []


def test_a_sweep_is_ended_by_nodes_and_by_the_clock():
    n = 40
    problem = Problem(np.full(n, 0.4), Gram.from_array(np.eye(n)), whole(n, 2))
    proof = Enumeration(Order(np.arange(n), np.zeros((n + 1, n))), 6.3)
    with limited(None, 10_000), pytest.raises(NotProven, match="cannot be repeated within 10,000 nodes"):
        lower_bound(problem, proof)
    with limited(0.5, 10**15), pytest.raises(NotProven, match=r"not established within 0.5 s"):
        lower_bound(problem, proof)
