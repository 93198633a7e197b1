"""Local search as methods of their own: coordinate descent on a grid, one-swap search on masks."""

from __future__ import annotations

from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options
from .heuristic import Heuristic
from .magnitude import Magnitude, Wanda
from .obs import removal_mask


class CoordinateDescent(Heuristic):
    """Start from rounding to nearest (joint: magnitude pruning before it), then change single inputs and pairs of
    inputs while the error falls.

    Nair & Suggala, "CDQuant: Greedy Coordinate Descent for Accurate LLM Quantization", 2024; the moves are those
    of `local_search`, which also polishes the engines' upper bounds.
    """

    name = "coordinate-descent"
    summary = "coordinate descent from rounding to nearest (joint: from magnitude pruning)"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "joint"})

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .local_search import polish_grid

        if problem.grid is not None and problem.sparsity is None:
            start = problem.grid.nearest(problem.weight)
        else:
            start = Magnitude()._point(problem, options)
        return polish_grid(problem, start)


class OneSwap(Heuristic):
    """Swap one kept unit for one pruned unit while the error falls; at the end no single swap helps.

    Re-optimised weights: from the mask of OBC, the error of each swap with all kept weights re-optimised.
    Fixed weights: from the mask of Wanda, as Zimmer et al., "SparseSwaps: Tractable LLM Pruning Mask Refinement at
    Scale", 2025.
    """

    name = "one-swap"
    summary = "swap a kept for a pruned weight while that helps, from OBC (weights fixed: from Wanda)"
    methods: ClassVar[frozenset[str]] = frozenset({"prune"})

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        if not problem.pattern.update:
            from .local_search import polish_grid

            return polish_grid(problem, Wanda()._point(problem, options))
        from .swaps import polish_mask

        return optimal_on_support(problem, polish_mask(problem, removal_mask(problem), pairs=False))
