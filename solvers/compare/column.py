"""Which pair of a layer: its bits and, where a comparison has several of them, its granularity and its pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Column:
    """A pair of each layer, as a column of a table of layers."""

    bits: int
    granularity: str = ""
    """Of the quantized side, where the comparison has several; empty where all pairs have the same."""
    against: str = ""
    """A sparsity or N:M in words, where the comparison has several."""

    @property
    def words(self) -> str:
        """As a title: 3 bits, or 3 bits channel, 2:4."""
        rest = ", ".join(filter(None, (self.granularity, self.against)))
        return f"{self.bits} bit{'s' if self.bits > 1 else ''}" + (f" {rest}" if rest else "")

    @property
    def short(self) -> str:
        """Below a heading that says bits: 3, or all words where there are more."""
        return self.words if self.granularity or self.against else str(self.bits)

    def of(self, side: str) -> Column:
        """What is of one side: pairs may have it in common."""
        return Column(self.bits, *((self.granularity, "") if side == "quant" else ("", self.against)))

    @property
    def entries(self) -> dict[str, Any]:
        """Of a pair in `pvq.compare/1`."""
        several = {"granularity": self.granularity, "against": self.against}
        return {"bits": self.bits, **{name: value for name, value in several.items() if value}}


def column_of(entries: Mapping[str, Any]) -> Column:
    """The column of a pair, or of a line of the summary."""
    return Column(entries["bits"], entries.get("granularity", ""), entries.get("against", ""))


def columns_of(document: Mapping[str, Any]) -> list[Column]:
    """All that a record was made for or has, in their order."""
    chosen = document["settings"]
    asked = combined(document["bits"], chosen.get("granularity"), chosen.get("against"))
    found = {column_of(pair) for layer in document["layers"] for pair in layer["pairs"]}
    return asked + sorted(found.difference(asked))


def combined(bits: Sequence[int], granularity: Any, against: Any) -> list[Column]:
    """Each width with each of several granularities and patterns; what is no list is the same for all."""
    grained, patterns = (given if isinstance(given, list) else [""] for given in (granularity, against))
    return [Column(width, grain, pattern) for width in bits for grain in grained for pattern in patterns]


def has_several(document: Mapping[str, Any]) -> bool:
    """Whether a layer has more than one pair of a width."""
    return any(isinstance(document["settings"].get(name), list) for name in ("granularity", "against"))
