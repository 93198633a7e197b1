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
from pvq.solvers.compare.verdict import SKIPPED

from ..console import printable

SUFFIXES = (".md", ".tex", ".csv")
TITLES = {"quant": "quantization", "prune": "pruning"}


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


def _heads(pairs: Sequence[Mapping[str, Any]], side: str, percent: str) -> list[str]:
    if side == "quant":
        return [f"{pair['bits']} bit{'s' if pair['bits'] > 1 else ''}" for pair in pairs]
    return [f"{100 * pair['sparsity']:.1f}{percent}" for pair in pairs]


CAPTION = (
    "dB above the least possible error. One number: the optimum is proven. A range: from the best weights known "
    "to what is proven impossible."
)


def markdown(document: Mapping[str, Any]) -> str:
    """One Markdown table for each layer and technique."""
    lines: list[str] = []
    for layer, pairs in _compared(document):
        lines += [f"### {_markdown(layer['name'])}, {layer['out']} rows x {layer['in']} inputs", "", CAPTION, ""]
        for side, title in TITLES.items():
            names = method_names(layer, side)
            if not names:
                continue
            lines.append("| " + " | ".join([title, *_heads(pairs, side, "%")]) + " |")
            lines.append("|---|" + "---:|" * len(pairs))
            lines += ["| " + " | ".join([n, *_cells(pairs, side, n, " to ", "≥ ")]) + " |" for n in names]
            lines.append("")
    return "\n".join(lines)


def latex(document: Mapping[str, Any]) -> str:
    """One LaTeX table for each layer, both techniques in it; needs the package booktabs."""
    lines = ["% \\usepackage{booktabs}"]
    for layer, pairs in _compared(document):
        lines += [
            "\\begin{table}",
            f"\\caption{{{_tex(layer['name'])}, ${layer['out']}\\times{layer['in']}$: {CAPTION}}}",
            "\\centering",
            "\\begin{tabular}{l" + "r" * len(pairs) + "}",
            "\\toprule",
        ]
        for i, (side, title) in enumerate(TITLES.items()):
            names = method_names(layer, side)
            if not names:
                continue
            lines += ["\\midrule"] if i else []
            lines.append(" & ".join([title, *_heads(pairs, side, "\\%")]) + " \\\\")
            lines.append("\\midrule")
            lines += [" & ".join([_tex(n), *_cells(pairs, side, n, "--", "$\\ge$")]) + " \\\\" for n in names]
        lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}", ""]
    return "\n".join(lines)


TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
)
MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*[]<>|"})


def _tex(text: str) -> str:
    return printable(text).translate(TEX)


def _markdown(text: str) -> str:
    return printable(text).translate(MARKDOWN)


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
                    writer.writerow(
                        [*row, gap.least if gap else "", "" if gap is None or gap.most is None else gap.most]
                    )
    return text.getvalue()
