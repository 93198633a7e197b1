"""What each layer of a record `pvq.compare/1` may take, what it costs, and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.storage import BASES

from ..compare.column import has_several
from ..compare.verdict import SKIPPED
from ..result import BoundKind

QUANT, PRUNE, NOTHING = "quant", "prune", "none"


@dataclass(frozen=True)
class Option:
    """One way to store a layer."""

    technique: str
    """quant, prune, or none: the weights as they are."""
    bits: int
    """Of the pair it is from; those of a weight that is not quantized for none."""
    cost: int
    """Bits of the whole layer."""
    lower: float
    upper: float
    """Ends of the interval of the layer's error."""
    kind: BoundKind
    sparsity: float | None = None

    @property
    def words(self) -> str:
        """What it is, as a person says it."""
        if self.technique == NOTHING:
            return "uncompressed"
        return f"{self.bits} bits" if self.technique == QUANT else f"sparsity {self.sparsity:.4g}"


@dataclass(frozen=True)
class Item:
    """A layer with its options; `weight` is that of its error in the sum."""

    name: str
    size: int
    """Weights of the layer."""
    reference: float | None
    """w'Hw over its rows; None where no pair says it."""
    options: tuple[Option, ...]
    weight: float = 1.0

    @property
    def cheapest(self) -> int:
        """Least cost of its options."""
        return min(option.cost for option in self.options)


def items_of(document: Mapping[str, Any]) -> tuple[list[Item], list[str]]:
    """The layers of a checked record, and the names of those whose size it does not say.

    A layer without a pair has one option: nothing is done to it.

    Raises
    ------
    ProblemError
        No layer has a pair, or the record does not say what an uncompressed weight costs.
    """
    if has_several(document):
        raise ProblemError("the record compares several granularities or patterns; allocate from one of each")
    base = document["settings"].get("base")
    if type(base) is not int or base not in BASES:
        expected = " or ".join(map(str, BASES))
        raise ProblemError(f"the record says 'base' {str(base)[:40]}, expected {expected} bits")
    items, unknown = [], []
    for layer in document["layers"]:
        size = layer["out"] * layer["in"]
        pairs = [pair for pair in layer["pairs"] if pair["verdict"] != SKIPPED]
        if size == 0:
            if pairs:
                raise ProblemError(f"layer '{layer['name'][:80]}' of the record has pairs and no weights")
            unknown.append(layer["name"])
            continue
        options = [_option(side, pair, size) for pair in pairs for side in (QUANT, PRUNE)]
        options.append(Option(NOTHING, base, base * size, 0.0, 0.0, BoundKind.RIGOROUS))
        reference = max((pair[QUANT]["reference"] for pair in pairs), default=None)
        items.append(Item(layer["name"], size, reference, tuple(options)))
    if all(len(item.options) == 1 for item in items):
        raise ProblemError("no layer of the record has a pair: there is nothing to choose")
    return items, unknown


def _option(side: str, pair: Mapping[str, Any], size: int) -> Option:
    found = pair[side]
    return Option(
        side,
        pair["bits"],
        round(Fraction(found["storage_bits"]) * size),  # whole, but for the division of the record
        abs(found["lower"]),  # a sum that was rounded down may be -0
        found["upper"],
        BoundKind(found["bound_kind"]),
        pair["sparsity"] if side == PRUNE else None,
    )


def uniform(items: Sequence[Item], technique: str, bits: int) -> list[Option]:
    """The same for all: the option of a width and technique where a layer has it, nothing where not."""
    return [
        next((o for o in item.options if (o.technique, o.bits) == (technique, bits)), item.options[-1])
        for item in items
    ]
