"""GPTQ: quantize the inputs in turn, the rest absorb each rounding error."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray

from .factors import inverse_factor
from .swept import Swept


class Gptq(Swept):
    """Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    ICLR 2023, algorithm 1, on H + 0.01 mean(diag H) I.

    It equals Babai's nearest plane in reverse order on the damped H (Chen et al., "The Geometry of LLM
    Quantization: GPTQ as Babai's Nearest Plane Algorithm", 2025). The grid is the problem's: scales of groups are
    not refitted on the way.
    """

    name = "gptq"
    summary = "GPTQ, inputs in natural order"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})

    def _factor(self, gram: Gram, order: IntArray | None) -> FloatArray:
        return inverse_factor(gram, order=order)


class GptqActivationOrder(Gptq):
    """GPTQ with the inputs in descending order of diag(H) (`--act-order` of the published code)."""

    name = "gptq-order"
    summary = "GPTQ, inputs in descending order of diag(H)"

    def _order(self, gram: Gram) -> IntArray:
        return np.argsort(-np.diag(gram.matrix), kind="stable")
