"""The map and the charts of a report: told apart by letters, markers and lightness, not by colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pvq.bounds.sqnr import sqnr_db
from pvq.solvers.compare import column as compare
from pvq.solvers.compare.verdict import OPEN, PRUNE, QUANT, SAMPLED, SKIPPED

from ..compare.gap_table import method_names
from ..compare.text import letter_of, margin_of, shown_side
from .tables import SIDES, Column, known_difference

COLOURS = {"quant": "#1f4e9c", "prune": "#d1601f", "joint": "#1b7f5c"}
"""Two that colour-blind people tell apart, and that differ in lightness."""
DASH = {"quant": "solid", "prune": "dash", "joint": "dot"}
MARKS = {
    "quant": ("circle", "circle-cross", "circle-x", "diamond", "hexagon", "star"),
    "prune": ("square", "square-cross", "square-x", "triangle-up", "triangle-down", "cross"),
}
"""Of methods, all open; of more methods they begin again."""
SYMBOLS = {"quant": "circle", "prune": "square", "joint": "diamond"}
KINDS = {SKIPPED: "", OPEN: "o", SAMPLED: "s", PRUNE: "p", QUANT: "q"}
"""Classes of cells, each darker than the one before it (page.css)."""
MOST_POINTS = 500
"""Points of a box that are all shown; of more, those far out."""

Chart = dict[str, Any]


def verdict_map(layers: Sequence[Mapping[str, Any]], columns: Sequence[compare.Column]) -> list[dict[str, Any]]:
    """A line for each layer, with a cell for each column: letter, dB that are proven, dB that are estimated."""
    lines, count = [], 0
    for layer in layers:
        cells = {
            compare.column_of(pair): {"at": at, **_cell(pair)} for at, pair in enumerate(layer["pairs"], count)
        }
        count += len(cells)
        lines.append({"name": layer["name"], "cells": [cells.get(column) for column in columns]})
    return lines


def _cell(pair: Mapping[str, Any]) -> dict[str, Any]:
    """`kind` is the class of its colour, `known` how far apart the best weights known are: no proof."""
    if pair["verdict"] == SKIPPED:
        return {"kind": KINDS[SKIPPED], "text": "-", "known": ""}
    letter, margin, known = letter_of(pair), margin_of(pair), known_difference(pair)
    ahead = "" if known is None else "Q" if known >= 0 else "P"
    return {
        "kind": KINDS[pair["verdict"]],
        "text": letter if margin is None else f"{letter} {abs(margin):.1f}",
        "known": "" if known is None else f"~{ahead if ahead != letter else ''}{abs(known):.1f}",
    }


def curves(layers: Sequence[Mapping[str, Any]]) -> Chart:
    """SQNR of each layer against bits: what is reached, what is not excluded, and methods as points.

    `styles` are the lines of all layers, each once; a layer has numbers of styles, and points of each.
    """
    named = {side: sorted({name for one in layers for name in method_names(one, side)}) for side in MARKS}
    styles: dict[str, int] = {}
    drawn: list[Chart] = []
    found: dict[str, list[Any]] = {}
    for layer in layers:
        shown = found[layer["name"]] = []
        for style, points in _lines(layer, named):
            number = styles.setdefault(style["name"], len(styles))
            if number == len(drawn):
                drawn.append(style)
            shown.append([number, [bits for bits, _ in points], [float(f"{db:.5g}") for _, db in points]])
    layout = {
        "xaxis": {"title": {"text": "bits a weight"}, "dtick": 1, "automargin": True},
        "yaxis": {"title": {"text": "SQNR of the layer output, dB"}},
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "traceorder": "normal"},
    }
    return {"styles": drawn, "layers": found, "layout": layout}


def _lines(
    layer: Mapping[str, Any], named: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Chart, list[tuple[int, float]]]]:
    pairs = [pair for pair in layer["pairs"] if pair["verdict"] != SKIPPED]
    ends = [shown_side(pair, side)[f"sqnr_{e}_db"] for pair in pairs for side in ("quant", "prune") for e in ENDS]
    top = max((end for end in ends if end is not None), default=0.0) + 10.0
    for side in ("quant", "prune"):
        shown = [(pair["bits"], shown_side(pair, side)) for pair in pairs]
        shown = [(bits, one) for bits, one in shown if one["sqnr_min_db"] is not None]
        if not shown:
            continue
        line = {"color": COLOURS[side], "dash": DASH[side]}
        marker: Chart = {"color": COLOURS[side], "symbol": SYMBOLS[side]}
        reached = {"name": f"{SIDES[side]}, reached", "mode": "lines+markers", "line": line, "marker": marker}
        yield {"type": "scatter", **reached}, [(bits, one["sqnr_min_db"]) for bits, one in shown]
        band = {"fill": "tonexty", "fillpattern": {"shape": "/" if side == "quant" else ".", "size": 6}}
        most = {"name": f"{SIDES[side]}, not excluded", "mode": "lines", "line": {**line, "width": 1}, **band}
        ends = [top if one["sqnr_max_db"] is None else one["sqnr_max_db"] for _, one in shown]
        yield {"type": "scatter", **most}, [(bits, end) for (bits, _), end in zip(shown, ends, strict=True)]
        for method in method_names(layer, side):
            points = [
                (pair["bits"], sqnr_db(pair[side]["reference"], pair[side]["empirical"][method]))
                for pair in pairs
                if method in pair[side]["empirical"]
            ]
            mark = MARKS[side][named[side].index(method) % len(MARKS[side])]
            marker = {"color": "#444", "symbol": f"{mark}-open", "size": 9}
            style = {"type": "scatter", "name": f"{SIDES[side]}: {method}", "mode": "markers", "marker": marker}
            yield style, [(bits, db) for bits, db in points if db is not None]


ENDS = ("min", "max")


def gap_chart(methods: Column) -> Chart | None:
    """The spread of each method's distance over layers and widths; the page takes the numbers from the table."""
    data = []
    for number, method in enumerate(methods["words"]):
        side = next(side for side, title in SIDES.items() if method.endswith(f"({title})"))
        data.append(
            {
                "type": "box",
                "name": method,
                "boxpoints": "all" if methods["values"].count(number) <= MOST_POINTS else "outliers",
                "marker": {"color": COLOURS[side], "symbol": SYMBOLS[side], "size": 5},
                "showlegend": False,
            }
        )
    layout = {
        "height": 120 + 50 * len(data),
        "xaxis": {"title": {"text": "dB above the best weights known (at least so far from the optimum)"}},
        "yaxis": {"automargin": True},
    }
    return {"data": data, "layout": layout} if data else None


