"""Where pruning reaches an error of 0 by algebra, against the optimum."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.zero import rank_that_suffices
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
