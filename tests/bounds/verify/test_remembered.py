"""Terms that are made once for several budgets of a row: they are what they were, and of nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import remembered as module
from pvq.bounds.verify.remembered import leaf_terms, remembered
from pvq.bounds.verify.split import terms

N = 6
RNG = np.random.default_rng(0)
NONE, FIRST = np.zeros(N, bool), np.arange(N) == 0
ZERO, SOME = np.zeros(N), np.full(N, 1e-12)


def gram(seed):
    a = np.random.default_rng(seed).standard_normal((20, N))
    return Gram.from_array(a.T @ a / 20)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(other))


def test_terms_are_those_of_what_is_asked_for():
    grams, weights = [gram(0), gram(1)], RNG.standard_normal((2, N))
    split = Split(Below(np.full(N, 0.05)), 0.1 * RNG.standard_normal(N))
    cases = [
        (Problem(w, h, None, Sparsity.row(N, k)), split, pruned, eps, margin)
        for h in grams
        for w in weights
        for k in (2, 3)
        for pruned in (NONE, FIRST)
        for eps in (ZERO, SOME)
        for margin in (1.0, 4.0)
    ]
    cases += [(replace(cases[0][0], sparsity=Sparsity.row(N, 2, update=False)), split, NONE, ZERO, 1.0)]
    with remembered():
        for turn in range(2):  # each after any other, and after itself
            for case in cases if turn == 0 else reversed(cases):
                assert same(leaf_terms(*case), terms(*case))
                assert same(leaf_terms(*case), terms(*case))


def test_they_are_made_once_inside_and_forgotten(monkeypatch):
    made = []
    monkeypatch.setattr(module, "terms", lambda *case: made.append(case) or terms(*case))
    h, split = gram(0), Split(Below(np.full(N, 0.05)), np.ones(N))
    rows = [Problem(np.ones(N), h, None, Sparsity.row(N, k)) for k in (1, 2, 3)]
    for row in rows:
        leaf_terms(row, split, FIRST, ZERO, 1.0)
    assert len(made) == 3
    for _ in range(2):
        with remembered():
            for row in rows:
                leaf_terms(row, split, FIRST, ZERO, 1.0)
    assert len(made) == 5


@pytest.mark.parametrize("numbers", [0, 4 * N])
def test_no_more_is_remembered_than_there_is_room_for(monkeypatch, numbers):
    made = []
    monkeypatch.setattr(module, "NUMBERS", numbers)
    monkeypatch.setattr(module, "terms", lambda *case: made.append(case) or terms(*case))
    row = Problem(np.ones(N), gram(0), None, Sparsity.row(N, 2))
    splits = [Split(Below(np.full(N, 0.05)), np.ones(N)) for _ in range(2)]
    with remembered():
        for _ in range(3):
            for split in splits:
                leaf_terms(row, split, FIRST, ZERO, 1.0)
    assert len(made) == (6 if numbers == 0 else 4)
