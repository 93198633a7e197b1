"""SparseGPT: prune the inputs in turn, the rest absorb each error."""

from __future__ import annotations

from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Options
from .factors import inverse_factor
from .heuristic import Heuristic


class SparseGpt(Heuristic):
    """Frantar & Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML 2023,
    algorithm 1: mask blocks of 128 inputs, score w_j^2 / U_jj^2, on H + 0.01 mean(diag H) I with U'U its inverse.

    N:M as published: the mask of each M inputs is chosen when the sweep reaches them. With a grid, kept weights
    are quantized in the same sweep, as the paper's joint sparsification and quantization.
    Different from the published method: this is a problem of one row, so each block of 128 inputs keeps its even
    share of the row's budget (exactly k in total), where the published threshold is shared by all rows of a block.
    Structured blocks, which are not in the paper, are scored by the sum over their inputs.
    """

    name = "sparsegpt"
    summary = "SparseGPT, mask blocks of 128 inputs (joint: prunes and quantizes in one sweep)"
    methods: ClassVar[frozenset[str]] = frozenset({"prune", "joint"})
    no_update = False

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .sweep import compensated_sweep

        return compensated_sweep(problem.weight, inverse_factor(problem.gram), problem.grid, problem.sparsity)
