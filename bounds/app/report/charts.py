"""The charts of a report, as plotly draws them: told apart by letters, markers and lightness, not by colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pvq.bounds.sqnr import sqnr_db
from pvq.solvers.compare.verdict import OPEN, PRUNE, QUANT, SAMPLED, SKIPPED

from ..compare.gap_table import gap_of, method_names
from ..compare.text import letter_of, margin_of, shown_side

SIDES = {"quant": "quantization", "prune": "pruning", "joint": "joint"}
COLOURS = {"quant": "#1f4e9c", "prune": "#d1601f", "joint": "#1b7f5c"}
"""Two that colour-blind people tell apart, and that differ in lightness."""
DASH = {"quant": "solid", "prune": "dash", "joint": "dot"}
SYMBOLS = {"quant": "circle", "prune": "square", "joint": "diamond"}
LEVEL = {SKIPPED: 0, OPEN: 1, SAMPLED: 2, PRUNE: 3, QUANT: 4}
SCALE = ["#ffffff", "#e4e4e4", "#f2e2b0", "#f0a868", "#1f4e9c"]
"""Cells by `LEVEL`: each darker than the one before it."""
MOST_POINTS = 500
"""Points of a box that are all shown; of more, those far out."""

Chart = dict[str, Any]


def verdict_map(layers: Sequence[Mapping[str, Any]], bits: Sequence[int]) -> Chart:
    """A cell for each layer and bit width: letter, dB that are proven, and dB between the best weights known."""
    names = [escape(layer["name"]) for layer in layers]
    levels, texts, hovers = [], [], []
    for layer in layers:
        pairs = {pair["bits"]: pair for pair in layer["pairs"]}
        cells = [_cell(pairs.get(width)) for width in bits]
        levels.append([cell[0] for cell in cells])
        texts.append([cell[1] for cell in cells])
        hovers.append([cell[2] for cell in cells])
    steps: list[Any] = []
    for i, colour in enumerate(SCALE):
        steps += [[i / len(SCALE), colour], [(i + 1) / len(SCALE), colour]]
    heat = {
        "type": "heatmap",
        "z": levels,
        "x": [f"{width} bits" for width in bits],
        "y": names,
        "text": texts,
        "customdata": hovers,
        "texttemplate": "%{text}",
        "hovertemplate": "%{y}, %{x}<br>%{customdata}<extra></extra>",
        "zmin": -0.5,
        "zmax": len(SCALE) - 0.5,
        "colorscale": steps,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }
    layout = {
        "height": 120 + 24 * len(layers),
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
        "xaxis": {"side": "top", "type": "category", "fixedrange": True},
    }
    return {"data": [heat], "layout": layout}


def _cell(pair: Mapping[str, Any] | None) -> tuple[int | None, str, str]:
    if pair is None:
        return None, "-", "not reached"
    if pair["verdict"] == SKIPPED:
        return LEVEL[SKIPPED], "-", escape(pair["reason"])
    margin = margin_of(pair)
    text = letter_of(pair) if margin is None else f"{letter_of(pair)} {abs(margin):.1f}"
    said = [escape(pair["words"]), f"best weights known: {known_difference(pair)}"]
    for side in ("quant", "prune"):
        said.append(f"{SIDES[side]}: {db_range(shown_side(pair, side))}, {pair[side]['bound_kind']}")
    return LEVEL[pair["verdict"]], text, "<br>".join(said)


def known_difference(pair: Mapping[str, Any]) -> str:
    """How far apart the best weights known of both sides are: an estimate of the true difference, no proof."""
    db = sqnr_db(pair["prune"]["upper"], pair["quant"]["upper"])
    if db is None:
        return "-"
    return f"{'quantization' if db >= 0 else 'pruning'} by {abs(db):.2f} dB"


def db_range(side: Mapping[str, Any]) -> str:
    """The interval of the best possible SQNR."""
    least, most = side["sqnr_min_db"], side["sqnr_max_db"]
    low = "?" if least is None else f"{least:z.2f}"
    return f"{low} to {'?' if most is None else f'{most:z.2f}'} dB"


def curves(layer: Mapping[str, Any]) -> Chart:
    """SQNR of one layer against bits: what is reached, what is not excluded, and methods as points."""
    pairs = [pair for pair in layer["pairs"] if pair["verdict"] != SKIPPED]
    ends = [shown_side(pair, side)[f"sqnr_{e}_db"] for pair in pairs for side in ("quant", "prune") for e in ENDS]
    top = max((end for end in ends if end is not None), default=0.0) + 10.0
    data: list[Chart] = []
    for side in ("quant", "prune"):
        shown = [(pair["bits"], shown_side(pair, side)) for pair in pairs]
        shown = [(bits, one) for bits, one in shown if one["sqnr_min_db"] is not None]
        if not shown:
            continue
        bits = [bits for bits, _ in shown]
        line = {"color": COLOURS[side], "dash": DASH[side]}
        least = [one["sqnr_min_db"] for _, one in shown]
        most = [top if one["sqnr_max_db"] is None else one["sqnr_max_db"] for _, one in shown]
        group = {"legendgroup": side, "mode": "lines+markers", "type": "scatter", "x": bits}
        marker = {"color": COLOURS[side], "symbol": SYMBOLS[side]}
        data.append({**group, "y": least, "name": f"{SIDES[side]}, reached", "line": line, "marker": marker})
        band = {"fill": "tonexty", "fillpattern": {"shape": "/" if side == "quant" else ".", "size": 6}}
        thin = {**line, "width": 1}
        name = f"{SIDES[side]}, not excluded"
        data.append({**group, **band, "y": most, "name": name, "line": thin, "mode": "lines"})
        for method in method_names(layer, side):
            points = [
                (pair["bits"], sqnr_db(pair[side]["reference"], pair[side]["empirical"][method]))
                for pair in pairs
                if method in pair[side]["empirical"]
            ]
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [bits for bits, _ in points],
                    "y": [db for _, db in points],
                    "name": f"{SIDES[side]}: {method}",
                    "marker": {"color": "#444", "symbol": f"{SYMBOLS[side]}-open", "size": 9},
                }
            )
    layout = {
        "height": 460,
        "xaxis": {"title": {"text": "bits a weight (sparsity of equal cost)"}, "dtick": 1},
        "yaxis": {"title": {"text": "SQNR of the layer output, dB"}},
        "legend": {"orientation": "h", "y": -0.25},
    }
    return {"data": data, "layout": layout}


ENDS = ("min", "max")


def gaps(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How far each method is from the optimum, for each layer and width."""
    found = []
    for layer in layers:
        for pair in layer["pairs"]:
            for side in ("quant", "prune") if pair["verdict"] != SKIPPED else ():
                for method, error in pair[side]["empirical"].items():
                    gap = gap_of(error, pair[side]["lower"], pair[side]["upper"])
                    if gap is not None:
                        about = {"layer": layer["name"], "bits": pair["bits"], "side": SIDES[side]}
                        found.append({**about, "method": method, "least": gap.least, "most": gap.most})
    return found


