"""The long tables of a report, as columns: a word once, and numbers with the digits that are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pvq.bounds.sqnr import sqnr_db
from pvq.solvers.compare import column as compare
from pvq.solvers.compare.column import column_of
from pvq.solvers.compare.verdict import OPEN, SAMPLED, SKIPPED

from ..compare.gap_table import gap_of
from ..compare.text import margin_of, shown_side
from ..volume import above_predicted_db, predicted

SIDES = {"quant": "quantization", "prune": "pruning", "joint": "joint"}

SOME = ("quant", "prune")

Column = dict[str, Any]
METHOD = 2
"""The column of `gaps_table` that says which method."""


def words(values: Iterable[str], first: Iterable[str] = ()) -> Column:
    """A column of words, as their numbers in a list of those that there are, which begins with `first`."""
    places = {word: place for place, word in enumerate(first)}
    found = [places.setdefault(value, len(places)) for value in values]
    return {"words": list(places), "values": found}


def numbers(values: Iterable[float | None], digits: int = 2) -> Column:
    """A column of numbers, None where there is none."""
    return {"digits": digits, "values": [None if value is None else round(value, digits) for value in values]}


def widths(columns: Sequence[compare.Column]) -> Column:
    """A column of bits, with what a comparison has beside them where there are several of a width."""
    if all(column == compare.Column(column.bits) for column in columns):
        return numbers((column.bits for column in columns), 0)
    return words(column.words for column in columns)


def pairs_table(layers: Sequence[Mapping[str, Any]]) -> list[Column]:
    """A line for each layer and width: verdict, what is proven, and what is estimated."""
    lines = [(layer["name"], pair) for layer in layers for pair in layer["pairs"]]
    sides = {side: [_shown(pair, side) for _, pair in lines] for side in SOME}
    ends = [
        column
        for some in sides.values()
        for column in (
            numbers(side.get("sqnr_min_db") for side in some),
            numbers(side.get("sqnr_max_db") for side in some),
            words(side.get("bound_kind", "-") for side in some),
        )
    ]
    return [
        words(name for name, _ in lines),
        widths([column_of(pair) for _, pair in lines]),
        numbers((100 * pair["sparsity"] if "sparsity" in pair else None for _, pair in lines), 1),
        words(pair["verdict"] for _, pair in lines),
        numbers(margin_shown(pair) for _, pair in lines),
        numbers(known_difference(pair) for _, pair in lines),
        *ends,
        numbers(_modelled_db(pair) for _, pair in lines),
        numbers((pair.get("seconds") for _, pair in lines), 1),
        words(pair.get("reason", "") for _, pair in lines),
    ]


def _shown(pair: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """What the table says of a side; of drawn rows what they say of all."""
    if pair["verdict"] == SKIPPED:
        return {}
    return {**shown_side(pair, side), **({"bound_kind": SAMPLED} if "sampled" in pair else {})}


def _modelled_db(pair: Mapping[str, Any]) -> float | None:
    """SQNR of the quantized optimum that the volume model predicts; of drawn rows theirs."""
    if pair["verdict"] == SKIPPED:
        return None
    quant = pair["quant"]
    least = predicted(quant)
    reference = quant["reference"] if least is None else quant["model"].get("drawn", quant)["reference"]
    return None if least is None else sqnr_db(reference, least)


def margin_shown(pair: Mapping[str, Any]) -> float | None:
    """dB by which one side is better; negative: what an open pair lacks."""
    margin = None if pair["verdict"] == SKIPPED else margin_of(pair)
    return margin if margin is None or pair["verdict"] != OPEN else -abs(margin)


def known_difference(pair: Mapping[str, Any]) -> float | None:
    """dB by which the best quantized weights known are ahead: an estimate of the true difference, no proof.

    Of drawn rows, where some were: the others have only what the plainest method reaches.
    """
    if pair["verdict"] == SKIPPED:
        return None
    ends = [
        pair["sampled"][side]["upper"]["estimate"] if "sampled" in pair else pair[side]["upper"] for side in SOME
    ]
    return None if None in ends else sqnr_db(ends[1], ends[0])


def gaps_table(layers: Sequence[Mapping[str, Any]]) -> list[Column]:
    """How far each method is from the optimum, for each layer and width."""
    lines = [
        (
            *(layer["name"], column_of(pair).of(side), f"{method} ({SIDES[side]})", gap),
            above_predicted_db(pair[side], error),
        )
        for layer in layers
        for pair in layer["pairs"]
        for side in (SOME if pair["verdict"] != SKIPPED else ())
        for method, error in pair[side]["empirical"].items()
        if (gap := gap_of(error, pair[side]["lower"], pair[side]["upper"])) is not None
    ]
    found = list(dict.fromkeys(lines))  # a side of two pairs counts once
    methods = [method for _, _, method, *_ in found]
    return [
        words(layer for layer, *_ in found),
        widths([column for _, column, *_ in found]),
        words(methods, sorted(set(methods))),
        numbers(gap.least for *_, gap, _ in found),
        numbers(gap.most for *_, gap, _ in found),
        numbers(above for *_, above in found),
    ]


def proofs_table(proofs: Sequence[Mapping[str, Any]], links: Sequence[str]) -> list[Column]:
    """Layer, side, bits and file of each proof; `links` lead there from the page."""
    return [
        words(proof["layer"] for proof in proofs),
        words(SIDES[proof["side"]] for proof in proofs),
        numbers((proof["bits"] for proof in proofs), 0),
        {**words(proof["file"] for proof in proofs), "links": list(links)},
    ]
