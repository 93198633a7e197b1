"""The volume model beside a result: where it is quick or asked for, and loaded only then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem

if TYPE_CHECKING:
    from pvq.bounds.volume import BeforeProofs, Model

ODDS = 1e-3
MODELLED = 2048
"""Inputs up to which the model is stated unasked: beyond, it takes longer than a quick answer may."""
AHEAD = 1024
"""Inputs from which it takes a second, 30 at 4096: with a core to spare that is done while rows are prepared."""
GRAMS = 32
"""Gram matrices, likewise: each is counted by itself, and the short rows of depthwise layers are solved sooner."""


def check_odds(odds: float | None) -> None:
    """Raise `ProblemError` for odds that are none; NaN is none."""
    if odds is not None and not 0 < odds < 1:
        raise ProblemError(f"`odds` must lie between 0 and 1, as 0.001, not {odds}")


def takes_long(inputs: int, grams: int) -> str | None:
    """Why the model of such a layer is not made unasked; None where it is."""
    if inputs <= MODELLED and grams <= GRAMS:
        return None
    many = f"{MODELLED} inputs" if inputs > MODELLED else f"{GRAMS} Gram matrices"
    return f"not computed above {many}, where it takes long; --odds 0.001 asks for it"


def refused(why: str) -> dict[str, Any]:
    """A statement, as JSON has it, that there is none."""
    from pvq.bounds.volume import Model

    return Model(ODDS, refused=why).as_json()


def modelled(
    problem: LayerProblem, odds: float | None, whole: FloatArray, lower: FloatArray, upper: FloatArray
) -> Model | None:
    """What the model says of a quantized layer, refused where that takes long and nobody asked for odds.

    None of layers that are pruned alone.

    Parameters
    ----------
    whole : (out, in) all weights of the layer.
    lower, upper : (rows,) rigorous ends, for rows that the model leaves out.
    """
    found = before_proofs(problem, odds, whole)
    return None if found is None else found.beside(lower, upper)


def before_proofs(problem: LayerProblem, odds: float | None, whole: FloatArray) -> BeforeProofs | None:
    """Most of the work on it, for which no row has to be solved."""
    if not problem.setting.quantizes:
        return None
    from pvq.bounds.volume import BeforeProofs, Model, before_proofs  # statistics take half a second to load

    long = takes_long(len(problem.inputs), len(problem.grams)) if odds is None else None
    if long is not None:
        return BeforeProofs(Model(ODDS, refused=long))
    return before_proofs(problem, odds or ODDS, whole)


def within(model: Mapping[str, Any], lower: float, upper: float) -> dict[str, Any]:
    """A statement, as JSON has it, beside ends that may have been proven since: held within, or contradicted."""
    if model["refused"] is not None:
        return dict(model)
    from pvq.bounds.volume import CONTRADICTED, ROUNDING, held

    if model["lower"] > upper * (1 + ROUNDING):
        return {**model, "lower": None, "optimum": None, "limited_by": None, "refused": CONTRADICTED}
    optimum, by = held(model["optimum"], lower, upper)
    return {**model, "optimum": optimum, "limited_by": by or model.get("limited_by")}
