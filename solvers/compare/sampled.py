"""A pair from drawn rows: bounds that hold for all rows, and what is estimated of them. Sampled, never proven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem, drawn
from pvq.bounds.outward import sum_up
from pvq.bounds.sampling import CONFIDENCE, Estimate, Statistic
from pvq.bounds.sqnr import sqnr_db

from ..base import Options
from ..sample import Beside
from .side import Side
from .verdict import NAMES, Interval


class SampledSide(Side):
    """One technique on drawn rows. The other rows have the quick method's weights, and no bound."""

    def __init__(
        self,
        whole: LayerProblem,
        rows: Sequence[int],
        options: Options,
        name: str = "",
        tail: Callable[[], str] = str,
    ) -> None:
        super().__init__(drawn(whole, rows), name, tail)
        self._index = np.asarray(self.problem.rows) - whole.span.start
        self.beside = Beside.of(whole, options)
        self.scores: dict[str, FloatArray] = {}

    @property
    def proven(self) -> Interval:
        """Of all rows: those that were not drawn count 0 below, and above what the quick method reaches."""
        others = np.delete(self.beside.errors, self._index)
        return Interval(self.interval.lower, sum_up([*self.upper, *others]))

    def total(self, y: FloatArray) -> Statistic:
        """The sum over all rows of what is y on the drawn ones."""
        return self.beside.total(y, self._index)

    def as_json(self, bits: float, macs: float) -> dict[str, Any]:
        proven, reference = self.proven, sum_up(self.beside.references)
        side = super().as_json(bits, macs)
        if "model" in side:  # of the drawn rows, unlike the ends
            drawn = {"rows": len(self.problem), "of": len(self.problem.span), "reference": side["reference"]}
            side["model"]["drawn"] = {**drawn, "empirical": side["empirical"]}
        return {
            **side,
            "lower": proven.lower,
            "upper": proven.upper,
            "reference": reference,
            "sqnr_min_db": sqnr_db(reference, proven.upper),
            "sqnr_max_db": sqnr_db(reference, proven.lower),
            "empirical": {},  # of the drawn rows: below, with what is estimated of all
        }

    def estimated(self) -> dict[str, Any]:
        """What the drawn rows say of all."""
        reference = sum_up(self.beside.references)
        lower, upper = self._estimate(self.lower), self._estimate(self.upper)
        return {
            "beside": self.beside.method,
            "lower": lower.as_json(),
            "upper": upper.as_json(),
            "sqnr_min_db": None if upper.high is None else sqnr_db(reference, upper.high),
            "sqnr_max_db": None if lower.low is None else sqnr_db(reference, lower.low),
            "empirical": {name: self._estimate(y).as_json() for name, y in self.scores.items()},
        }

    def _estimate(self, y: FloatArray) -> Estimate:
        return self.total(y).estimate(least=float(y.sum()))


def margin(better: SampledSide, worse: SampledSide) -> Estimate:
    """dB by which the worse side's lower end exceeds the better side's upper end, over all rows."""
    return worse.total(worse.lower).over(better.total(better.upper)).in_db().estimate()


def likely_better(quant: SampledSide, prune: SampledSide) -> tuple[str | None, Estimate]:
    """The side whose margin has a lower limit above 0, `quant` or `prune`; and the larger margin."""
    found = {"quant": margin(quant, prune), "prune": margin(prune, quant)}
    name, best = max(found.items(), key=lambda item: -np.inf if item[1].value is None else item[1].value)
    return (name if best.low is not None and best.low > 0 else None), best


def sample_json(quant: SampledSide, prune: SampledSide, seed: int) -> dict[str, Any]:
    """The key `sampled` of a pair."""
    better, by = likely_better(quant, prune)
    return {
        "rows": len(quant.problem),
        "of": len(quant.problem.span),
        "seed": seed,
        "confidence": CONFIDENCE,
        "better": better,
        "margin_db": by.as_json(),
        "quant": quant.estimated(),
        "prune": prune.estimated(),
    }


def sample_words(start: str, sampled: dict[str, Any]) -> str:
    """The verdict in words, none of which is proven."""
    rows = f"sampled, {sampled['rows']} of {sampled['of']} rows at {sampled['confidence']:.0%} confidence"
    if sampled["better"] is None:
        return f"{start} it is open ({rows})."
    better, by = NAMES[sampled["better"]], sampled["margin_db"]
    return f"{start}, {better} is better by at least {by['low']:.2f} dB ({rows}), which is no proof."
