"""The compensated sweep over the inputs that GPTQ and SparseGPT share, compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import types
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.grid import Grid
from pvq.bounds.sparsity import Sparsity

from ..kernels.apart import MATRIX, NUMBERS, WHOLE, apart, entry, inner
from ..kernels.order import ascending
from .select import nearest

BLOCK = 128
"""Inputs whose mask SparseGPT chooses at once (Frantar & Alistarh 2023: adaptive mask selection, Bs = 128)."""

AT_ONCE = 64
"""Inputs of a block whose errors the others absorb at once."""

KEPT = types.boolean[:, ::1]


def windows(sparsity: Sparsity, size: int = BLOCK) -> list[tuple[int, int, int]]:
    """Stretches (first input, end, kept units) whose masks the sweep chooses one after the other.

    Each group of units is cut into stretches of at most `size` inputs (at least one unit); a group's budget K of U
    units is spread evenly: the first u units may keep round(K u / U), so that the stretches add up to K exactly.
    Units and groups must be consecutive inputs, as `Sparsity.row`, `nm` and `blocks` make them.
    """
    stretches = []
    for g, budget in enumerate(sparsity.keep):
        units = np.flatnonzero(sparsity.group == g)
        ends = np.searchsorted(sparsity.unit, units, side="right")
        first_unit, first = 0, int(np.searchsorted(sparsity.unit, units[0]))
        for u in range(len(units)):
            last = u + 1 == len(units)
            if last or ends[u + 1] - first > size:
                kept = share(int(budget), u + 1, len(units)) - share(int(budget), first_unit, len(units))
                stretches.append((first, int(ends[u]), kept))
                first_unit, first = u + 1, int(ends[u])
    return sorted(stretches)


def share(budget: int, part: int, whole: int) -> int:
    """round(budget * part / whole), halves up, in integers."""
    return (2 * budget * part + whole) // (2 * whole)


def compensated_sweep(
    weight: FloatArray, factor: FloatArray, grid: Grid | None = None, sparsity: Sparsity | None = None
) -> FloatArray:
    """Fix the inputs one after the other; those not fixed yet absorb each error optimally.

    With U'U = (H + lambda I)^-1, U upper triangular: x_j = its target value, then
    w_i -= (w_j - x_j) U_ji / U_jj for i > j. On a grid the target is the nearest level. With a sparsity pattern
    the mask of each stretch of inputs is chosen when the sweep arrives there: the smallest w_i^2 / U_ii^2 go.

    Parameters
    ----------
    weight : (n,) inputs in the order of the sweep.
    factor : (n, n) U for that order.
    """
    return swept_rows(weight[None], factor, [grid], sparsity)[0]


def swept_rows(
    weight: FloatArray, factor: FloatArray, grids: Sequence[Grid | None], sparsity: Sparsity | None = None
) -> FloatArray:
    """(rows, n) `compensated_sweep` of rows that share U and the pattern, to the last bit and in less time.

    A row alone reads all of U from memory for two operations an entry.

    Parameters
    ----------
    weight : (rows, n)
    grids : of each row, with the same groups; None for all where there is none.
    """
    n = weight.shape[1]
    first = grids[0]
    levels = (
        np.zeros((1, 1, 1)) if first is None else np.array([grid.levels for grid in grids if grid is not None])
    )
    level_of = np.zeros(n, np.int64) if first is None else first.group
    stretches = [] if sparsity is None else windows(sparsity)
    unit = np.arange(n) if sparsity is None else np.array(sparsity.unit, np.int64)
    plan = np.array(stretches, np.int64).reshape(-1, 3)
    w, factor = np.array(weight.T, order="C"), np.ascontiguousarray(factor)
    _sweep(w, factor, levels, level_of, first is not None, unit, plan, _ends(n, stretches))
    return np.ascontiguousarray(w.T)


def _ends(n: int, stretches: Sequence[tuple[int, int, int]]) -> IntArray:
    """Ends of blocks of inputs whose errors all others absorb at once; no stretch is in two blocks."""
    ends = [0]
    for end in [end for _, end, _ in stretches] or range(1, n):
        if end < n and end - ends[-1] >= AT_ONCE:
            ends.append(end)
    return np.array([*ends[1:], n])


@entry()
def _sweep(w, factor, levels, level_of, on_grid, unit, plan, ends):  # type: ignore[no-untyped-def]
    """On w, (n, rows). What an entry of w loses is taken off in the order of the inputs, whatever the blocks."""
    n, rows = w.shape
    keep = np.ones((n, rows), np.bool_)
    error = np.empty((n, rows))
    alone = w.reshape(-1)
    stretch, start = 0, 0
    for end in ends:
        for j in range(start, end):
            if stretch < len(plan) and plan[stretch, 0] == j:
                for r in range(rows):
                    _choose(keep, w, r, factor, unit, plan[stretch, 0], plan[stretch, 1], plan[stretch, 2])
                stretch += 1
            for r in range(rows):
                before = w[j, r]
                if not keep[j, r]:
                    w[j, r] = 0.0
                elif on_grid:
                    w[j, r] = nearest(levels[r, level_of[j]], before)
                error[j, r] = (before - w[j, r]) / factor[j, j]
            if rows == 1:  # no column of U is in the cache, and its rows need not be read twice
                _take_off(alone[j + 1 :], factor[j, j + 1 :], error[j, 0])
                continue
            for i in range(j + 1, end):
                _take_off(w[i], error[j], factor[j, i])
        for i in range(end if rows > 1 else n, n):
            for j in range(start, end):
                _take_off(w[i], error[j], factor[j, i])
        start = end


@inner()
def _take_off(w, part, factor):  # type: ignore[no-untyped-def]
    for r in range(len(w)):
        w[r] -= part[r] * factor


@apart(None, KEPT, MATRIX, WHOLE, MATRIX, NUMBERS, WHOLE, WHOLE, WHOLE)
def _choose(keep, w, row, factor, unit, first, end, budget):  # type: ignore[no-untyped-def]
    """Keep the `budget` units of first ... end - 1 with the largest sum of w_i^2 / U_ii^2."""
    units = unit[end - 1] - unit[first] + 1
    loss, order, chosen = np.empty(units), np.empty(units, np.int64), np.empty(units, np.bool_)
    for u in range(units):
        loss[u], chosen[u] = 0.0, False
    for i in range(first, end):
        scaled = w[i, row] / factor[i, i]
        loss[unit[i] - unit[first]] -= scaled * scaled
    ascending(loss, order)
    for place in range(min(budget, units)):  # beyond the array nothing would say so
        chosen[order[place]] = True
    for i in range(first, end):
        keep[i, row] = chosen[unit[i] - unit[first]]
