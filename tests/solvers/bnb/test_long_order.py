"""The order of long rows is the one of short rows, whatever is decided together."""

import numpy as np
import pytest
from pvq.solvers.bnb import long_order
from pvq.solvers.bnb.factors import decision_order
from pvq.solvers.bnb.long_order import long_vblast


def slowly(p):
    n = len(p)
    nothing = np.zeros(n)
    return decision_order(p, nothing, np.zeros((1, 1)), np.ones(1, np.int64), np.zeros(n, np.int64), np.ones(n))


@pytest.mark.parametrize("n", [1, 2, 31, 70])
@pytest.mark.parametrize("together", [1, 16, 256])
def test_the_order_is_that_of_one_input_after_the_other(monkeypatch, n, together):
    monkeypatch.setattr(long_order, "TOGETHER", together)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((2 * n, n)) @ (np.eye(n) + rng.standard_normal((n, n)))
        a *= 10.0 ** rng.uniform(-2, 2, n)
        p = np.linalg.inv(a.T @ a)
        p = (p + p.T) / 2
        assert (long_vblast(p) == slowly(p)).all()


def test_every_input_is_there_once_where_variances_tie():
    p = np.linalg.inv(np.eye(40) + 0.5)
    assert (np.sort(long_vblast(p)) == np.arange(40)).all()
