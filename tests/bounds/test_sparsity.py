import itertools

import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.sparsity import Sparsity

PATTERNS = [
    Sparsity.row(8, 3),
    Sparsity.nm(8, 2, 4),
    Sparsity.nm(8, 1, 2),
    Sparsity.blocks(8, 2, 2),
    Sparsity.row(8, 0),
]


def masks(pattern):
    for mask in map(np.array, itertools.product([False, True], repeat=8)):
        if pattern.allows(mask):
            yield mask


def test_number_of_allowed_masks():
    counts = [sum(1 for _ in masks(pattern)) for pattern in PATTERNS]
    row = 1 + 8 + 28 + 56
    nm = (1 + 4 + 6) ** 2
    blocks = 1 + 4 * 3 + 6 * 9  # non-empty subsets of a block of 2: 3
    assert counts == [row, nm, 3**4, blocks, 1]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_best_mask_is_allowed_and_best(pattern):
    rng = np.random.default_rng(0)
    for _ in range(20):
        score = rng.integers(0, 4, 8).astype(float)  # many ties
        best = pattern.best_mask(score)
        assert pattern.allows(best)
        assert score[best].sum() == max(score[mask].sum() for mask in masks(pattern))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_subset_keeps_its_place_in_groups_and_blocks(pattern):
    live = np.array([0, 1, 3, 4, 7])
    reduced = pattern.take(live)
    for mask in map(np.array, itertools.product([False, True], repeat=5)):
        full = np.zeros(8, bool)
        full[live] = mask
        assert reduced.allows(mask) == pattern.allows(full)


def test_bad_patterns():
    with pytest.raises(ProblemError, match="multiple of 4"):
        Sparsity.nm(10, 2, 4)
    with pytest.raises(ProblemError, match="0 <= N <= M"):
        Sparsity.nm(10, 6, 5)
    with pytest.raises(ProblemError, match="do not divide"):
        Sparsity.blocks(10, 3, 1)
    with pytest.raises(ProblemError, match="between 0 and 4"):
        Sparsity.row(4, 5)


def test_binding():
    assert Sparsity.row(4, 3).binding
    assert not Sparsity.row(4, 4).binding
    assert not Sparsity.nm(4, 2, 2).binding
