"""Where an error of 0 is reached by algebra, against the optimum."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.zero import Zero, rank_that_suffices, zero_without_shift
from pvq.solvers.brute import Brute


def stated(**words):
    """Two rows of eight inputs, H of rank 3; any three of its columns are independent."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 8))
    return state_problem(rng.standard_normal((2, 8)), a.T @ a, Setting(words.pop("method", "prune"), **words))


@pytest.mark.parametrize(
    ("words", "rank"),
    [
        ({"sparsity": 5 / 8}, 3),
        ({"sparsity": 6 / 8}, None),
        ({"sparsity": 5 / 8, "scope": "layer"}, 3),
        ({"sparsity": 6 / 8, "scope": "layer"}, None),
        ({"sparsity": 0.25, "block": 2}, 3),
        ({"sparsity": 0.5, "block": 2}, None),
        ({"sparsity": 5 / 8, "ridge": 0.1}, None),
    ],
    ids=str,
)
def test_as_many_as_the_rank_are_enough(words, rank):
    assert rank_that_suffices(stated(**words)) == rank


def test_other_problems_are_not_answered():
    assert rank_that_suffices(stated(sparsity=0.1, update=False)) is None
    assert rank_that_suffices(stated(nm=(3, 4))) is None
    assert rank_that_suffices(stated(method="quant", bits=4)) is None
    assert rank_that_suffices(stated(method="joint", bits=4, sparsity=0.1)) is None


def test_the_optimum_says_the_same():
    for sparsity, is_zero in ((5 / 8, True), (6 / 8, False)):
        problem = stated(sparsity=sparsity)
        errors = [Brute().solve(row).upper / row.reference for row in map(problem.row, range(2))]
        assert (max(errors) < 1e-12) if is_zero else (min(errors) > 1e-4)


def whole(weight, samples, method="quant", **words):
    """Samples of whole numbers: H without its shift is exact."""
    a = np.array(samples, float)
    words = {"bits": 3, "range": "none"} | words if method == "quant" else words
    weight = np.array(weight, float)
    problem = state_problem(weight, a.T @ a, Setting(method, **words))
    return zero_without_shift(problem, a.T @ a, len(weight))


TWICE = [[1, 1, 0], [0, 0, 2]]
"""Inputs 0 and 1 are the same."""


def test_every_row_must_reach_it():
    """Levels -4 ... 3: 1/2 + 1/2 = 1 + 0, but nothing adds up to 1/4."""
    reached, missed = [0.5, 0.5, 2], [0.5, 0.25, 2]
    assert whole([reached, reached], TWICE).answer is Zero.YES
    assert whole([reached, missed], TWICE).answer is Zero.NO
    assert whole([reached], TWICE).as_json() == {"answer": "yes", "bound_kind": "rigorous"}
    assert whole([[0.5, 0.5, 2.5]], TWICE).answer is Zero.NO  # the other input is alone


def test_rows_may_share_what_they_keep():
    """Each row needs two of its three inputs: one of the equal ones, and the other."""
    weight = [[1, 1, 2], [3, 1, 2]]
    assert whole(weight, TWICE, "prune", sparsity=1 / 3, scope="layer").answer is Zero.YES
    assert whole(weight, TWICE, "prune", sparsity=1 / 2, scope="layer").answer is Zero.NO
    assert whole([[1, -1, 2], [3, 1, 2]], TWICE, "prune", sparsity=1 / 2, scope="layer").answer is Zero.YES


def test_below_the_rank_arithmetic_decides_what_the_rank_does_not():
    """Rank 2: one of the inputs is enough only where the other two add up to nothing."""
    assert whole([[1, -1, 2]], TWICE, "prune", sparsity=2 / 3).answer is Zero.YES
    assert whole([[1, 1, 2]], TWICE, "prune", sparsity=2 / 3).answer is Zero.NO


def test_other_data_is_decided_by_the_numerical_rank_alone():
    rng = np.random.default_rng(1)
    a, w = rng.standard_normal((3, 8)), rng.standard_normal((2, 8))
    said = {}
    for name, setting in {
        "enough": Setting("prune", sparsity=5 / 8),
        "fewer": Setting("prune", sparsity=6 / 8),
        "grid": Setting("quant", bits=4),
    }.items():
        said[name] = zero_without_shift(state_problem(w, a.T @ a, setting), a.T @ a, 2)
    assert said["enough"].as_json() == {"answer": "yes", "bound_kind": "numerical"}
    assert said["fewer"].as_json() == said["grid"].as_json() == {"answer": "not decided", "bound_kind": "none"}


def test_without_a_shift_or_a_scale_nothing_is_said():
    w = np.ones((1, 2))
    assert zero_without_shift(state_problem(w, np.eye(2), Setting("quant", bits=2)), np.eye(2), 1) is None
    ones = np.ones((2, 2))
    free = state_problem(w, ones, Setting("quant", bits=2, range="optimal"), free_scale=True)
    assert zero_without_shift(free, ones, 1).answer is Zero.OPEN
