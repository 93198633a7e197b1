"""The volume model's statement beside a result: an estimate of its own, never part of what is proven."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pvq.bounds.sqnr import format_db

LIMITED = {
    "lower": " (the proven bound: the model alone predicts less error)",
    "upper": " (the best weights found: the model alone predicts more error)",
}


def model_sentence(
    model: Mapping[str, Any], reference: float, empirical: Mapping[str, float], rows: str | None = None
) -> str:
    """The model, as JSON has it, in one sentence.

    Parameters
    ----------
    reference : w'Hw of the layer.
    empirical : errors of methods; of GPTQ it is said how far from the prediction it is.
    rows : which ones, where they are not all.
    """
    if model["refused"] is not None:
        return f"Model estimate (not a bound): none; {model['refused']}."
    on = "" if rows is None else f" on {rows}"
    return (
        f"Model estimate, not a bound for these weights{on}: under the model of random weights (checks did not "
        f"refuse) {_level(model, reference)}; the optimum is {_optimum(model, reference, empirical)}."
    )


def model_words(model: Mapping[str, Any], reference: float, empirical: Mapping[str, float]) -> str:
    """The model in a few words, beside others; of drawn rows what was said of them, and by their own reference."""
    if model["refused"] is not None:
        return f"model estimate (not a bound): none; {model['refused']}"
    drawn = model.get("drawn")
    on = ""
    if drawn is not None:
        on = f" on the drawn {drawn['rows']} of {drawn['of']} rows"
        reference, empirical = drawn["reference"], drawn["empirical"]
    text = (
        f"model estimate{on} (not a bound), for random weights (checks did not refuse): optimum "
        f"{_optimum(model, reference, empirical)}"
    )
    if model["lower"] <= 0:
        return f"{text}; no level at odds of {model['odds']:g}"
    return f"{text}; above {format_db(reference, model['lower'])} dB in {_odds(model)}"


def predicted(side: Mapping[str, Any]) -> float | None:
    """The least error of a quantized side that the model predicts; None where it says nothing."""
    model = side.get("model")
    return None if model is None or model["refused"] is not None else model["optimum"]


def above_predicted_db(side: Mapping[str, Any], error: float) -> float | None:
    """dB of an error above what the model predicts; None where it says nothing, or an error of 0."""
    least = predicted(side)
    return 10 * math.log10(error / least) if least and error > 0 else None


def models_sentence(stated: int, layers: int, where: str = "--json") -> str:
    """Of how many layers there is an estimate, and what has them."""
    return (
        f"The volume model estimates the optimum of {stated} of {layers} quantized layers (no bounds, no part of "
        f"a verdict); {where} has them, and why there is none of others."
    )


def _optimum(model: Mapping[str, Any], reference: float, empirical: Mapping[str, float]) -> str:
    text = f"about {format_db(reference, model['optimum'])} dB{LIMITED.get(model.get('limited_by') or '', '')}"
    if empirical.get("gptq", 0) > 0 and model["optimum"] > 0:
        text += f", gptq about {10 * math.log10(empirical['gptq'] / model['optimum']):z.2f} dB from it"
    return text


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
        f"the weights on levels, mesh {checks['mesh']:.2g} (of 1): absence of evidence, no more.{rest} "
        f"{_predicted(model)}"
    )


def _predicted(model: Mapping[str, Any]) -> str:
    optimum, by = f"{model['optimum']:.6g}", model.get("limited_by")
    factor = "1.15 times a median level, a factor that was found on other layers and grids and is no theorem"
    if by is None:
        return f"The predicted optimum {optimum} is {factor}."
    end = "the proven lower end" if by == "lower" else "the best error found"
    other = "less" if by == "lower" else "more"
    return f"The predicted optimum {optimum} is {end}: the model's prediction was {other} than that ({factor})."


def _level(model: Mapping[str, Any], reference: float) -> str:
    if model["lower"] <= 0:
        return f"no total is ruled out at odds of {model['odds']:g}"
    return f"a total above {format_db(reference, model['lower'])} dB would occur in {_odds(model)}"


def _odds(model: Mapping[str, Any]) -> str:
    return f"at most {model['odds']:g} of draws"
