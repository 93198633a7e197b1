"""Layers that are not random weights, as a referee drew them: what is refused, how often, and what is not."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.volume import volume_model
from pvq.bounds.volume.relax import decision_order

ROWS, INPUTS, LAYERS = 200, 32, 12
SETTING = Setting("quant", bits=4, granularity="tensor", range="none")


def gram(rng, n=INPUTS):
    a = rng.standard_normal((4 * n, n)) @ (np.eye(n) + 0.3 * rng.standard_normal((n, n)))
    return a.T @ a / len(a)


def rounded(w, h, order):
    """Grid points of rows by rounding in an order, unit spacing."""
    back = order[::-1]
    lower = np.linalg.cholesky(h[np.ix_(back, back)])
    x, u = np.zeros_like(w), np.zeros_like(w)
    for k in reversed(range(len(order))):
        moved = u[:, back[k + 1 :]] @ lower[k + 1 :, k] / lower[k, k]
        x[:, back[k]] = np.clip(np.round(w[:, back[k]] + moved), -8, 7)
        u[:, back[k]] = w[:, back[k]] - x[:, back[k]]
    return x


def planted(rng, h, order):
    """Random rows, a quarter of them moved to half the error of the grid point that rounding in an order finds."""
    w = 2.0 * rng.standard_normal((ROWS, INPUTS))
    some = slice(0, ROWS // 4)
    x = rounded(w[some], h, order)
    w[some] = x + np.sqrt(0.5) * (w[some] - x)
    return w


def bfloat16(w):
    """The nearest numbers of 8 significant bits."""
    mantissa, exponent = np.frexp(w)
    return np.ldexp(np.round(mantissa * 256), exponent - 8)


def autoregressive(rng, h):
    """Rows whose neighbouring weights have correlation .95."""
    w = rng.standard_normal((ROWS, INPUTS))
    for i in range(1, INPUTS):
        w[:, i] = 0.95 * w[:, i - 1] + np.sqrt(1 - 0.95**2) * w[:, i]
    return 2.0 * w


LAWS = {
    "random": lambda rng, h: 2.0 * rng.standard_normal((ROWS, INPUTS)),
    "a quarter planted": lambda rng, h: planted(rng, h, decision_order(h)),
    "a quarter planted, another order": lambda rng, h: planted(rng, h, np.arange(INPUTS)),
    "bf16": lambda rng, h: bfloat16(2.0 * rng.standard_normal((ROWS, INPUTS))),
    "a mesh of a sixteenth": lambda rng, h: np.round(32.0 * rng.standard_normal((ROWS, INPUTS))) / 16 + 1 / 32,
    "AR(.95)": autoregressive,
    "a mesh of .93": lambda rng, h: 0.93 * np.round(2.0 / 0.93 * rng.standard_normal((ROWS, INPUTS))),
    "30 % zeros": lambda rng, h: 2.0 * rng.standard_normal((ROWS, INPUTS)) * (rng.random((ROWS, INPUTS)) > 0.3),
}


def refused(law):
    """How many of the layers are refused, and the reasons."""
    reasons = []
    for seed in range(LAYERS):
        rng = np.random.default_rng(seed)
        h = gram(rng)
        model = volume_model(state_problem(LAWS[law](rng, h), h, SETTING))
        reasons.append(model.refused)
    return [reason for reason in reasons if reason is not None]


@pytest.mark.parametrize("law", ["a quarter planted", "a mesh of .93", "30 % zeros"])
def test_refused_every_time(law):
    assert len(refused(law)) == LAYERS


def test_points_that_rounding_does_not_find_are_seen_in_some_layers_only():
    """That a layer was not refused is no evidence for the model."""
    found = refused("a quarter planted, another order")
    assert 0 < len(found) < LAYERS
    assert all("speaks against" in reason for reason in found)


@pytest.mark.parametrize("law", ["random", "bf16", "a mesh of a sixteenth", "AR(.95)"])
def test_not_refused(law):
    """Numbers of 8 bits are fine against the grid, and dependence of neighbours does not bend the remainders."""
    assert refused(law) == []
