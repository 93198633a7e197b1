"""The volume model's statement beside a result: an estimate of its own, never part of what is proven."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pvq.bounds.sqnr import format_db


def model_sentence(model: Mapping[str, Any], reference: float, empirical: Mapping[str, float]) -> str:
    """The model, as JSON has it, in one sentence.

    Parameters
    ----------
    reference : w'Hw of the layer.
    empirical : errors of methods; of GPTQ it is said how far from the prediction it is.
    """
    if model["refused"] is not None:
        return f"Model estimate (not a bound): none; {model['refused']}."
    text = (
        "Model estimate, not a bound for these weights: under the model of random weights (checks did not refuse) "
        f"{_level(model, reference)}; "
        f"the optimum is about {format_db(reference, model['optimum'])} dB"
    )
    if "gptq" in empirical and model["optimum"] > 0 and empirical["gptq"] > 0:
        text += f"; gptq is about {10 * math.log10(empirical['gptq'] / model['optimum']):z.2f} dB from it"
    return text + "."


def model_words(model: Mapping[str, Any], reference: float) -> str:
    """The model in a few words, beside others."""
    if model["refused"] is not None:
        return f"model estimate (not a bound): none; {model['refused']}"
    text = f"model estimate (not a bound): optimum about {format_db(reference, model['optimum'])} dB"
    if model["lower"] <= 0:
        return f"{text}, no level at odds of {model['odds']:g}"
    return f"{text}, above {format_db(reference, model['lower'])} dB in {_odds(model)}"


def explanation(model: Mapping[str, Any], reference: float) -> str:
    """What the model's level says, with everything that it assumes."""
    if model["refused"] is not None:
        return f"The volume model says nothing of this layer: {model['refused']}."
    checks = model["checks"]
    left = model["rows_left_to_rigorous"]
    rest = f" Of {left} rows that it does not cover it has the proven lower ends." if left else ""
    return (
        "Model estimate, not a bound for these weights: if, given H, the scales and the weights treated as known, "
        "the other weights were independent draws from the densities fitted here, a total error below "
        f"{model['lower']:.6g} ({format_db(reference, model['lower'])} dB) would occur in {_odds(model)}. The "
        "densities are fitted to the same weights; that error is not included. Checks not refused: z "
        f"{checks['z']:.2f}, harmonic {checks['harmonic']:.2f}, KS p {checks['ks']:.2g}, {checks['zeros']:.2%} of "
        f"the weights on levels, mesh {checks['mesh']:.2g} (of 1): absence of evidence, no more.{rest} The "
        f"predicted optimum {model['optimum']:.6g} is 1.15 times a median level, a factor that was found on other "
        "layers and is no theorem."
    )


def _level(model: Mapping[str, Any], reference: float) -> str:
    if model["lower"] <= 0:
        return f"no total is ruled out at odds of {model['odds']:g}"
    return f"a total above {format_db(reference, model['lower'])} dB would occur in {_odds(model)}"


def _odds(model: Mapping[str, Any]) -> str:
    return f"at most {model['odds']:g} of draws"
