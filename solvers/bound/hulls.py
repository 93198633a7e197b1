"""Which v is best for a given D, as far as known minimisers say: a quadratic program over their hulls.

With points u_kb of the grid of block b, all less w, and D below H in blocks,

    f(v) <= -v'Mv + sum_b min_k [u_kb' D_b u_kb + 2 (Mv)_b' u_kb]          for every v,

and the largest value of the right side is that of its dual, the least

    c'Mc + sum_b sum_k a_kb u_kb' D_b u_kb,    c_b = sum_k a_kb u_kb,    shares a_kb >= 0 of sum 1 in each block,

which is attained at v = c. By c'Mc = c'Hc - sum_b c_b' D_b c_b it is c'Hc + sum_b <D_b, covariance of the points>.
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

from ..kernels.apart import entry
from .block_diagonal import Blocks

SWEEPS = 500
"""Sweeps over the blocks at most; from the shares of before a tenth of that is usual."""

CLOSE = 1e-4
"""Part of the scale that all blocks together may still lose."""


class Hulls:
    """Points that blocks have had as their minimisers, and their shares."""

    def __init__(self, hessian: FloatArray, blocks: Blocks, most: int) -> None:
        """Room for so many points of every block; `blocks` that it is given later differ in D only."""
        self._h, self._inputs, self._known = hessian, blocks.inputs, 0
        count = len(self._inputs)
        self._points = np.empty((most, len(hessian)))
        self._shares = np.zeros((most, count))
        self._across = np.empty((most * count, most * count))
        """u_kb' H_bc u_lc, point by point and in each block by block."""

    def add(self, u: FloatArray) -> None:
        """One more point for each block; nothing where there is no room."""
        k, count = self._known, len(self._inputs)
        if k == len(self._points):
            return
        self._points[k] = u
        self._shares[k] = 1.0 if k == 0 else 0.0
        alone = np.zeros((count, len(u)))
        for j, b in enumerate(self._inputs):
            alone[j, b] = u[b]
        image = alone @ self._h
        new, known = slice(k * count, (k + 1) * count), slice(0, (k + 1) * count)
        for j, b in enumerate(self._inputs):
            self._across[new, known][:, j::count] = image[:, b] @ self._points[: k + 1, b].T
        self._across[known, new] = self._across[new, known].T
        self._known = k + 1

    def settle(self, blocks: Blocks, scale: float) -> FloatArray:
        """(n,) c of the least value of the dual, nearly.

        Parameters
        ----------
        scale : of e, for the tolerance.
        """
        count, size = len(self._inputs), self._known * len(self._inputs)
        gram = self._across[:size, :size].copy()
        own = np.empty(size)
        for j, (b, part) in enumerate(zip(self._inputs, blocks.grams, strict=True)):
            points = self._points[: self._known, b]
            inner = points @ part.matrix @ points.T
            gram[j::count, j::count] -= inner
            own[j::count] = np.diag(inner)
        shares = self._shares[: self._known].ravel()
        slope = 2 * gram @ shares + own
        shift_shares(gram, shares, slope, count, SWEEPS, CLOSE * scale / count)
        self._shares[: self._known] = shares.reshape(-1, count)
        centre = np.empty(len(self._h))
        for j, b in enumerate(self._inputs):
            centre[b] = self._shares[: self._known, j] @ self._points[: self._known, b]
        return centre

    def covariances(self, centre: FloatArray) -> list[FloatArray]:
        """Of the points of each block, by their shares, around the centre that these have."""
        found = []
        for j, b in enumerate(self._inputs):
            apart = self._points[: self._known, b] - centre[b]
            found.append((apart * self._shares[: self._known, j, None]).T @ apart)
        return found


@entry()
def shift_shares(
    gram: FloatArray, shares: FloatArray, slope: FloatArray, count: int, sweeps: int, least: float
) -> None:
    """Lower a'Ga + own'a by moving shares within each block, from its dearest point that has some to its cheapest.

    That is Platt's sequential minimal optimisation; a step that takes less than `least` off the slope is none.

    Parameters
    ----------
    gram : (k count, k count), point by point. shares : a, changed.
    slope : 2 Ga + own, changed.
    """
    size = len(shares)
    for _ in range(sweeps):
        moved = False
        for j in range(count):
            low = high = -1
            for k in range(j, size, count):
                if low < 0 or slope[k] < slope[low]:
                    low = k
                if shares[k] > 0.0 and (high < 0 or slope[k] > slope[high]):
                    high = k
            gap = slope[high] - slope[low]
            if not gap > least:
                continue
            curve = 2.0 * (gram[low, low] + gram[high, high] - 2.0 * gram[low, high])
            step = shares[high]
            if curve * step > gap:
                step = gap / curve
            shares[low] += step
            shares[high] -= step
            for k in range(size):
                slope[k] += 2.0 * step * (gram[low, k] - gram[high, k])
            moved = True
        if not moved:
            return
