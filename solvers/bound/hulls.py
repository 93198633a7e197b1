"""Which v is best for a given D, as far as known points of the blocks say: a quadratic program over their hulls.

With points u_kb of the grid of block b, all less w, and D below H in blocks,

    f(v) <= -v'Mv + sum_b min_k [u_kb' D_b u_kb + 2 (Mv)_b' u_kb]          for every v,

and the largest value of the right side is that of its dual, the least

    c'Mc + sum_b sum_k a_kb u_kb' D_b u_kb,    c_b = sum_k a_kb u_kb,    shares a_kb >= 0 of sum 1 in each block,

which is attained at v = c. By c'Mc = c'Hc - sum_b c_b' D_b c_b it is c'Hc + sum_b <D_b, covariance of the points>.
Its value for any shares is a ceiling of f at this D. Points that lower it are found by local search from those
that have shares, for a thousandth of what an exact search of the block takes.
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..kernels.apart import entry, inner
from ..options import Clock
from .block_diagonal import Blocks

MOST = 96
"""Points of a block; a new one takes the place of the dearest that has no share. 20 to 40 have one in the end."""

STEPS = 200
"""Moves of shares in a block before the next one's turn."""

EVERY = 3
"""Sweeps in which each of the points with a share has a search begin at it once."""

PASSES = 50
"""Passes of a local search, which ends long before."""


class Hulls:
    """Points of every block, their shares, and c with its image Mc; D may change, the inputs of the blocks not."""

    def __init__(self, problem: Problem, blocks: Blocks, u: FloatArray) -> None:
        """Begin with one point of the grid (n,), less w."""
        levels, h = problem.levels, problem.hessian
        allowed = levels.levels[levels.group] - problem.weight[:, None]
        self._inputs = blocks.inputs
        self._columns = [np.ascontiguousarray(h[:, b]) for b in self._inputs]
        self._allowed = [np.ascontiguousarray(allowed[b]) for b in self._inputs]
        self._points = [np.zeros((MOST, len(b))) for b in self._inputs]
        self._shares = [np.zeros(MOST) for _ in self._inputs]
        self._known = np.zeros(len(self._inputs), np.int64)
        for shares in self._shares:
            shares[0] = 1.0
        self._h, self.centre = h, u.copy()
        """(n,) c."""
        self.add(u, blocks)

    def add(self, u: FloatArray, blocks: Blocks) -> None:
        """One more point (n,) of every block, in the place of the last without a share where there is no room."""
        for j, b in enumerate(self._inputs):
            place = int(self._known[j])
            if place == MOST:
                free = np.flatnonzero(self._shares[j] == 0.0)
                if len(free) == 0:
                    continue
                place = int(free[-1])
            self._points[j][place] = u[b]
            self._known[j] = max(self._known[j], place + 1)
        self.move(blocks)

    def move(self, blocks: Blocks) -> None:
        """Take another D."""
        self._parts = [gram.matrix.copy() for gram in blocks.grams]
        self._own, self._inner = [], []
        self._image = self._h @ self.centre
        for b, part, points in zip(self._inputs, self._parts, self._points, strict=True):
            self._own.append(np.einsum("ki,ki->k", points @ part, points))
            self._inner.append(points @ (self._h[np.ix_(b, b)] - part) @ points.T)
            self._image[b] -= part @ self.centre[b]

    @property
    def ceiling(self) -> float:
        """What f cannot exceed at this D, but for rounding."""
        own = sum(float(a @ q) for a, q in zip(self._shares, self._own, strict=True))
        return float(self.centre @ self._image) + own

    def settle(self, close: float, sweeps: int, clock: Clock, pairs: bool = False) -> None:
        """Lower the ceiling, block by block, until no point that is known or found lowers it by `close` in all.

        pairs : whether points are looked for by moves of pairs as well, which takes ten times as long.
        """
        least = close / (4 * len(self._inputs))
        for turn in range(sweeps):
            if clock.ended() is not None:
                return
            gap = 0.0
            for j, b in enumerate(self._inputs):
                own_h = self._columns[j][b]
                gap += _visit(
                    self._parts[j],
                    own_h,
                    self._points[j],
                    self._shares[j],
                    self._own[j],
                    self._inner[j],
                    self._known[j : j + 1],
                    self._image[b],
                    self._allowed[j],
                    least,
                    turn,
                    pairs,
                )
                change = self._shares[j] @ self._points[j] - self.centre[b]
                self.centre[b] += change
                self._image += self._columns[j] @ change
                self._image[b] -= self._parts[j] @ change
            if gap <= close:
                return

    def covariances(self) -> list[FloatArray]:
        """Of the points of each block, by their shares, around c."""
        found = []
        for b, points, shares in zip(self._inputs, self._points, self._shares, strict=True):
            apart = points - self.centre[b]
            found.append((apart * shares[:, None]).T @ apart)
        return found


