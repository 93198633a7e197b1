"""The order by products is that of one input after the other, whatever is decided together."""

import numpy as np
import pytest
from pvq.bounds import order
from pvq.bounds.order import vblast_order
from pvq.solvers.bnb.factors import decision_order


def slowly(p):
    n = len(p)
    nothing = np.zeros(n)
    return decision_order(p, nothing, np.zeros((1, 1)), np.ones(1, np.int64), np.zeros(n, np.int64), np.ones(n))


@pytest.mark.parametrize("n", [1, 2, 31, 70])
@pytest.mark.parametrize("together", [1, 16, 256])
def test_the_order_is_that_of_one_input_after_the_other(monkeypatch, n, together):
    monkeypatch.setattr(order, "TOGETHER", together)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((2 * n, n)) @ (np.eye(n) + rng.standard_normal((n, n)))
        a *= 10.0 ** rng.uniform(-2, 2, n)
        p = np.linalg.inv(a.T @ a)
        p = (p + p.T) / 2
        assert (vblast_order(p) == slowly(p)).all()


def test_every_input_is_there_once_where_variances_tie():
    p = np.linalg.inv(np.eye(40) + 0.5)
    assert (np.sort(vblast_order(p)) == np.arange(40)).all()
