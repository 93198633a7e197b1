"""What `pvq finetune` prints and draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.benchmarks.finetune.compress import METHODS
from pvq.benchmarks.finetune.table import WORDS, better, entry, number, shown, widths

from ..console import Printer, printable
from ..figures import LIMIT, PRUNE, QUANT, new_figure, save
from .against import above_db

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {"quant": QUANT, "prune": PRUNE}
ACROSS = 4
"""Panels of a figure beside each other."""


def print_studies(documents: Sequence[Mapping[str, Any]]) -> None:
    """Print the table of each task, or of what is published, and what it says, on standard output."""
    from rich import box
    from rich.table import Table

    console = Printer()
    for document in documents:
        source = document.get("source")
        where = "on test data" if source is None else f"as published: {printable(source)}"
        console.say(f", {printable(document['measure'])} {where}", name=document["task"])
        if document["original"] is None and source is None:
            console.say("The network itself is not trained yet.")
            continue
        table = Table(box=box.SIMPLE)
        table.add_column("bits a weight", justify="right")
        for method in METHODS:
            table.add_column(WORDS[method], justify="right", no_wrap=True)
            table.add_column("dB moved", justify="right", no_wrap=True)
        if document["original"] is not None:
            unchanged = number(document["original"]["test"])
            table.add_row("16", unchanged, "", unchanged, "")
        for bits in widths([document]):
            cells = []
            for method in METHODS:
                cells += [shown(entry(document, method, bits)), moved(document, method, bits)]
            table.add_row(str(bits), *cells)
        console.table(table)
        if source is None:
            console.say(sentence(document))
        if document.get("against_bounds"):
            console.table(_against(document))
            console.say(against_sentence(document))


def _against(document: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    table.add_column("layer", no_wrap=True)
    titles = (
        "",
        "bits",
        "seed",
        "fine-tuned error",
        "least error, from",
        "to",
        "dB above it, from",
        "to",
        "dB moved",
    )
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    moved_db = {
        (layer["name"], cell["method"], cell["bits"], cell["seed"]): layer["activation_sqnr_db"]
        for cell in document["cells"]
        for layer in cell["layers"]
    }
    for line in document["against_bounds"]:
        moved_by = moved_db.get(tuple(line[key] for key in ("layer", "method", "bits", "seed")))
        ends = (f"{end:.1f}" if math.isfinite(end) else "" for end in above_db(line))
        table.add_row(
            printable(line["layer"]),
            WORDS[line["method"]],
            str(line["bits"]),
            str(line["seed"]),
            *(f"{line[name]:.4g}" for name in ("error", "lower", "upper")),
            *ends,
            "" if moved_by is None else f"{moved_by:.1f}",
        )
    return table


def against_sentence(document: Mapping[str, Any]) -> str:
    """How many fine-tuned layers are below what is possible without moving their inputs."""
    parts = []
    for method in METHODS:
        lines = [line for line in document["against_bounds"] if line["method"] == method]
        if lines:
            below = sum(line["below_lower"] for line in lines)
            parts.append(f"{below} of {len(lines)} {WORDS[method]} layers are below the lower end")
    return (
        f"On the inputs of the original network, {' and '.join(parts)} of the least error (quantized: at the step "
        "of least squared rounding error; fine-tuning has learned another)."
    )


def moved(document: Mapping[str, Any], method: str, bits: int) -> str:
    """Mean over layers and seeds of the SQNR of the activations."""
    cells = [c for c in document["cells"] if c["method"] == method and c["bits"] == bits]
    found = [layer["activation_sqnr_db"] for cell in cells for layer in cell.get("layers", ())]
    found = [value for value in found if value is not None]
    return f"{math.fsum(found) / len(found):.1f}" if found else ""


def sentence(document: Mapping[str, Any]) -> str:
    """Which method is better where."""
    found = better(document)
    rates = document["rates"]
    chosen = ", ".join(f"{rates[m]:g} {WORDS[m]}{_end(rates, m)}" for m in METHODS if rates[m] is not None)
    start = f"Learning rates: {chosen} (best validation at {rates['bits']} bits). " if chosen else ""
    if not found:
        return f"{start}Two seeds or more say which differences are larger than their spread."
    parts = []
    for method, words in {
        "quant": "quantization ahead",
        "prune": "pruning ahead",
        "neither": "no difference",
    }.items():
        where = [str(bits) for bits, who in sorted(found.items()) if who == method]
        if where:
            parts.append(f"{words} at {', '.join(where)} bits")
    return f"{start}Beyond the deviations over seeds: {'; '.join(parts)}."


def _end(rates: Mapping[str, Any], method: str) -> str:
    """A better rate may lie beyond an end of those that were tried."""
    tried, rate = rates["tried"], rates[method]
    if len(tried) < 2 or rate not in (min(tried), max(tried)):
        return ""
    return f" (the {'largest' if rate == max(tried) else 'smallest'} tried)"


def draw(path: Path, documents: Sequence[Mapping[str, Any]]) -> None:
    """Quality against size, one panel a task, so many in a row."""
    columns = min(ACROSS, len(documents))
    rows = math.ceil(len(documents) / columns)
    figure = new_figure(4.2 * columns, 3.6 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(documents) :]:
        axes.remove()
    for axes, document in zip(panels, documents, strict=False):
        for method in METHODS:
            found = {bits: entry(document, method, bits) for bits in sorted(document["bits"])}
            known = {bits: one for bits, one in found.items() if one is not None}
            spread = [0.0 if math.isnan(one.deviation) else one.deviation for one in known.values()]
            axes.errorbar(
                list(known),
                [one.mean for one in known.values()],
                spread,
                capsize=2,
                label=WORDS[method],
                **STYLES[method],
            )
        if document["original"] is not None:
            axes.axhline(document["original"]["test"], label="original", **LIMIT)
        axes.set_xlabel("bits a weight")
        axes.set_xticks(sorted(document["bits"]))
        axes.set_ylabel(document["measure"])
        axes.set_title("\n".join(filter(None, (document["task"], document.get("source")))))
        axes.legend()
    save(figure, path)
