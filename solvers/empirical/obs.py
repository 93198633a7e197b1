"""Exact optimal brain surgeon steps, one weight at a time: OBC for pruning, OBQ for quantization."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options
from .factors import inverse, inverse_of, regularised
from .heuristic import Heuristic


class OptimalBrainCompression(Heuristic):
    """ExactOBS: Frantar & Alistarh, "Optimal Brain Compression", NeurIPS 2022, algorithm 1.

    Remove, again and again, the weight with the smallest w_p^2 / [H^-1]_pp (blocks P: w_P' ([H^-1]_PP)^-1 w_P),
    the exact increase of the error; the others move to w - H^-1_:p w_p / [H^-1]_pp. Undamped as published; where
    the condition number exceeds 1e10, the diagonal is lifted to that (the published code adds 1 to what it cannot
    invert). At the end the kept weights are solved for once more, which changes rounding only. With a grid, the
    kept weights are then quantized by OBQ, as the paper composes them.
    """

    name = "obc"
    summary = "OBC, exact OBS removal one weight (or block) at a time (joint: then OBQ)"
    methods: ClassVar[frozenset[str]] = frozenset({"prune", "joint"})
    no_update = False

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        mask = obs_mask(problem)
        if problem.grid is None:
            return optimal_on_support(problem, mask)
        x = np.zeros(problem.n)
        kept = np.flatnonzero(mask)
        if len(kept):
            x[kept] = quantize_kept(problem, mask)
        return x


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
        return quantize_kept(problem, np.ones(problem.n, dtype=np.bool_))


def obs_mask(problem: Problem) -> BoolArray:
    """(n,) mask that exact OBS removal keeps."""
    from .obs_steps import remove_units

    assert problem.sparsity is not None
    s = problem.sparsity
    floor = 1 / np.diag(regularised(problem.gram))
    mask: BoolArray = remove_units(
        problem.weight.copy(), inverse(problem.gram).copy(), floor, s.unit, s.group, s.keep
    )
    return mask


def quantize_kept(problem: Problem, mask: BoolArray) -> FloatArray:
    """Levels that OBQ gives the inputs of `mask`, the others being 0, (kept,)."""
    from .obs_steps import quantize_all

    assert problem.grid is not None
    if mask.all():
        start, inverted, h = problem.weight.copy(), inverse(problem.gram).copy(), regularised(problem.gram)
    else:
        kept = np.flatnonzero(mask)
        start = optimal_on_support(problem, mask)[kept]
        h = regularised(problem.gram)[np.ix_(kept, kept)]
        inverted = inverse_of(h)
    grid = problem.grid.take(np.flatnonzero(mask))
    return np.asarray(quantize_all(start, inverted, 1 / np.diag(h), grid.levels, grid.group))
