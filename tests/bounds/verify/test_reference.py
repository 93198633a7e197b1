"""The second checker: it agrees with the first, and neither proves more than is true."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from proof_cases import problem, proof
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.reference import NotEstablished, reference_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from two_checkers import count


def test_both_checkers_agree_and_prove_nothing_false():
    counts, wrong = count(range(400))
    assert wrong == []
    outcomes = Counter()
    for (_, outcome), number in counts.items():
        outcomes[outcome] += number
    assert outcomes["accepted by both"] > 80
    assert outcomes["refused by both"] > 80


def test_the_generator_repeats_itself():
    draws = [type(proof(rng, problem(rng))) for rng in map(np.random.default_rng, [3, 3])]
    assert draws[0] is draws[1]


def test_a_true_split_and_its_subtly_false_twin():
    row = Problem(np.ones(2), Gram(np.array([[2.0, 1.0], [1.0, 2.0]])), None, Sparsity.row(2, 1))
    assert reference_bound(row, Split(Below(np.ones(2)), np.zeros(2))) == 1  # the optimum is 1.5
    with pytest.raises(NotEstablished, match="semidefinite"):
        reference_bound(row, Split(Below(np.ones(2) * (1 + 1e-8)), np.zeros(2)))


@pytest.mark.parametrize("code", [[0, -1], [0, -1, -1, -1], [0, 0, -1, -1, -1], [2, -1, -1], [0, -1, -2], []])
def test_a_record_that_is_no_tree_is_refused(code):
    row = Problem(np.ones(2), Gram(np.array([[2.0, 1.0], [1.0, 2.0]])), None, Sparsity.row(2, 1))
    splits = (Split(Below(np.ones(2)), np.zeros(2)),)
    assert reference_bound(row, Tree(np.array([0, -1, -1]), splits)) >= 1
    with pytest.raises(NotEstablished):
        reference_bound(row, Tree(np.array(code, np.int64), splits))


@pytest.mark.parametrize("seed", [2114, 3662, 5476])
def test_a_direction_that_takes_all_of_h_and_a_rounding_more_is_refused(seed):
    """H - floor pp' is 0 in float64 and below 0 in truth: the row of zeros is no proof."""
    row = problem(rng := np.random.default_rng(seed))
    cover = proof(rng, row)
    exact = Fraction(float(row.hessian[0, 0])) - Fraction(cover.floor) * Fraction(float(cover.p[0])) ** 2
    assert exact < 0
    for check, refusal in ((reference_bound, NotEstablished), (lower_bound, NotProven)):
        with pytest.raises(refusal, match="floor"):
            check(row, cover)