def widths(found: Sequence[Mapping[str, Any]], order: Sequence[str]) -> Chart | None:
    """Rows by the width of their intervals; found : `side`, `kind`, `width`, `rows`."""
    if not found:
        return None
    data = []
    for side in SIDES:
        counts = {
            width: sum(e["rows"] for e in found if (e["side"], e["width"]) == (side, width)) for width in order
        }
        if any(counts.values()):
            data.append(
                {
                    "type": "bar",
                    "x": list(order),
                    "y": [counts[width] for width in order],
                    "name": SIDES[side],
                    "marker": {
                        "color": COLOURS[side],
                        "pattern": {"shape": {"quant": "", "prune": "/", "joint": "x"}[side]},
                    },
                }
            )
    layout = {
        "height": 380,
        "xaxis": {"title": {"text": "width of a row's interval"}, "type": "category", "automargin": True},
        "yaxis": {"title": {"text": "rows"}},
        "legend": {"orientation": "h", "y": 1.15},
    }
    return {"data": data, "layout": layout}


def seconds(found: Sequence[tuple[str, float]]) -> Chart | None:
    """Seconds of work by layer."""
    some = [(name, value) for name, value in found if value > 0]
    if not some:
        return None
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [escape(name) for name, _ in some],
        "x": [round(value, 2) for _, value in some],
        "marker": {"color": "#555"},
    }
    layout = {
        "height": 120 + 22 * len(some),
        "xaxis": {"title": {"text": "seconds of work"}},
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
    }
    return {"data": [bars], "layout": layout}
