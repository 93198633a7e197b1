"""The compensated sweep over the inputs that GPTQ and SparseGPT share, compiled."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.grid import Grid
from pvq.bounds.sparsity import Sparsity

from ..kernels.apart import FLAGS, MATRIX, NUMBERS, VECTOR, WHOLE, apart, entry
from ..kernels.order import ascending
from .select import nearest

BLOCK = 128
"""Inputs whose mask SparseGPT chooses at once (Frantar & Alistarh 2023: adaptive mask selection, Bs = 128)."""


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
    n = len(weight)
    levels = np.zeros((1, 1)) if grid is None else grid.levels
    level_of = np.zeros(n, np.int64) if grid is None else grid.group
    stretches = [] if sparsity is None else windows(sparsity)
    unit = np.arange(n) if sparsity is None else np.array(sparsity.unit, np.int64)
    plan = np.array(stretches, np.int64).reshape(-1, 3)
    return np.asarray(
        _sweep(weight.copy(), np.ascontiguousarray(factor), levels, level_of, grid is not None, unit, plan)
    )


@entry()
def _sweep(w, factor, levels, level_of, on_grid, unit, plan):  # type: ignore[no-untyped-def]
    n = len(w)
    keep = np.empty(n, np.bool_)
    for j in range(n):
        keep[j] = True
    stretch = 0
    for j in range(n):
        if stretch < len(plan) and plan[stretch, 0] == j:
            _choose(keep, w, factor, unit, plan[stretch, 0], plan[stretch, 1], plan[stretch, 2])
            stretch += 1
        before = w[j]
        if not keep[j]:
            w[j] = 0.0
        elif on_grid:
            w[j] = nearest(levels[level_of[j]], before)
        error = (before - w[j]) / factor[j, j]
        if error != 0.0:
            for i in range(j + 1, n):
                w[i] -= error * factor[j, i]
    return w


@apart(None, FLAGS, VECTOR, MATRIX, NUMBERS, WHOLE, WHOLE, WHOLE)
def _choose(keep, w, factor, unit, first, end, budget):  # type: ignore[no-untyped-def]
    """Keep the `budget` units of first ... end - 1 with the largest sum of w_i^2 / U_ii^2."""
    units = unit[end - 1] - unit[first] + 1
    loss, order, chosen = np.empty(units), np.empty(units, np.int64), np.empty(units, np.bool_)
    for u in range(units):
        loss[u], chosen[u] = 0.0, False
    for i in range(first, end):
        scaled = w[i] / factor[i, i]
        loss[unit[i] - unit[first]] -= scaled * scaled
    ascending(loss, order)
    for place in range(min(budget, units)):  # beyond the array nothing would say so
        chosen[order[place]] = True
    for i in range(first, end):
        keep[i] = chosen[unit[i] - unit[first]]
