"""The figure of a comparison: certified bands with methods as points, or a map of the verdicts of many layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.solvers.compare.column import Column, column_of, columns_of, has_several
from pvq.solvers.compare.verdict import OPEN, PRUNE, QUANT, SAMPLED, SKIPPED

from ..figures import PRUNE as PRUNE_STYLE
from ..figures import QUANT as QUANT_STYLE
from ..figures import new_figure, save
from .gap_table import method_names
from .text import LETTER, letter_of, margin_of, shown_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 6
"""Up to so many layers are drawn with their bands."""
STYLES = {"quant": QUANT_STYLE, "prune": PRUNE_STYLE}
HATCH = {"quant": "////", "prune": "...."}
TITLES = {"quant": "quantization", "prune": "pruning"}
MARKERS = {"quant": "v^<>dP", "prune": "xD+*1h"}
DODGE = 0.06
"""Bits between the points of two methods, so that they do not hide each other."""
FILLS = {QUANT: "white", PRUNE: "0.35", SAMPLED: "#f2e2b0", OPEN: "0.85"}


def comparison_figure(path: Path, document: Mapping[str, Any]) -> None:
    """Up to 6 layers: SQNR against bits with bands and points; more: verdicts by layer and bit width."""
    layers = [layer for layer in document["layers"] if any(p["verdict"] != SKIPPED for p in layer["pairs"])]
    if len(layers) <= PANELS and not has_several(document):
        _bands(path, layers)
    else:
        _map(path, columns_of(document), layers)


def _bands(path: Path, layers: Sequence[Mapping[str, Any]]) -> None:
    columns = min(2, max(1, len(layers)))
    rows = max(1, math.ceil(len(layers) / columns))
    figure = new_figure(9.2 * columns, 4.8 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, layer in zip(axes, layers, strict=False):
        pairs = [_shown(pair) for pair in layer["pairs"] if pair["verdict"] != SKIPPED]
        top = _ceiling(pairs)
        for side in ("quant", "prune"):
            _band(axis, pairs, side, top)
            _methods(axis, layer, pairs, side)
        axis.set(
            xlabel="bits a weight (sparsity beside them)",
            ylabel="SQNR of the layer output (dB)",
            title=f"{layer['name']}, {_rows(layer, pairs)} rows x {layer['in']} inputs",
        )
        ticks = [f"{pair['bits']}\n({100 * pair['sparsity']:.3g}%)" for pair in pairs]
        axis.set_xticks([pair["bits"] for pair in pairs], ticks)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside: bands fill the panel
    for axis in axes[len(layers) :]:
        axis.set_axis_off()
    save(figure, path)


def _shown(pair: Mapping[str, Any]) -> dict[str, Any]:
    return {**pair, **{side: shown_side(pair, side) for side in STYLES}}


def _rows(layer: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> str:
    drawn = next((pair["sampled"]["rows"] for pair in pairs if "sampled" in pair), None)
    return f"{layer['out']}" if drawn is None else f"sampled: {drawn} of {layer['out']}"


def _ceiling(pairs: Sequence[Mapping[str, Any]]) -> float:
    """Where a band without an upper limit ends: 10 dB above everything known."""
    known = [pair[side][end] for pair in pairs for side in STYLES for end in ("sqnr_min_db", "sqnr_max_db")]
    return max((value for value in known if value is not None), default=0.0) + 10.0


def _band(axis: Axes, pairs: Sequence[Mapping[str, Any]], side: str, top: float) -> None:
    """From what the best weights known reach to what is proven impossible."""
    shown = [pair for pair in pairs if pair[side]["sqnr_min_db"] is not None]
    bits = [pair["bits"] for pair in shown]
    least = [pair[side]["sqnr_min_db"] for pair in shown]
    most = [top if pair[side]["sqnr_max_db"] is None else pair[side]["sqnr_max_db"] for pair in shown]
    style = STYLES[side]
    exact = all(high - low < 0.005 for low, high in zip(least, most, strict=True))
    sampled = any("sampled" in pair for pair in pairs)
    ends = "optimum, proven" if exact else "best weights known"
    ends = "sampled" if sampled else ends
    line = {"color": style["color"], "linestyle": style["linestyle"]}
    marker = {} if len(bits) > 1 else {"marker": style["marker"]}  # a line of one point shows nothing
    axis.plot(bits, least, linewidth=1.6, label=f"{TITLES[side]}: {ends}", **line, **marker)
    if exact:
        return
    axis.plot(bits, most, linewidth=0.8, **line, **marker)
    axis.fill_between(
        bits,
        least,
        most,
        facecolor="none",
        edgecolor=style["color"],
        hatch=HATCH[side],
        linewidth=0.0,
        alpha=0.5,
        label=f"{TITLES[side]}: {'limits of 95 % confidence' if sampled else 'not excluded by proof'}",
    )


def _methods(axis: Axes, layer: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], side: str) -> None:
    from ...sqnr import sqnr_db

    names = method_names(layer, side)
    for i, name in enumerate(names):
        points = []
        for pair in pairs:
            error = pair[side]["empirical"].get(name)
            db = None if error is None else sqnr_db(pair[side]["reference"], error)
            if db is not None:
                points.append((pair["bits"], db))
        marker = MARKERS[side][i % len(MARKERS[side])]
        axis.plot(
            [bits + DODGE * (i - (len(names) - 1) / 2) for bits, _ in points],
            [db for _, db in points],
            linestyle="none",
            marker=marker,
            markersize=6,
            color="0.25",
            markerfacecolor="none",
            label=f"{TITLES[side]}: {name}",
        )


def _map(path: Path, columns: Sequence[Column], layers: Sequence[Mapping[str, Any]]) -> None:
    """A cell for each layer and bit width, and the share decided above each column."""
    from matplotlib.patches import Patch, Rectangle

    figure = new_figure(3.4 + 0.75 * len(columns), 1.8 + 0.2 * len(layers))
    axis = figure.subplots()
    for y, layer in enumerate(layers):
        cells = {column_of(pair): pair for pair in layer["pairs"] if pair["verdict"] != SKIPPED}
        for x, column in enumerate(columns):
            if column not in cells:
                continue
            pair = cells[column]
            found, margin, letter = pair["verdict"], margin_of(pair), letter_of(pair)
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=FILLS[found], edgecolor="0.6", lw=0.5))
            text = letter if margin is None else f"{letter} {abs(margin):.1f}"
            colour = "white" if found == PRUNE else "black"
            weight = "bold" if found == OPEN else "normal"
            axis.text(x, y, text, ha="center", va="center", fontsize=7, color=colour, weight=weight)
    heads = []
    for column in columns:
        found = [p["verdict"] for layer in layers for p in layer["pairs"] if column_of(p) == column]
        found = [v for v in found if v != SKIPPED]
        share = f"{100 * sum(v in (QUANT, PRUNE) for v in found) / len(found):.0f}%" if found else "-"
        heads.append("\n".join((*column.words.replace(" bit", "\u00a0bit").split(" "), share)))
    axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(layers) - 0.5, -0.5))
    axis.set_xticks(range(len(columns)), heads)
    axis.set_yticks(range(len(layers)), [layer["name"] for layer in layers], fontsize=7)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.set_xlabel("share of layers with a proven verdict, and margin (open: missing) in dB", fontsize=8)
    handles = [Patch(facecolor=FILLS[v], edgecolor="0.6", label=f"{LETTER[v]}  {v}") for v in (QUANT, PRUNE, OPEN)]
    if any(pair["verdict"] == SAMPLED for layer in layers for pair in layer["pairs"]):
        handles.append(Patch(facecolor=FILLS[SAMPLED], edgecolor="0.6", label="q, p  sampled: likely, no proof"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    save(figure, path)