@inner()
def _nearest(values, aim):  # type: ignore[no-untyped-def]
    best = values[0]
    for k in range(1, len(values)):
        if abs(values[k] - aim) < abs(best - aim):
            best = values[k]
    return best


@inner()
def _descend(d, gradient, u, allowed, pairs):  # type: ignore[no-untyped-def]
    """Lower u'Du + 2g'u by moves of single inputs, then of pairs if asked, the first to its neighbours.

    gradient : Du + g, kept in step with u.
    """
    n, count = allowed.shape
    for _ in range(PASSES):
        moved = False
        for i in range(n):
            new = _nearest(allowed[i], u[i] - gradient[i] / d[i, i])
            step = new - u[i]
            if step * (2.0 * gradient[i] + step * d[i, i]) < -1e-12 * d[i, i] * step * step:
                for j in range(n):
                    gradient[j] += step * d[i, j]
                u[i] = new
                moved = True
        if moved:
            continue
        if not pairs:
            return
        for i in range(n):
            here = 0
            for k in range(1, count):
                if abs(allowed[i, k] - u[i]) < abs(allowed[i, here] - u[i]):
                    here = k
            for k in (here - 1, here + 1):
                if k < 0 or k >= count:
                    continue
                step = allowed[i, k] - u[i]
                dear = step * (2.0 * gradient[i] + step * d[i, i])
                best, other, far = -1e-12 * d[i, i] * step * step, -1, 0.0
                for j in range(n):
                    slope = gradient[j] + step * d[i, j]
                    if j == i or dear - slope * slope / d[j, j] >= best:
                        continue
                    then = _nearest(allowed[j], u[j] - slope / d[j, j]) - u[j]
                    if dear + then * (2.0 * slope + then * d[j, j]) < best:
                        best, other, far = dear + then * (2.0 * slope + then * d[j, j]), j, then
                if other >= 0:
                    for j in range(n):
                        gradient[j] += step * d[i, j] + far * d[other, j]
                    u[i] += step
                    u[other] += far
                    moved = True
                    break
        if not moved:
            return


@entry()
def _visit(d, h, points, shares, own, inner, known, image, allowed, least, turn, pairs):  # type: ignore[no-untyped-def]
    """Look for points of one block, and move shares from its dearest point that has some to its cheapest.

    That is Platt's sequential minimal optimisation. Returns what the block may still lower the ceiling by, as far
    as its points say.

    Parameters
    ----------
    d, h : (m, m) D and H of the block.
    points, shares : (MOST, m), (MOST,), changed.
    own, inner : (MOST,), (MOST, MOST) u'Du of the points, and u'Mu of pairs of them, changed.
    known : (1,) how many there are, changed.
    image : (m,) Mc of the block.
    allowed : (m, levels) values of u.
    least : what a step must take off the slope, and a new point be cheaper by.
    """
    m, count = len(image), known[0]
    slope = own + 2.0 * (points @ image)
    cheapest = slope[0]
    for k in range(1, count):
        cheapest = min(cheapest, slope[k])
    least_new, u, gradient, spread = cheapest - least, np.empty(m), np.empty(m), h - d
    for start in range(count):
        if shares[start] == 0.0 or (start - turn) % EVERY != 0:
            continue
        for i in range(m):
            u[i] = points[start, i]
        moved = d @ u
        for i in range(m):
            gradient[i] = moved[i] + image[i]
        _descend(d, gradient, u, allowed, pairs)
        q = 0.0
        for i in range(m):
            q += u[i] * (gradient[i] + image[i])
        place = known[0]
        new = q < least_new
        for k in range(known[0]):
            new = new and abs(q - slope[k]) > 1e-9 * abs(q)
        if place == len(points) and new:
            place = -1
            for k in range(len(points)):
                if shares[k] == 0.0 and slope[k] > least_new and (place < 0 or slope[k] > slope[place]):
                    place = k
            new = place >= 0
        if not new:
            continue
        known[0] = max(known[0], place + 1)
        points[place] = u
        slope[place] = q
        own[place] = q - 2.0 * (u @ image)
        across = points @ (spread @ u)
        for k in range(known[0]):
            inner[place, k] = inner[k, place] = across[k]
    gap = 0.0
    for step in range(STEPS):
        low = high = -1
        for k in range(known[0]):
            if low < 0 or slope[k] < slope[low]:
                low = k
            if shares[k] > 0.0 and (high < 0 or slope[k] > slope[high]):
                high = k
            if step == 0:
                gap += shares[k] * slope[k]
        if step == 0:
            gap -= slope[low]
        lead = slope[high] - slope[low]
        if not lead > least:
            break
        curve = 2.0 * (inner[low, low] + inner[high, high] - 2.0 * inner[low, high])
        part = shares[high]
        if curve * part > lead:
            part = lead / curve
        shares[low] += part
        shares[high] -= part
        for k in range(known[0]):
            slope[k] += 2.0 * part * (inner[low, k] - inner[high, k])
    return gap