def gap_chart(found: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The spread of each method's distance over layers and widths."""
    if not found:
        return None
    names = sorted({(gap["side"], gap["method"]) for gap in found})
    data = []
    for side, method in names:
        some = [gap for gap in found if (gap["side"], gap["method"]) == (side, method)]
        word = next(key for key, title in SIDES.items() if title == side)
        data.append(
            {
                "type": "box",
                "x": [gap["least"] for gap in some],
                "text": [escape(f"{gap['layer']}, {gap['bits']} bits") for gap in some],
                "name": f"{method} ({side})",
                "boxpoints": "all" if len(some) <= MOST_POINTS else "outliers",
                "marker": {"color": COLOURS[word], "symbol": SYMBOLS[word], "size": 5},
                "showlegend": False,
            }
        )
    layout = {
        "height": 120 + 50 * len(names),
        "xaxis": {"title": {"text": "dB above the best weights known (at least so far from the optimum)"}},
        "yaxis": {"automargin": True},
    }
    return {"data": data, "layout": layout}


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
        "x": [value for _, value in some],
        "marker": {"color": "#555"},
    }
    layout = {
        "height": 120 + 22 * len(some),
        "xaxis": {"title": {"text": "seconds of work"}},
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
    }
    return {"data": [bars], "layout": layout}
