"""GPTQ: quantize the inputs in turn, the rest absorb each rounding error."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Options
from .factors import inverse_factor
from .heuristic import Heuristic


class Gptq(Heuristic):
    """Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    ICLR 2023, algorithm 1, on H + 0.01 mean(diag H) I.

    It equals Babai's nearest plane in reverse order on the damped H (Chen et al., "The Geometry of LLM
    Quantization: GPTQ as Babai's Nearest Plane Algorithm", 2025). The grid is the problem's: scales of groups are
    not refitted on the way.
    """

    name = "gptq"
    summary = "GPTQ, inputs in natural order"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .sweep import compensated_sweep

        return compensated_sweep(problem.weight, inverse_factor(problem.gram), problem.grid)


class GptqActivationOrder(Gptq):
    """GPTQ with the inputs in descending order of diag(H) (`--act-order` of the published code)."""

    name = "gptq-order"
    summary = "GPTQ, inputs in descending order of diag(H)"

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .sweep import compensated_sweep

        order = np.argsort(-np.diag(problem.hessian), kind="stable")
        x = np.empty(problem.n)
        factor = inverse_factor(problem.gram, order=order)
        x[order] = compensated_sweep(problem.weight[order], factor, problem.levels.take(order))
        return x
