"""The table: rows tasks; columns the original, every width quantized, every width pruned."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .compress import METHODS

WORDS = {"quant": "quantized", "prune": "pruned"}


class Entry(NamedTuple):
    """Mean and sample deviation over seeds; deviation NaN of a single one."""

    mean: float
    deviation: float
    seeds: int


def entry(document: Mapping[str, Any], method: str, bits: int) -> Entry | None:
    """What the test data say of a task at a size; None where nothing is known."""
    values = [c["test"] for c in document["cells"] if c["method"] == method and c["bits"] == bits]
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Entry(statistics.fmean(values), deviation, len(values))


def widths(documents: Sequence[Mapping[str, Any]]) -> list[int]:
    """All widths, the largest first."""
    return sorted({bits for document in documents for bits in document["bits"]}, reverse=True)


def rows(documents: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the table as text."""
    every = widths(documents)
    titles = ["", "original", *(f"{bits} bits {WORDS[method]}" for method in METHODS for bits in every)]
    lines = []
    for document in documents:
        original = document["original"]
        name = f"{document['task'].removeprefix('zoo:')}, {document['measure']}"
        name += f" ({document['source']})" if "source" in document else ""
        line = [name, "" if original is None else number(original["test"])]
        line += [shown(entry(document, method, bits)) for method in METHODS for bits in every]
        lines.append(line)
    return titles, lines


def shown(found: Entry | None) -> str:
    """Mean and deviation."""
    if found is None:
        return ""
    deviation = "" if math.isnan(found.deviation) else f" ± {number(found.deviation)}"
    return f"{number(found.mean)}{deviation}"


def number(value: float) -> str:
    """Two decimals."""
    return f"{value:.2f}"


def markdown(documents: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown."""
    titles, lines = rows(documents)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(titles) - 1)
    return "\n".join([line(titles), rule, *map(line, lines)]) + "\n"


def better(document: Mapping[str, Any]) -> dict[int, str]:
    """At each width the method that is ahead by more than the deviations of both, `neither` where none is.

    From one seed there is no deviation, and no word.
    """
    found: dict[int, str] = {}
    sign = 1 if document["higher_is_better"] else -1
    for bits in document["bits"]:
        quant, prune = (entry(document, method, bits) for method in METHODS)
        if quant is None or prune is None or quant.seeds < 2 or prune.seeds < 2:
            continue
        ahead = sign * (quant.mean - prune.mean)
        spread = quant.deviation + prune.deviation
        found[bits] = "neither" if abs(ahead) <= spread else "quant" if ahead > 0 else "prune"
    return found
