"""The largest values of every group against sorting them."""

from __future__ import annotations

import numpy as np
from pvq.solvers.relax.node_perspective import largest, select


def test_the_largest_of_every_group_are_those_of_a_sort() -> None:
    rng = np.random.default_rng(0)
    for trial in range(600):
        count, groups = int(rng.integers(1, 40)), int(rng.integers(1, 5))
        # every other trial has ties, some an infinite value
        values = rng.normal(size=count) if trial % 2 else rng.integers(0, 4, size=count).astype(float)
        if trial % 7 == 0:
            values[rng.integers(count)] = np.inf
        group, keep = rng.integers(0, groups, size=count), rng.integers(0, 8, size=groups)
        last, first, expected = np.empty(groups), np.empty(groups), 0.0
        total = largest(values, count, group, keep, last, first)
        for g in range(groups):
            ordered = np.sort(values[group == g])[::-1]
            k = min(int(keep[g]), len(ordered))
            expected += ordered[:k].sum()
            assert last[g] == (ordered[k - 1] if k else 0.0)
            assert first[g] == (ordered[k] if len(ordered) > k else 0.0)
        assert total == expected or abs(total - expected) <= 1e-12 * count


def test_selection_ends_where_nothing_can_be_compared() -> None:
    values = np.full(10, np.nan)
    select(values, 0, 5, 10)
    assert np.isnan(values).all()
