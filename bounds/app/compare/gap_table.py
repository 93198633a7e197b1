"""The optimality gap table: how many dB each published method is from the least possible error."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pvq.layers.files import write_text
from pvq.solvers.compare.column import column_of
from pvq.solvers.compare.verdict import SKIPPED

from ..console import printable
from ..volume import above_predicted_db, predicted

SUFFIXES = (".md", ".tex", ".csv")
TITLES = {"quant": "quantization", "prune": "pruning"}


@dataclass(frozen=True)
class Marks:
    """How a format writes what all tables have."""

    dash: str
    at_least: str
    about: str
    special: Mapping[int, str]

    def text(self, words: str) -> str:
        """Words of somebody's, with what the format takes for its own marked."""
        return printable(words).translate(self.special)


MARKDOWN = Marks(" to ", "≥ ", "about ", str.maketrans({c: f"\\{c}" for c in "\\`*[]<>|"}))
TEX = Marks(
    *("--", "$\\ge$", "$\\approx$"),
    str.maketrans(
        {c: f"\\{c}" for c in "&%$#_{}"}
        | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    ),
)


@dataclass(frozen=True)
class Gap:
    """Distance of an error from the optimum in dB: an interval, since the optimum is known as one."""

    least: float
    """10 log10(e / upper), at least 0: the distance from the best weights known."""
    most: float | None
    """10 log10(e / lower): the distance from what is proven impossible. None without a lower bound."""

    @property
    def exact(self) -> bool:
        """Whether both ends are the same to two digits."""
        return self.most is not None and self.most - self.least < 0.005

    def text(self, dash: str, at_least: str) -> str:
        """For a table cell."""
        if self.most is None:
            return f"{at_least}{self.least:.2f}"
        return f"{self.least:.2f}" if self.exact else f"{self.least:.2f}{dash}{self.most:z.2f}"


def gap_of(error: float, lower: float, upper: float) -> Gap | None:
    """The gap of a method's error on a layer; None where it is no number of dB (the optimum has no error)."""
    if upper <= 0 or error <= 0:
        return None
    least = max(0.0, 10 * math.log10(error / upper))
    return Gap(least, 10 * math.log10(error / lower) if lower > 0 else None)


def method_names(layer: Mapping[str, Any], side: str) -> list[str]:
    """Methods scored on a side, the best (least mean distance over the bit widths) first."""
    pairs = [pair for pair in layer["pairs"] if pair["verdict"] != SKIPPED]
    totals: dict[str, list[float]] = {}
    for pair in pairs:
        for name, error in pair[side]["empirical"].items():
            gap = gap_of(error, pair[side]["lower"], pair[side]["upper"])
            totals.setdefault(name, []).append(0.0 if gap is None else gap.least)
    return sorted(totals, key=lambda name: (sum(totals[name]) / len(totals[name]), name))


def write_gap_table(path: Path, document: Mapping[str, Any]) -> None:
    """Write the table of every layer: Markdown, LaTeX (booktabs) or CSV, by the suffix of the file."""
    text = {".md": markdown, ".tex": latex, ".csv": as_csv}[path.suffix](document)
    write_text(path, text)


