"""The hull of a pair against its definition: shares add up to x, and only the best supports have any."""

import numpy as np
import pytest
from pvq.solvers.relax.pieces import HullPieces, PairBlocks, pair, pieces_at, prices, single


def room(m, groups):
    return HullPieces(np.zeros((m, 3)), np.zeros((m, 2)), *np.empty((4, groups)))


def supports(r, block, theta):
    """Value r_S'B_SS^-1 r_S - |S| theta^2 and minimiser B_SS^-1 r_S of {}, {1}, {2}, {1, 2}."""
    both = np.linalg.solve(block, r)
    points = np.array([[0, 0], [r[0] / block[0, 0], 0], [0, r[1] / block[1, 1]], both])
    return points @ r - theta**2 * np.array([0, 1, 1, 2]), points


def test_every_piece_of_the_plane():
    rng = np.random.default_rng(1)
    met = set()
    for _ in range(4000):
        scale, theta, cosine = np.exp(rng.normal(size=2)), np.exp(rng.normal()), rng.uniform(-0.95, 0.95)
        block = np.outer(scale, scale) * [[1, cosine], [cosine, 1]]
        x = rng.normal(size=2) * np.exp(rng.normal()) * theta / scale
        k1, k12, k2, s1, s2, c, l1, l2, l12 = pair(x[0], x[1], block[0, 0], block[1, 1], block[0, 1], theta)
        r = np.array([[k1, k12], [k12, k2]]) @ x + theta * np.array([s1, s2])
        share = np.array([1 - l1 - l2 - l12, l1, l2, l12])
        value, point = supports(r, block, theta)
        used = share > 1e-9
        met.add(tuple(used))
        assert share.min() > -1e-12
        assert share @ point == pytest.approx(x, rel=1e-9, abs=1e-9 * np.abs(x).max())
        assert value[used].min() >= value.max() - 1e-9 * theta**2
        assert theta * (l1 + l2 + 2 * l12) == pytest.approx(s1 * x[0] + s2 * x[1] + c * theta, abs=1e-9 * theta)
    assert len(met) == 9  # all but the origin


def test_on_an_axis_a_pair_is_a_single_input():
    for x, theta in ((0.1, 1.0), (-0.1, 1.0), (3.0, 1.0), (0.0, 1.0)):
        k, s, c, share = single(x, 2.0, theta)
        assert pair(x, 0.0, 2.0, 1.0, 0.5, theta)[:7] == (k, 0.0, 0.0, s, 0.0, c, share)
        assert pair(0.0, x, 1.0, 2.0, 0.5, theta)[2:6] == (k, 0.0, s, c)


@pytest.mark.parametrize("pairs", [0, 3])
def test_prices_use_up_every_budget(pairs):
    rng = np.random.default_rng(pairs)
    group, keep = np.repeat([0, 1], 4), np.array([2, 1])
    d, e = rng.uniform(1, 2, 8), np.zeros(8)
    e[: 2 * pairs : 2] = rng.uniform(-0.7, 0.7, pairs)
    for _ in range(50):
        x = rng.normal(size=8)
        theta, found = np.full(2, np.abs(x).sum() * 2), room(8, 2)
        prices(x, PairBlocks(pairs, d, e, group, keep), theta, found)
        assert found.shares[:, 0].min() >= 0
        assert np.bincount(group, weights=found.shares[:, 0]) == pytest.approx(keep, abs=1e-6)


def test_few_non_zeros_have_no_price():
    theta, found = np.array([5.0]), room(4, 1)
    x, group = np.array([1.0, -2.0, 0.0, 0.0]), np.zeros(4, np.int64)
    blocks = PairBlocks(2, np.ones(4), np.zeros(4), group, np.array([3]))
    prices(x, blocks, theta, found)
    assert theta[0] < 1.0
    assert found.shares[:, 0].tolist() == [1, 1, 0, 0]
    pieces_at(x, blocks, theta, found)
    assert found.left[0] == 1
