"""Sorting: as numpy does it."""

import numpy as np
import pytest
from pvq.solvers.kernels.order import ascending, sort


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 33, 100])
@pytest.mark.parametrize("kinds", [2, 1000])
def test_order(n, kinds):
    rng = np.random.default_rng(n + kinds)
    key, order = rng.integers(0, kinds, n).astype(float), np.empty(n, np.int64)
    key[: n // 3] = np.inf
    ascending(key, order)
    np.testing.assert_array_equal(order, np.argsort(key, kind="stable"))
    values = key.copy()
    sort(values)
    np.testing.assert_array_equal(values, np.sort(key))
