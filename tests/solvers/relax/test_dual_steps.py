"""Coordinate steps on the dual: they raise the bound, and what forcing an input adds holds for every mask."""

from itertools import combinations

import numpy as np
import pytest
from pvq.solvers.relax.dual_steps import best_step, dual_steps
from pvq.solvers.relax.pieces import PairBlocks
from pvq.solvers.relax.savings import Savings, losses, no_savings, savings

NO_ROUNDING = 1e-9
"""Relative: these problems have six inputs and condition numbers of 1e6 at most."""


def node(seed: int, n: int = 6, pairs: int = 2):
    """(A, b, c, blocks, Q, P) of a random node, ill-conditioned in every third case."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n + 3)) * (10.0 ** rng.uniform(-2, 0, n + 3) if seed % 3 == 0 else 1.0)
    a = x @ x.T + 1e-6 * np.eye(n)
    d = np.zeros((n, n))
    for i in range(0, 2 * pairs, 2):
        u = rng.normal(size=2)
        d[i : i + 2, i : i + 2] = np.outer(u, u) * 0.5 + np.diag(u * u)
    d[range(2 * pairs, n), range(2 * pairs, n)] = rng.uniform(0.1, 1, n - 2 * pairs)
    d *= rng.uniform(0.3, 0.99) / np.linalg.eigvals(np.linalg.solve(a, d)).real.max()
    e = np.array([d[i, i + 1] if i % 2 == 0 and i < 2 * pairs else 0.0 for i in range(n)])
    w, keep = rng.normal(size=n), int(rng.integers(1, n))
    blocks = PairBlocks(pairs, np.diag(d).copy(), e, np.zeros(n, np.int64), np.array([keep]))
    q = a - d
    return a, a @ w, float(w @ a @ w), blocks, q, np.linalg.inv(q)


def bound_at(q, b, c, blocks, v) -> tuple[float, Savings, np.ndarray]:
    """The bound of v, its savings and b - Qv."""
    saved, r = no_savings(len(b)), b - q @ v
    savings(blocks, r, np.zeros(len(b)), saved)
    return float(c - v @ q @ v - np.sort(saved.increments)[-int(blocks.keep[0]) :].sum()), saved, r


def errors(a, b, c, keep: int) -> dict[tuple[int, ...], float]:
    """The error of every mask."""
    every = [s for k in range(keep + 1) for s in combinations(range(len(b)), k)]
    return {s: c - b[list(s)] @ np.linalg.solve(a[np.ix_(s, s)], b[list(s)]) if s else c for s in every}


@pytest.mark.parametrize("seed", range(60))
def test_a_step_is_the_best_one_or_at_least_none_that_lowers_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v, p, f0, f1, s1, c1 = rng.normal(), rng.uniform(0.1, 3), *rng.normal(size=3), rng.uniform(0.1, 2)
    f2, s2, c2 = (*rng.normal(size=2), c1 * rng.uniform(1, 3)) if seed % 2 else (-np.inf, 0.0, c1)

    def value(t):
        return (
            2 * t * v
            + t * t * p
            + np.maximum(f0, np.maximum(f1 - 2 * t * s1 + t * t * c1, f2 - 2 * t * s2 + t * t * c2))
        )

    found, grid = value(best_step(v, p, f0, f1, s1, c1, f2, s2, c2)), value(np.linspace(-20, 20, 400_001))
    assert found <= value(0.0) + 1e-12
    if seed % 2 == 0:  # two quadratics: no third one lies between
        assert found <= grid.min() + 1e-6


@pytest.mark.parametrize("seed", range(40))
def test_steps_raise_the_bound_and_never_above_the_least_error(seed: int) -> None:
    a, b, c, blocks, q, p = node(seed)
    rng = np.random.default_rng(seed)
    v = np.linalg.solve(a, b) * rng.uniform(0, 1, len(b))
    least = min(errors(a, b, c, int(blocks.keep[0])).values())
    r, before = b - q @ v, bound_at(q, b, c, blocks, v)[0]
    increments = bound_at(q, b, c, blocks, v)[1].increments
    theta = np.array([np.sqrt(np.sort(increments)[-int(blocks.keep[0])])])
    dual_steps(p, blocks, theta, v, r, 50)
    after = bound_at(q, b, c, blocks, v)[0]
    np.testing.assert_allclose(r, b - q @ v, atol=1e-6 * np.abs(b).max())
    assert before <= after + NO_ROUNDING * c
    assert after <= least + NO_ROUNDING * c


@pytest.mark.parametrize("seed", range(120))
def test_what_forcing_an_input_adds_holds_for_every_mask(seed: int) -> None:
    a, b, c, blocks, q, p = node(seed)
    n, keep = len(b), int(blocks.keep[0])
    v = np.linalg.solve(a, b) * np.random.default_rng(seed).uniform(0, 1, n)
    if seed % 2:
        dual_steps(p, blocks, np.array([0.3 * np.sqrt(c)]), v, b - q @ v, 20)
    bound, saved, r = bound_at(q, b, c, blocks, v)
    ordered = np.sort(saved.increments)[::-1]
    last, first = ordered[keep - 1 : keep].copy(), ordered[keep : keep + 1].copy()
    inside, outside, plain_in, plain_out = (np.empty(n) for _ in range(4))
    losses(blocks, saved, last, first, v, r, np.diag(p).copy(), inside, outside)
    losses(blocks, saved, last, first, v, r, np.zeros(n), plain_in, plain_out)
    assert (inside >= plain_in).all()
    assert (outside >= plain_out).all()
    assert (outside > plain_out).any()
    every = errors(a, b, c, keep)
    for i in range(n):
        assert bound + inside[i] <= min(x for s, x in every.items() if i in s) + NO_ROUNDING * c
        assert bound + outside[i] <= min(x for s, x in every.items() if i not in s) + NO_ROUNDING * c
