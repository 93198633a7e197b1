"""Exact optimal brain surgeon steps, one weight at a time: OBC for pruning, OBQ for quantization."""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options
from .factors import inverse_of, regularised
from .heuristic import Heuristic
from .magnitude import optimal_on_masks


class OptimalBrainCompression(Heuristic):
    """ExactOBS: Frantar & Alistarh, "Optimal Brain Compression", NeurIPS 2022, algorithm 1.

    Remove, again and again, the weight with the smallest w_p^2 / [H^-1]_pp (blocks P: w_P' ([H^-1]_PP)^-1 w_P),
    the exact increase of the error; the others move to w - H^-1_:p w_p / [H^-1]_pp. Undamped as published; where
    the condition number exceeds 1e10, the diagonal is lifted to that (the published code adds 1 to what it cannot
    invert). At the end the kept weights are solved for once more, which changes rounding only. With a grid, the
    kept weights are then quantized by OBQ, as the paper composes them.

    Of a layer-wide budget (scope layer, pruning) as published: every row is traced to the end, then step by step
    the row whose next removal costs least is pruned further.
    """

    name = "obc"
    summary = "OBC, exact OBS removal one weight (or block) at a time (joint: then OBQ)"
    methods: ClassVar[frozenset[str]] = frozenset({"prune", "joint"})
    no_update = False

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .obs_steps import quantize_all

        if problem.grid is None:
            return optimal_on_support(problem, removal_mask(problem))
        mask, w, inverse = exact_removal(problem)
        kept = np.flatnonzero(mask)
        grid, x = problem.grid.take(kept), np.zeros(problem.n)
        x[kept] = quantize_all(w, inverse, least_inverse(problem)[kept], grid.levels, grid.group)
        return x

    def layer_points(self, layer: LayerProblem, options: Options) -> FloatArray:
        if layer.budget is None or layer.grid is not None:
            return super().layer_points(layer, options)
        return optimal_on_masks(layer, global_removal(layer))


class OptimalBrainQuantizer(Heuristic):
    """OBQ: Frantar & Alistarh, "Optimal Brain Compression", NeurIPS 2022, section "The Optimal Brain Quantizer".

    Quantize, again and again, the weight with the smallest (Q(w_p) - w_p)^2 / [H^-1]_pp, the others compensate; a
    weight that has drifted outside the grid by more than half its last spacing is quantized at once. Damping as
    in OBC.
    """

    name = "obq"
    summary = "OBQ, one weight at a time in greedy order"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .obs_steps import quantize_all

        grid = problem.levels
        inverse, floor = inverse_of(problem.gram).copy(), least_inverse(problem)
        return np.asarray(quantize_all(problem.weight.copy(), inverse, floor, grid.levels, grid.group))


def removal_mask(problem: Problem) -> BoolArray:
    """(n,) mask that exact OBS removal keeps.

    Where all units share one budget the order of removal does not depend on it, so one trace of a row serves every
    sparsity; it is kept with the Gram matrix.
    """
    sparsity = problem.pattern
    if len(sparsity.keep) > 1:
        return exact_removal(problem)[0]
    row = problem.weight.tobytes(), sparsity.unit.tobytes()
    order = problem.gram.memo(removal_mask, lambda: removal_trace(problem)[0], *row)
    kept = np.zeros(sparsity.units, dtype=bool)
    kept[order[max(0, sparsity.units - int(sparsity.keep[0])) :]] = True
    return kept[sparsity.unit]


def removal_trace(problem: Problem) -> tuple[IntArray, FloatArray]:
    """All units in the order in which exact OBS removes them, and the increase of the error at each step."""
    from .obs_steps import remove_units

    sparsity = problem.pattern
    w, inverse = problem.weight.copy(), inverse_of(problem.gram).copy()
    nothing = np.zeros(len(sparsity.keep), np.int64)
    _, order, losses = remove_units(w, inverse, least_inverse(problem), sparsity.unit, sparsity.group, nothing)
    return order, losses


def exact_removal(problem: Problem) -> tuple[BoolArray, FloatArray, FloatArray]:
    """(n,) mask that exact OBS removal keeps, the optimum on the m kept inputs, and (m, m) [H_kept]^-1."""
    from .obs_steps import remove_units

    sparsity = problem.pattern
    w, inverse = problem.weight.copy(), inverse_of(problem.gram).copy()
    mask, _, _ = remove_units(w, inverse, least_inverse(problem), sparsity.unit, sparsity.group, sparsity.keep)
    m = int(mask.sum())
    return mask, w[:m].copy(), inverse[:m, :m].copy()


def global_removal(layer: LayerProblem) -> BoolArray:
    """(rows, n) mask of a shared budget: rows give up units in the order of their traces, cheapest step first."""
    assert layer.budget is not None
    orders, losses = [], []
    for i in range(len(layer)):
        row = presolve(layer.row(i)).problem
        if row is None:
            orders.append(np.zeros(0, np.int64))
            losses.append(np.zeros(0))
            continue
        order, loss = removal_trace(row)  # on the live inputs; the units of dead ones are pruned anyhow
        live_units = np.unique(layer.pattern.unit[layer.grams[layer.gram_of_row[i]].live])
        orders.append(live_units[order])
        losses.append(loss)
    surplus = sum(map(len, orders)) - layer.budget
    heap = [(float(loss[0]), i) for i, loss in enumerate(losses) if len(loss)]
    heapify(heap)
    removed = np.zeros(len(layer), np.int64)
    for _ in range(surplus):
        _, i = heap[0]
        removed[i] += 1
        if removed[i] < len(losses[i]):
            heapreplace(heap, (float(losses[i][removed[i]]), i))
        else:
            heappop(heap)
    kept = np.zeros((len(layer), layer.pattern.units), dtype=bool)
    for i, order in enumerate(orders):
        kept[i, order[removed[i] :]] = True
    return kept[:, layer.pattern.unit]


def least_inverse(problem: Problem) -> FloatArray:
    """(n,) 1 / H_ii, the least that [H_F^-1]_ii can be for any set F of inputs."""
    return 1 / np.diag(regularised(problem.gram))
