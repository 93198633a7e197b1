"""From rows to a layer: the level that a sum of errors undercuts with given odds."""

from __future__ import annotations

import math

import numpy as np

from ..gram import FloatArray


def layer_level(t1: FloatArray, lam: FloatArray, log_odds: float) -> float:
    """T with P(sum of optima <= T) <= exp(log_odds), for independent rows.

    With P(opt_r <= t) <= exp(lam_r (t - t1_r)) for each row,

    T = [log delta + sum_r (mu t1_r + log(1 - mu / lam_r))] / mu for 0 < mu < min lam_r.

    Proof. opt_r is stochastically at least t1_r - E_r / lam_r with E_r exponential, so E exp(-mu opt_r) <=
    exp(-mu t1_r) / (1 - mu / lam_r); Markov's inequality for exp(-mu sum). mu depends on lam and delta alone here,
    so that its choice never costs anything.
    """
    least = float(lam.min())
    share = np.concatenate([np.geomspace(1e-6, 0.5, 200), 1 - np.geomspace(0.5, 1e-6, 200)])
    cost = (log_odds + np.array([np.log1p(-x * least / lam).sum() for x in share])) / (share * least)
    return float(t1.sum() + cost.max()) if math.isfinite(least) else -math.inf
