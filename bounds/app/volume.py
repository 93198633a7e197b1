"""The volume model's statement beside a result: an estimate of its own, never part of what is proven."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pvq.bounds.sqnr import format_db
from pvq.solvers.rows import LayerResult

if TYPE_CHECKING:
    from pvq.bounds.volume import Model


def model_sentence(model: Model, result: LayerResult) -> str:
    """The model in one sentence."""
    if model.refused is not None or model.lower is None or model.optimum is None:
        return f"Model estimate (not a bound): none; {model.refused}."
    reference = result.reference
    text = (
        "Model estimate, not a bound for these weights: under the model of random weights (checks did not refuse) "
        f"a total above {format_db(reference, model.lower)} dB would occur in at most {model.odds:g} of draws; "
        f"the optimum is about {format_db(reference, model.optimum)} dB"
    )
    if "gptq" in result.empirical and model.optimum > 0:
        text += f"; gptq is about {10 * math.log10(result.empirical['gptq'] / model.optimum):.2f} dB from it"
    return text + "."
