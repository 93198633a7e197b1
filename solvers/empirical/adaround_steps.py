"""Compiled Adam steps of AdaRound."""

from __future__ import annotations

import numpy as np
from numba import njit

STRETCH, OFFSET = 1.2, -0.1  # zeta - gamma and gamma of the rectified sigmoid
LEARNING_RATE = 0.05
DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults
# lambda in units of e(RTN) / n: at 1 many inputs of real layers were still undecided in the end, at 10 hardly any
REGULARISER = 10.0
WARM_START = 0.2
BETA_FIRST, BETA_LAST = 20.0, 2.0


@njit(cache=True, nogil=True)
def adam_steps(h, weight, low, high, unit, v, momentum, square, first, end, iterations):  # type: ignore[no-untyped-def]
    """Iterations first ... end - 1 on v, momentum and square (n,), in place; whether every input is decided.

    Gradient of e(x(v)) / unit + lambda sum (1 - |2 h - 1|^beta); where h is 0 or 1 it is exactly 0.
    """
    n = len(v)
    u, rounding, slope = np.zeros(n), np.empty(n), np.empty(n)
    for t in range(first, end):
        decided = True
        for i in range(n):
            sigmoid = 1 / (1 + np.exp(-v[i]))
            stretched = STRETCH * sigmoid + OFFSET
            rounding[i] = min(max(stretched, 0.0), 1.0)
            slope[i] = STRETCH * sigmoid * (1 - sigmoid) if 0 < stretched < 1 and high[i] > low[i] else 0.0
            decided = decided and slope[i] == 0
            u[i] = low[i] + (high[i] - low[i]) * rounding[i] - weight[i]
        if decided:
            return True
        gradient = h @ u
        past_start = (t - WARM_START * iterations) / ((1 - WARM_START) * iterations)
        beta = BETA_LAST + (BETA_FIRST - BETA_LAST) * (1 - past_start)
        for i in range(n):
            g = 2 * gradient[i] / unit * (high[i] - low[i])
            if past_start > 0:
                side = 2 * rounding[i] - 1
                g -= REGULARISER * 2 * beta * abs(side) ** (beta - 1) * np.sign(side)
            g *= slope[i]
            momentum[i] = DECAY * momentum[i] + (1 - DECAY) * g
            square[i] = SQUARE_DECAY * square[i] + (1 - SQUARE_DECAY) * g * g
            step = momentum[i] / (1 - DECAY ** (t + 1))
            v[i] -= LEARNING_RATE * step / (np.sqrt(square[i] / (1 - SQUARE_DECAY ** (t + 1))) + EPSILON)
    return False
