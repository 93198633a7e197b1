"""SparseGPT: prune the inputs in turn, the rest absorb each error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.grid import Grid, nearest_index
from pvq.bounds.layer_problem import LayerProblem

from ..base import Options
from .factors import inverse_factor
from .swept import Swept


class SparseGpt(Swept):
    """Frantar & Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML 2023,
    algorithm 1: mask blocks of 128 inputs, score w_j^2 / U_jj^2, on H + 0.01 mean(diag H) I with U'U its inverse.

    N:M as published: the mask of each M inputs is chosen when the sweep reaches them. With a grid, kept weights
    are quantized in the same sweep, as the paper's joint sparsification and quantization.
    Scope layer is the published method: the rows share the budget of each block of 128 inputs (the published
    threshold). Scope row is a problem of one row, so there each block of 128 inputs keeps its even share of the
    row's budget. Either way exactly k are kept in total. Structured blocks, which are not in the paper, are scored
    by the sum over their inputs.
    """

    name = "sparsegpt"
    summary = "SparseGPT, mask blocks of 128 inputs (joint: prunes and quantizes in one sweep)"
    methods: ClassVar[frozenset[str]] = frozenset({"prune", "joint"})
    no_update = False

    def _factor(self, gram: Gram, order: IntArray | None) -> FloatArray:
        return inverse_factor(gram)

    def layer_points(self, layer: LayerProblem, options: Options) -> FloatArray:
        if layer.budget is None:
            return super().layer_points(layer, options)
        return shared_sweep(layer)


def shared_sweep(layer: LayerProblem) -> FloatArray:
    """(rows, n) the sweep over the inputs, all rows at once, masks chosen across the rows."""
    from .sweep import share, windows

    assert layer.budget is not None
    rows, n = layer.weight.shape
    members = [np.flatnonzero(layer.gram_of_row == g) for g in range(len(layer.grams))]
    factors = [full_factor(layer, g) for g in range(len(layer.grams))]
    pivot = np.array([np.diag(factor) for factor in factors])[layer.gram_of_row]
    live = np.array([gram.live for gram in layer.grams])[layer.gram_of_row]
    w, keep = np.where(live, layer.weight, 0.0), np.ones((rows, n), dtype=bool)
    grids = [layer.row_grid(i) for i in range(rows)]
    unit, units = layer.pattern.unit, layer.pattern.units
    done = 0
    # every unit kept: the stretches then say how many units they have
    for first, end, count in windows(replace(layer.pattern, keep=np.array([units]))):
        budget = share(layer.budget, (done + count) * rows, units * rows)
        budget -= share(layer.budget, done * rows, units * rows)
        done += count
        of_unit = unit[first:end] - unit[first]
        scores = (w[:, first:end] / pivot[:, first:end]) ** 2
        totals = np.array([np.bincount(of_unit, weights=row, minlength=count) for row in scores])
        chosen = np.zeros(totals.size, dtype=bool)
        chosen[np.argsort(-totals.ravel(), kind="stable")[:budget]] = True
        keep[:, first:end] = chosen.reshape(totals.shape)[:, of_unit]
        for j in range(first, end):
            target = np.where(keep[:, j], on_grid(grids, w[:, j], j), 0.0)
            error = (w[:, j] - target) / pivot[:, j]
            w[:, j] = target
            for of_gram, factor in zip(members, factors, strict=True):
                w[of_gram, j + 1 :] -= np.outer(error[of_gram], factor[j, j + 1 :])
    return np.where(live, w, 0.0)


def full_factor(layer: LayerProblem, g: int) -> FloatArray:
    """(n, n) upper triangular factor of the damped inverse; a dead input has 1 on the diagonal and no effect."""
    gram = layer.grams[g]
    live = np.flatnonzero(gram.live)
    factor = np.eye(len(gram))
    if len(live):
        factor[np.ix_(live, live)] = inverse_factor(gram.take(live) if len(live) < len(gram) else gram)
    return factor


def on_grid(grids: Sequence[Grid | None], values: FloatArray, j: int) -> FloatArray:
    """(rows,) values of input j rounded to the nearest level of each row's grid."""
    first = grids[0]
    if all(grid is first for grid in grids):
        return values if first is None else _nearest(first.of(j), values)
    return np.array([_nearest(g.of(j), v[None])[0] for g, v in zip(grids, values, strict=True) if g is not None])


def _nearest(levels: FloatArray, values: FloatArray) -> FloatArray:
    return levels[nearest_index(levels, values)]
