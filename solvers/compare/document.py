"""The document `pvq.compare/1`: read for a resumed run, filled pair by pair, summed up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError

from .column import Column, column_of, columns_of
from .layer import Terms
from .network import Member
from .schema import SCHEMA, read_record
from .verdict import OPEN, PRUNE, QUANT, SAMPLED, SKIPPED

VERDICTS = (QUANT, PRUNE, SAMPLED, OPEN, SKIPPED)


def settings(what: Terms, solver: str) -> dict[str, Any]:
    """What defines the problems and what was asked of each; a resumed run must have the same."""
    quant, prune = what.quant, what.prune
    return {
        "grid": quant.grid,
        "levels": None if what.levels is None else list(what.levels),
        "granularity": list(what.granularities) or quant.granularity,
        "range": quant.range,
        "block": prune.block,
        "nm": what.nm,
        "update": prune.update,
        "scope": prune.scope,
        "base": what.cost.base,
        "mask": what.cost.mask,
        "scale_bits": what.cost.scale_bits,
        "solver": solver,
        "compare": [method.name for method in what.methods],
        "gap": what.options.gap,
        "seed": what.options.seed,
        "sample_rows": what.sample_rows,
        "against": list(what.patterns) or what.against,
    }


def new_document(
    members: Sequence[Member], chosen: Mapping[str, Any], bits: Sequence[int], earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A document with all that an earlier run has: pairs of this run take their places one by one."""
    layers = [member.as_json() for member in members]
    own = {layer["name"]: layer for layer in layers}
    widths = set(bits)
    for layer in earlier["layers"] if earlier else []:
        mine = own.get(layer["name"])
        if mine is None:
            layers.append(layer)
        elif mine["skipped"] is None:
            mine["pairs"] = list(layer["pairs"])
        elif layer["pairs"]:  # its file cannot be read any more; what was proven of it stays
            why = mine["skipped"]
            mine.update(layer, failed=why)
        widths |= {pair["bits"] for pair in layer["pairs"]}
    return {
        "schema": SCHEMA,
        "settings": dict(chosen),
        "bits": sorted(widths),
        "layers": layers,
        "summary": [],
        "environment": {},
    }


def add_pair(document: dict[str, Any], name: str, pair: dict[str, Any]) -> None:
    """Put a pair in its layer, in order of columns, in the place of an earlier one."""
    layer = next(layer for layer in document["layers"] if layer["name"] == name)
    column = column_of(pair)
    others = [other for other in layer["pairs"] if column_of(other) != column]
    layer["pairs"] = [*others, pair]
    order = columns_of(document)
    layer["pairs"].sort(key=lambda other: order.index(column_of(other)))


def add_failure(document: dict[str, Any], name: str, why: str) -> None:
    """Say of a layer why it could not be compared any more."""
    next(layer for layer in document["layers"] if layer["name"] == name)["failed"] = why


def summarise(document: dict[str, Any]) -> None:
    """Count verdicts by bit width, granularity and pattern."""
    document["summary"] = []
    for column in columns_of(document):
        pairs = [pair for layer in document["layers"] for pair in layer["pairs"] if column_of(pair) == column]
        count = {name: sum(pair["verdict"] == name for pair in pairs) for name in VERDICTS}
        compared = len(pairs) - count[SKIPPED]
        document["summary"].append(
            {
                **column.entries,
                "quantization_better": count[QUANT],
                "pruning_better": count[PRUNE],
                "sampled": count[SAMPLED],
                "open": count[OPEN],
                "skipped": count[SKIPPED],
                "decided_share": (count[QUANT] + count[PRUNE]) / compared if compared else None,
            }
        )


def read_document(path: Path, members: Sequence[Member], chosen: Mapping[str, Any]) -> dict[str, Any] | None:
    """The document of an earlier run, None without a file.

    Raises
    ------
    ProblemError
        Not such a document, made with other settings, or of other layers.
    """
    if not os.path.exists(path):
        return None
    document = read_record(path)
    for name, value in chosen.items():
        before = document["settings"].get(name)
        if before == value:
            continue
        if name == "levels":
            raise ProblemError(f"cannot resume: {path} was made with other levels than {chosen['grid']} has now")
        raise ProblemError(f"cannot resume: {path} was made with {name} = {before}, not {value}")
    hashes = {layer["name"]: layer["sha256"] for layer in document["layers"]}
    for member in members:
        if member.skipped is None and hashes.get(member.name, member.sha256) != member.sha256:
            raise ProblemError(f"cannot resume: layer '{member.name}' has changed since {path} was made")
    return document


def known_pairs(document: Mapping[str, Any] | None) -> dict[str, dict[Column, Any]]:
    """Pairs by layer name and column."""
    if document is None:
        return {}
    return {layer["name"]: {column_of(pair): pair for pair in layer["pairs"]} for layer in document["layers"]}
