"""A sweep over the blocks of D against its definition: step by step, with a fresh inverse for each."""

from __future__ import annotations

import numpy as np
import pytest
from pvq.solvers.relax.pair_ascent import Gradient, ascend_pairs
from pvq.solvers.relax.pieces import PairBlocks
from pvq.solvers.relax.savings import CORRELATED


def coupled(d: np.ndarray, e: np.ndarray, pairs: int) -> np.ndarray:
    """D as a matrix."""
    full = np.diag(d)
    for i in range(0, 2 * pairs, 2):
        full[i, i + 1] = full[i + 1, i] = e[i]
    return full


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 7, 8, 12, 13, 22])
def test_every_block_takes_its_best_step_given_those_before_it(m: int) -> None:
    rng, complete = np.random.default_rng(m), 0
    for trial in range(20):
        pairs = int(rng.integers(0, m // 2 + 1))
        a = rng.normal(size=(m, 6 * m + 6))
        a = a @ a.T
        d, e = np.full(m, 0.3 * np.linalg.eigvalsh(a)[0]), np.zeros(m)
        e[0 : 2 * pairs : 2] = 0.3 * d[0 : 2 * pairs : 2]
        weights, cross, mu = rng.uniform(0.5, 1, m), 0.05 * rng.normal(size=m), 0.1 * d[0]
        least = 1e-14 * np.diag(a)
        if trial % 3 == 0:
            weights[rng.integers(m)] = 1e-9  # its step would be far below zero
        expected_d, expected_e = d.copy(), e.copy()
        compared = True
        for i in [*range(m - 1, 2 * pairs - 1, -1), *range(2 * pairs - 2, -1, -2)]:
            p = np.linalg.inv(a - coupled(expected_d, expected_e, pairs))
            if i >= 2 * pairs:
                expected_d[i] = max(expected_d[i] + 1 / p[i, i] - mu / weights[i], least[i])
                continue
            gradient = np.array([[weights[i], cross[i]], [cross[i], weights[i + 1]]])
            step = np.linalg.inv(p[i : i + 2, i : i + 2]) - mu * np.linalg.inv(gradient)
            n1, n2 = expected_d[i] + step[0, 0], expected_d[i + 1] + step[1, 1]
            n12 = expected_e[i] + step[0, 1]
            inside = min(n1 - least[i], n2 - least[i + 1]) >= 0 and n12 * n12 <= CORRELATED * n1 * n2
            if not inside or np.linalg.det(gradient) <= 0:
                compared = False  # a shorter step: only checked to stay inside, below
                break
            expected_d[i], expected_d[i + 1], expected_e[i] = n1, n2, n12
        blocks = PairBlocks(pairs, d, e, np.zeros(m, np.int64), np.ones(1, np.int64))
        ascend_pairs(np.linalg.inv(a - coupled(d, e, pairs)), blocks, Gradient(weights, cross), mu, least)
        complete += compared
        if compared:
            np.testing.assert_allclose(d, expected_d, rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(e, expected_e, rtol=1e-8, atol=1e-10)
        assert (d > 0.5 * least).all()  # d + (least - d) is rounded
        assert np.linalg.eigvalsh(a - coupled(d, e, pairs))[0] > 0
    assert complete >= 3