def _compared(document: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Layers with their pairs, those skipped left out."""
    layers = [(layer, [p for p in layer["pairs"] if p["verdict"] != SKIPPED]) for layer in document["layers"]]
    return [(layer, pairs) for layer, pairs in layers if pairs]


def _cells(pairs: Sequence[Mapping[str, Any]], side: str, name: str, dash: str, at_least: str) -> list[str]:
    cells = []
    for pair in pairs:
        error = pair[side]["empirical"].get(name)
        gap = None if error is None else gap_of(error, pair[side]["lower"], pair[side]["upper"])
        cells.append("-" if gap is None else gap.text(dash, at_least))
    return cells


def _modelled_cells(pairs: Sequence[Mapping[str, Any]], name: str, about: str) -> list[str]:
    cells = []
    for pair in pairs:
        error = pair["quant"]["empirical"].get(name)
        above = None if error is None else above_predicted_db(pair["quant"], error)
        cells.append("-" if above is None else f"{about}{above:z.2f}")
    return cells


def _rows_of(pairs: Sequence[Mapping[str, Any]], side: str, marks: Marks) -> list[list[str]]:
    """A row for each method, and of those on a grid another one beside what the volume model predicts."""
    names = method_names({"pairs": pairs}, side)
    rows = [[marks.text(name), *_cells(pairs, side, name, marks.dash, marks.at_least)] for name in names]
    if side == "quant" and any(predicted(pair["quant"]) is not None for pair in pairs):
        rows += [[f"{marks.text(name)}, modelled", *_modelled_cells(pairs, name, marks.about)] for name in names]
    return rows


def _caption(pairs: Sequence[Mapping[str, Any]]) -> str:
    words, refused = CAPTION, dict[str, list[str]]()
    if any(predicted(pair["quant"]) is not None for pair in pairs):
        words += f" {MODELLED}"
    for pair in pairs:
        why = pair["quant"].get("model", {}).get("refused")
        if why is not None:
            refused.setdefault(why, []).append(column_of(pair).words)
    return words + "".join(f" Not modelled at {', '.join(some)}: {why}." for why, some in refused.items())


def _heads(pairs: Sequence[Mapping[str, Any]], side: str, percent: str) -> list[str]:
    if side == "quant":
        return [f"{pair['bits']} bit{'s' if pair['bits'] > 1 else ''}" for pair in pairs]
    return [f"{100 * pair['sparsity']:.1f}{percent}" for pair in pairs]


CAPTION = (
    "dB above the least possible error. One number: the optimum is proven. A range: from the best weights known "
    "to what is proven impossible."
)

MODELLED = (
    "Modelled: above the optimum that the volume model predicts for random weights, an estimate and no bound."
)


def markdown(document: Mapping[str, Any]) -> str:
    """One Markdown table for each layer and technique."""
    lines: list[str] = []
    for layer, pairs in _compared(document):
        lines += [f"### {MARKDOWN.text(layer['name'])}, {layer['out']} rows x {layer['in']} inputs", ""]
        lines += [MARKDOWN.text(_caption(pairs)), ""]
        for side, title in TITLES.items():
            rows = _rows_of(pairs, side, MARKDOWN)
            if not rows:
                continue
            lines.append("| " + " | ".join([title, *_heads(pairs, side, "%")]) + " |")
            lines.append("|---|" + "---:|" * len(pairs))
            lines += ["| " + " | ".join(row) + " |" for row in rows]
            lines.append("")
    return "\n".join(lines)


def latex(document: Mapping[str, Any]) -> str:
    """One LaTeX table for each layer, both techniques in it; needs the package booktabs."""
    lines = ["% \\usepackage{booktabs}"]
    for layer, pairs in _compared(document):
        size = f"${layer['out']}\\times{layer['in']}$"
        lines += [
            "\\begin{table}",
            f"\\caption{{{TEX.text(layer['name'])}, {size}: {TEX.text(_caption(pairs))}}}",
            "\\centering",
            "\\begin{tabular}{l" + "r" * len(pairs) + "}",
            "\\toprule",
        ]
        for i, (side, title) in enumerate(TITLES.items()):
            rows = _rows_of(pairs, side, TEX)
            if not rows:
                continue
            lines += ["\\midrule"] if i else []
            lines.append(" & ".join([title, *_heads(pairs, side, "\\%")]) + " \\\\")
            lines.append("\\midrule")
            lines += [" & ".join(row) + " \\\\" for row in rows]
        lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}", ""]
    return "\n".join(lines)


COLUMNS = (
    "layer",
    "side",
    "bits",
    "sparsity",
    "method",
    "error",
    "lower",
    "upper",
    "reference",
    "gap_least_db",
    "gap_most_db",
    "model_optimum",
    "model_level",
    "model_odds",
    "model_gap_db",
    "model_refused",
)


def as_csv(document: Mapping[str, Any]) -> str:
    """One line for each layer, bit width, technique and method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for layer, pairs in _compared(document):
        for side in TITLES:
            for name in method_names(layer, side):
                for pair in pairs:
                    error = pair[side]["empirical"].get(name)
                    if error is None:
                        continue
                    found = pair[side]
                    gap = gap_of(error, found["lower"], found["upper"])
                    row = [layer["name"], side, pair["bits"], pair["sparsity"], name, error]
                    row += [found["lower"], found["upper"], found["reference"]]
                    row += [gap.least if gap else "", "" if gap is None or gap.most is None else gap.most]
                    model = found.get("model", {})
                    row += [model.get("optimum"), model.get("lower"), model.get("odds")]
                    writer.writerow([*row, above_predicted_db(found, error), model.get("refused")])
    return text.getvalue()
