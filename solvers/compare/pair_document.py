"""A pair in `pvq.compare/1`: its sides, its verdict in words, and what other pairs have proven of a side since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pvq.bounds.storage import Pair
from pvq.bounds.zero import Zero

from ..result import BoundKind
from .column import Column
from .sampled import SampledSide, sample_json, sample_words
from .side import Side, merge
from .verdict import MARGIN, NAMES, OPEN, SAMPLED, Interval, margin_db, opening, sentence, verdict

SIDES = ("quant", "prune")
Told = tuple[Column, Pair, dict[str, Any]]
"""A pair that has been handed over."""


def document_of(
    column: Column, pair: Pair, quant: Side, prune: Side, old: Mapping[str, Any] | None, seed: int
) -> dict[str, Any]:
    """What is known of a pair, with what an earlier run knew; `seed` of the rows that are drawn."""
    documents = merged_sides(pair, quant, prune, old)
    judged = _judged(column, pair, documents)
    if isinstance(quant, SampledSide) and isinstance(prune, SampledSide):
        sampled = sample_json(quant, prune, seed)
        judged["sampled"] = sampled
        if judged["verdict"] == OPEN:
            judged["verdict"] = OPEN if sampled["better"] is None else SAMPLED
            judged["words"] = sample_words(_start(column, pair), sampled)
    pattern = {"pattern": pair.prune.as_json(), **documents["prune"]}
    return {**column.entries, "sparsity": pair.sparsity, **judged, "quant": documents["quant"], "prune": pattern}


def merged_sides(pair: Pair, quant: Side, prune: Side, old: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Both sides, each with what an earlier run proved beyond it."""
    found = {
        "quant": quant.as_json(pair.quant_bits, 1.0),
        "prune": prune.as_json(pair.prune_bits, pair.macs),
    }
    return found if old is None else {name: merge(old[name], side) for name, side in found.items()}


def verdict_of(sides: Mapping[str, Mapping[str, Any]]) -> str:
    """What the intervals of both sides say."""
    return verdict(*_ends(sides))


def with_others(told: Told, others: Iterable[Told]) -> dict[str, Any] | None:
    """A pair with what others have proven of a side that they share with it; None where that is nothing more.

    Pairs of drawn rows stay: who looks again at a moment that others choose deceives himself.
    """
    column, pair, known = told
    sides = {name: known[name] for name in SIDES}
    for _, other, found in others:
        for name in SIDES:
            if getattr(other, name) == getattr(pair, name):
                sides[name] = merge(found[name], sides[name])
    ends = zip(_ends(sides), _ends(known), strict=True)
    if "sampled" in known or not any(_is_more(*both) for both in ends):
        return None
    return {**known, **_judged(column, pair, sides), **sides}


def _judged(column: Column, pair: Pair, sides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    ends = _ends(sides)
    words, found = sentence(_start(column, pair), sides["quant"]["reference"], *ends), verdict(*ends)
    if found == OPEN:
        words += _zero_words(sides)
    return {"verdict": found, "margin_db": margin_db(*ends), "words": words}


def _zero_words(sides: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a pair may be open whatever is searched: who reaches an error of 0 but for the shift of H."""
    known = {NAMES[name]: sides[name].get("zero_without_shift") for name in SIDES}
    if not any(zero and zero["answer"] != Zero.OPEN for zero in known.values()):
        return ""
    said = {
        Zero.YES: "{} reaches an error of 0{}",
        Zero.NO: "{} does not reach an error of 0{}",
        Zero.OPEN: "of {} that is not decided{}",
    }
    parts = [
        said[zero["answer"]].format(name, " but for rounding" if zero["bound_kind"] == BoundKind.NUMERICAL else "")
        for name, zero in sorted(
            known.items(), key=lambda item: item[1]["answer"] == Zero.OPEN if item[1] else True
        )
        if zero
    ]
    return f" Without the shift of H, {'; '.join(parts)}."


def _start(column: Column, pair: Pair) -> str:
    return opening(pair.bits, pair.sparsity, pair.prune.nm, column.granularity)


def _is_more(new: Interval, old: Interval) -> bool:
    """Beyond the rounding of two evaluations of one error."""
    return new.lower > old.lower * (1 + MARGIN) or new.upper < old.upper * (1 - MARGIN)


def _ends(sides: Mapping[str, Mapping[str, Any]]) -> tuple[Interval, Interval]:
    quant, prune = (Interval(sides[name]["lower"], sides[name]["upper"]) for name in SIDES)
    return quant, prune
