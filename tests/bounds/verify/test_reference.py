"""The second checker: it agrees with the first, and neither proves more than is true."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Cover, Enumeration, Order, Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.psd import defect
from pvq.bounds.verify.reference import Limits, NotEstablished, reference_bound
from pvq.bounds.verify.reference.leaf import Shared
from pvq.bounds.verify.reference.semidefinite import Shifted
from pvq.bounds.verify.row import NotProven, lower_bound


def test_a_true_split_and_its_subtly_false_twin():
    row = Problem(np.ones(2), Gram(np.array([[2.0, 1.0], [1.0, 2.0]])), None, Sparsity.row(2, 1))
    assert reference_bound(row, Split(Below(np.ones(2)), np.zeros(2))) == 1  # the optimum is 1.5
    a_bit_more = reference_bound(row, Split(Below(np.ones(2) * (1 + 1e-8)), np.zeros(2)))
    assert 1 - 1e-6 < a_bit_more <= 1  # t has taken off D what was too much
    with pytest.raises(NotEstablished, match="semidefinite"):
        reference_bound(row, Split(Below(np.full(2, 1.1)), np.zeros(2)))


@pytest.mark.parametrize("much", [0, 2.0**-100, 2.0**-70, 2.0**-58, 2.0**-52, 2.0**-40, 2.0**-30])
def test_what_is_taken_off_is_the_least_multiple_that_will_do(much):
    """H - D has the eigenvalues 2 + much and -much: t S lacks no more than a multiple of 2^-60."""
    h = Gram(np.array([[1.0, 1.0], [1.0, 1.0]]))
    shifted = Shifted(h.matrix, Below(np.full(2, much)), None, Limits())
    assert shifted.s == [1, 1]
    assert much <= shifted.eps([0, 1])[0] < Fraction(much) + Fraction(1, 2**60)
    assert shifted.eps([0]) == [0, 0]  # what a leaf has pruned needs nothing
    floating = defect(h.matrix - np.diag(np.full(2, much)), 2.0**-53 * np.abs(h.matrix))
    assert all(Fraction(float(e)) >= e2 for e, e2 in zip(floating, shifted.eps([0, 1]), strict=True))


def test_limits_hold():
    row = Problem(np.full(12, 0.4), Gram(np.eye(12)), Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(12, np.int64)))
    search = Enumeration(Order(np.arange(12), np.zeros((13, 12))), 1.9)
    for limits, words in ((Limits(nodes=100), "within 100 nodes"), (Limits(1e-9), "within 1e-09 s")):
        with pytest.raises(NotEstablished, match=words):
            reference_bound(row, search, shared=Shared(limits))
    assert reference_bound(row, search) == Fraction(1.9) < Fraction(0.4) ** 2 * 12
    long = Problem(np.zeros(300), Gram(np.eye(300)), None, Sparsity.row(300, 1))
    with pytest.raises(NotEstablished, match="more than 256 inputs"):
        reference_bound(long, Split(Below(np.zeros(300)), np.zeros(300)))


@pytest.mark.parametrize(
    "code",
    [
        [0, -1],
        [0, -1, -1, -1],
        [0, 0, -1, -1, -1],
        [2, -1, -1],
        [0, -1, -2],
        [],
        [0, 1, -2, -1, -1],
    ],
)
def test_a_record_that_is_no_tree_is_refused(code):
    """The last one names a split that is not there where no pattern comes, as both units are kept."""
    row = Problem(np.ones(2), Gram(np.array([[2.0, 1.0], [1.0, 2.0]])), None, Sparsity.row(2, 1))
    splits = (Split(Below(np.ones(2)), np.zeros(2)),)
    for check, refusal in ((reference_bound, NotEstablished), (lower_bound, NotProven)):
        for true in ([0, -1, -1], [0, 1, -1, -1, -1]):
            assert check(row, Tree(np.array(true), splits)) >= 1 - 1e-12
        with pytest.raises(refusal):
            check(row, Tree(np.array(code, np.int64), splits))


def test_a_direction_that_takes_all_of_h_and_a_rounding_more_is_refused():
    """H - floor pp' is 0 in float64 and below 0 in truth: the row of zeros is no proof."""
    p, floor = np.array([0.7]), 0.3
    h = floor * (p[0] * p[0])
    assert Fraction(h) < Fraction(floor) * Fraction(p[0]) ** 2
    row = Problem(np.ones(1), Gram(np.array([[h]])), None, Sparsity.row(1, 0))
    split = Split(Below(np.zeros(1)), np.zeros(1))
    cover = Cover(p, floor, [-1.0, 1.0], (split,))
    for check, refusal in ((reference_bound, NotEstablished), (lower_bound, NotProven)):
        with pytest.raises(refusal, match="floor"):
            check(row, cover)
        assert check(row, Cover(p, floor * 0.9, [-1.0, 1.0], (split,))) <= h
