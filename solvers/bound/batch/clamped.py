"""v from the inputs that the grid's range clamps: where a row clips, most of its error is theirs.

Let S be the inputs at an end of their range in the minimum of e over the box. With P = H^-1 and
v = P_.S P_SS^-1 (x_S - w_S), Hv is 0 outside of S, and where the multipliers (Hv)_S push x_S out of the box,
2 (Hv)'u >= 2 v'Hv for every u in it, so that e >= 2 (Hv)'u - v'Hv >= v'Hv.
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

ROUNDS = 30
"""Inputs that leave the box are added at once, so that few rounds are needed; every round's v holds."""

OUT = 1e-9
"""Part of the range by which an input must leave the box to be added: less is rounding."""


def clamped(inverse: FloatArray, w: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(n,) the v with the largest v'Hv met on the way to the minimum over the box; 0 where nothing clips.

    Parameters
    ----------
    inverse : (n, n) H^-1.
    w, low, high : (n,) the row and the ends of its levels.
    """
    v, best = np.zeros(len(w)), 0.0
    x, inside, room = w.copy(), np.ones(len(w), dtype=bool), OUT * (high - low)
    end = np.clip(w, low, high)
    for _ in range(ROUNDS):
        out = inside & ((x < low - room) | (x > high + room))
        if not out.any():
            break
        end[out] = np.where(x[out] > high[out], high[out], low[out])
        inside &= ~out
        while True:
            s = np.flatnonzero(~inside)
            try:
                multiplier = cho_solve(cho_factor(inverse[np.ix_(s, s)]), end[s] - w[s])
            except LinAlgError:
                return v
            wrong = np.where(end[s] == high[s], multiplier > 0, multiplier < 0)  # they pull back into the box
            if not wrong.any():
                break
            inside[s[wrong]] = True
        if not len(s):
            break
        step = inverse[:, s] @ multiplier
        value = float(multiplier @ (end[s] - w[s]))
        if value > best:
            best, v = value, step
        x = w + step
    return v
