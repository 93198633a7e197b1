"""The multiple-choice knapsack against all choices there are."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from pvq.solvers.allocate import knapsack
from pvq.solvers.allocate.knapsack import least


def by_hand(values, costs, budget):
    """The least sum over every choice that fits; None where none does."""
    found = None
    for picks in itertools.product(*(range(len(row)) for row in values)):
        if sum(row[j] for row, j in zip(costs, picks, strict=True)) <= budget:
            total = sum(row[j] for row, j in zip(values, picks, strict=True))
            found = total if found is None else min(found, total)
    return found


def random_problem(seed):
    """Few items with few options: as drawn, with many ties, over many magnitudes, or with a trend."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    values, costs = [], []
    for _ in range(rng.integers(1, 6)):
        count = rng.integers(1, 6)
        cost = rng.integers(1, 4 if kind == 1 else 10**6, size=count)
        value = rng.integers(0, 4, size=count) / 2 if kind == 1 else rng.random(count)
        if kind == 2:
            value = value * 10.0 ** rng.integers(-160, 140, size=count)
        if kind == 3:
            value = value * 4.0 ** -(cost / 1e5)
        values.append([Fraction(float(v)) for v in value])
        costs.append([int(c) for c in cost])
    low, high = sum(map(min, costs)), sum(map(max, costs))
    return values, costs, int(rng.integers(low - 1, high + 2))


@pytest.mark.parametrize("seed", range(300))
def test_the_choice_is_the_best_of_all(seed):
    values, costs, budget = random_problem(seed)
    found, best = least(values, costs, budget), by_hand(values, costs, budget)
    if best is None:
        assert found is None
        return
    assert found.value == found.bound == best
    assert sum(row[j] for row, j in zip(values, found.picks, strict=True)) == best
    assert sum(row[j] for row, j in zip(costs, found.picks, strict=True)) <= budget


@pytest.mark.parametrize("seed", range(100))
def test_the_lagrangian_bound_holds_without_the_proof(seed):
    """A proof that is given up leaves a choice that fits and a bound that no choice gets below."""
    values, costs, budget = random_problem(seed)
    best = by_hand(values, costs, budget)
    found = least(values, costs, budget, states=0)
    if best is None:
        assert found is None
        return
    assert found.bound <= best <= found.value


def test_the_proof_corrects_a_finder_that_is_wrong(monkeypatch):
    """Whatever HiGHS says: a choice that does not fit, the worst one, or none."""
    wrong = {
        "nothing": lambda items, room: None,
        "the first": lambda items, room: [0] * len(items),
        "the dearest": lambda items, room: [int(np.argmax([o.cost for o in row])) for row in items],
    }
    asked = 0
    for finder in wrong.values():

        def counted(items, room, finder=finder):
            nonlocal asked
            asked += 1
            return finder(items, room)

        monkeypatch.setattr(knapsack, "_highs", counted)
        for seed in range(60):
            values, costs, budget = random_problem(seed)
            found, best = least(values, costs, budget), by_hand(values, costs, budget)
            assert (found and found.value) == best
            assert found is None or found.is_best
    assert asked > 30


def test_large_problems_are_closed_too():
    """60 items with 15 options each whose errors fall by 6 dB a bit, as layers do; and with exact ties."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(100, 400_000, size=60)
    costs = [[int(size * b) for b in range(2, 17)] for size in sizes]
    scale = 10.0 ** rng.normal(size=60)
    values = [[Fraction(float(s * 4.0**-b * (0.7 + 0.6 * rng.random()))) for b in range(2, 17)] for s in scale]
    found = least(values, costs, int(sizes.sum()) * 4)
    assert found.is_best
    tied = least([values[0]] * 60, [costs[0]] * 60, costs[0][0] * 135 + 1)
    assert tied.is_best
