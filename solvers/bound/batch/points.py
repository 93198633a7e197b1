"""Grid points of many rows: GPTQ in V-BLAST order, then single moves and moves of two."""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray
from scipy.linalg import lapack

from .levels import Levels, nearest

TOGETHER = 128
"""Positions after whose decisions the other centres are moved by one product."""

PARTNERS = 24
"""Cheapest single moves that are tried with every other."""

MOVES = 5000
"""Moves of a row at most; rows of 2048 inputs make some hundreds."""

LEAST = 1e-12
"""A move gains at least this part of the row's error: less is rounding."""


def decision_slopes(h: FloatArray) -> FloatArray:
    """(n, n) deciding position i at a distance s from its centre moves centre j < i by slope[i, j] s."""
    root, info = lapack.dpotrf(h.T, lower=0, clean=1)
    if info:
        raise np.linalg.LinAlgError("H has no Cholesky factor")
    inverse, _ = lapack.dtrtri(root, lower=0)
    return np.ascontiguousarray(-(np.diag(root)[:, None] * inverse.T))


def rounded_in_order(w: FloatArray, slopes: FloatArray, levels: Levels) -> np.ndarray:
    """(rows, n) int16 levels: each position takes the level nearest to its conditional centre, the last one first.

    GPTQ (Frantar et al., "GPTQ", ICLR 2023) in another order: its update is that of the centres.
    """
    centres, index = w.copy(), np.empty(w.shape, np.int16)
    for stop in range(w.shape[1], 0, -TOGETHER):
        start = max(0, stop - TOGETHER)
        _round(centres, index, slopes, levels, start, stop)
        if start:
            centres[:, :start] += centres[:, start:stop] @ slopes[start:stop, :start]
    return index


@njit(cache=True, nogil=True, error_model="numpy")
def _round(
    centres: FloatArray, index: np.ndarray, slopes: FloatArray, levels: Levels, start: int, stop: int
) -> None:
    """Decide positions stop - 1 ... start; their centres become deviations."""
    for r in range(len(centres)):
        of = r if len(levels.values) > 1 else 0
        for i in range(stop - 1, start - 1, -1):
            g = levels.group[i]
            k = nearest(levels.values[of, g], levels.per_step[of, g], centres[r, i])
            index[r, i] = k
            far = centres[r, i] - levels.values[of, g, k]
            centres[r, i] = far
            for j in range(start, i):
                centres[r, j] += slopes[i, j] * far


def values_at(index: np.ndarray, levels: Levels) -> FloatArray:
    """(rows, n) the levels."""
    rows = np.arange(len(index))[:, None] if len(levels.values) > 1 else np.zeros((len(index), 1), np.int64)
    return np.asarray(levels.values[rows, levels.group[None, :], index])


def descend(h: FloatArray, w: FloatArray, index: np.ndarray, levels: Levels) -> FloatArray:
    """Improve points in place until no single move and no move of two that was tried lowers the error.

    Returns
    -------
    (rows,) errors, to compare points by.
    """
    gradient = (values_at(index, levels) - w) @ h
    _descend(h, w, index, gradient, levels)
    return np.asarray(np.einsum("ij,ij->i", gradient, values_at(index, levels) - w))


@njit(cache=True, nogil=True, error_model="numpy")
def _step(row: FloatArray, k: int, g: float) -> int:
    """The neighbouring level in the direction that lowers the error, k itself at the end of the range."""
    j = k - 1 if g > 0.0 else k + 1
    return j if 0 <= j < len(row) else k


@njit(cache=True, nogil=True, error_model="numpy")
def _single(
    h: FloatArray, values: FloatArray, group: np.ndarray, x: np.ndarray, g: FloatArray, least: float
) -> int:
    """Single moves as they come, until none gains more; how many there were.

    The best of all each time ends no lower: who looks for it reads all inputs once a move.
    """
    n, moves, since, i = len(x), 0, 0, 0
    while since < n and moves < MOVES:
        row = values[group[i]]
        to = _step(row, x[i], g[i])
        t = row[to] - row[x[i]]
        if to != x[i] and t * (t * h[i, i] + 2.0 * g[i]) < least:
            x[i] = to
            for j in range(n):
                g[j] += t * h[i, j]
            moves, since = moves + 1, 0
        else:
            since += 1
        i = i + 1 if i + 1 < n else 0
    return moves


@njit(cache=True, nogil=True, error_model="numpy")
def _descend(h: FloatArray, w: FloatArray, index: np.ndarray, gradient: FloatArray, levels: Levels) -> None:
    rows, n = w.shape
    cheap, cost = np.empty(PARTNERS, np.int64), np.empty(PARTNERS)
    for r in range(rows):
        of = r if len(levels.values) > 1 else 0
        x, g = index[r], gradient[r]
        error = 0.0
        for i in range(n):
            error += g[i] * (levels.values[of, levels.group[i], x[i]] - w[r, i])
        least = -LEAST * abs(error)
        moves = 0
        while moves < MOVES:
            moves += _single(h, levels.values[of], levels.group, x, g, least)
            found, worst = 0, 0
            for i in range(n):
                row = levels.values[of, levels.group[i]]
                to = _step(row, x[i], g[i])
                if to == x[i]:
                    continue
                t = row[to] - row[x[i]]
                change = t * (t * h[i, i] + 2.0 * g[i])
                if found < PARTNERS:
                    cheap[found], cost[found] = i, change
                    found += 1
                elif change < cost[worst]:
                    cheap[worst], cost[worst] = i, change
                else:
                    continue
                if found == PARTNERS:
                    worst = 0
                    for q in range(1, PARTNERS):
                        if cost[q] > cost[worst]:
                            worst = q
            best, other, gain = -1, -1, least
            for q in range(found):
                i = cheap[q]
                row = levels.values[of, levels.group[i]]
                t = row[_step(row, x[i], g[i])] - row[x[i]]
                for j in range(n):
                    y = g[j] + t * h[i, j]
                    theirs = levels.values[of, levels.group[j]]
                    to = _step(theirs, x[j], y)
                    if j == i or to == x[j]:
                        continue
                    s = theirs[to] - theirs[x[j]]
                    change = cost[q] + s * (s * h[j, j] + 2.0 * y)
                    if change < gain:
                        best, other, gain = i, j, change
            if best < 0:
                break
            moves += 2
            for moved in (best, other):  # the second one goes by the gradient that the first one has left
                row = levels.values[of, levels.group[moved]]
                to = _step(row, x[moved], g[moved])
                t = row[to] - row[x[moved]]
                x[moved] = to
                for j in range(n):
                    g[j] += t * h[moved, j]
