"""What a person reads of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pvq.bounds.durations import words_of
from rich.table import Table

from ..console import Printer, printable
from ..hints import outlier_hint
from ..volume import model_words, models_sentence

FEW = 3
"""Of up to so many layers the volume model's statement is printed."""
SHOWN_FAULTS = 5
NONE = {"bits": None, "sparsity": None, "nm": None}


def print_status(folder: Path, found: Mapping[str, Any]) -> None:
    """Counts, a line for each setting, verdicts, and what went wrong."""
    console = Printer()
    console.say(
        f": {found['known']} of {found['rows']} rows have a result, {found['solved']} are solved; "
        f"{found['rigorous']} rigorous bounds, {found['numerical']} numerical; "
        f"{words_of(found['seconds'])} of work, {found['layers']} layers",
        name=str(folder),
    )
    table = Table(box=None, pad_edge=False)
    for name in ("", "layers", "rows", "with a result", "solved", "rigorous", "numerical", "SQNR, dB", "work"):
        table.add_column(name, justify="left" if not name else "right")
    for line in found["by_setting"]:
        counts = ("layers", "rows", "known", "solved", "rigorous", "numerical")
        table.add_row(
            setting_words(line),
            *(str(line[name]) for name in counts),
            _range(line["sqnr_min_db"], line["sqnr_max_db"]),
            words_of(line["seconds"]),
        )
    console.table(table)
    for line in found["verdicts"]:
        skipped = f", {line['skipped']} skipped" if line["skipped"] else ""
        console.say(
            f"{line['bits']} bits: quantization better in {line['quantization_better']}, pruning in "
            f"{line['pruning_better']}, open in {line['open']}{skipped}"
        )
    if "models" in found:
        models = found["models"]
        if models["stated"] + models["refused"]:
            console.say(models_sentence(models["stated"], sum(models.values()), "`pvq run export -o FILE.json`"))
        costs = found["outliers"]
        if costs["layers"]:
            _say_outliers(console, costs["most_db"], costs["layers"], costs["of"])
    for name, why in found["skipped"].items():
        console.say(f": skipped, {printable(why)}", name=name)
    say_faults(found)


def _say_outliers(console: Printer, most: float, layers: int, of: int) -> None:
    where = f" in {layers} of {of} layers" if of > 1 else ""
    console.say(outlier_hint(f"{'up to ' if layers > 1 else ''}{most:.1f} dB larger{where}"))


def say_faults(found: Mapping[str, Any]) -> None:
    """What went wrong, with chunks and with workers."""
    console = Printer()
    for word, lines in (("failed: ", found["faults"]), ("", found.get("notes", []))):
        for why in lines[:SHOWN_FAULTS]:
            console.say(f"{word}{printable(why)}")
        if len(lines) > SHOWN_FAULTS:
            console.say(f"and {len(lines) - SHOWN_FAULTS} more of these")


def print_layers(document: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """A line for each layer under each setting, and what went wrong."""
    console = Printer()
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "", "rows", "optimal", "least error is at least", "at most", "SQNR, dB", "bound"):
        table.add_column(name, justify="left" if name in ("layer", "") else "right")
    results = document.get("results", [document] if "total" in document else [])
    for result in results:
        total, rows, problem = result["total"], result["rows"], result["problem"]
        optimal = sum(row["status"] == "optimal" for row in rows)
        table.add_row(
            *(printable(result["layer"]["name"]), setting_words({**NONE, "side": problem["method"], **problem})),
            *(str(len(rows)), str(optimal), f"{total['lower']:.6g}", f"{total['upper']:.6g}"),
            *(_range(total["sqnr_min_db"], total["sqnr_max_db"]), total["bound_kind"]),
        )
    console.table(table)
    _say_beside(console, results)
    for name, why in found["skipped"].items():
        console.say(f": skipped, {printable(why)}", name=name)
    say_faults(found)


def _say_beside(console: Printer, results: Sequence[Mapping[str, Any]]) -> None:
    """What the volume model says of a few quantized layers, or of how many; and what one scale for all costs."""
    quantized = [result for result in results if "model" in result["total"]]
    if len(quantized) <= FEW:
        for result in quantized:
            total = result["total"]
            said = model_words(total["model"], total["reference"], total["empirical"])
            console.say(f": {said}.", name=result["layer"]["name"])
    else:
        stated = sum(result["total"]["model"]["refused"] is None for result in quantized)
        console.say(models_sentence(stated, len(quantized)))
    costs = {
        result["layer"]["name"]: result["total"]["outliers_db"]
        for result in quantized
        if "outliers_db" in result["total"]
    }
    if costs:
        _say_outliers(console, max(costs.values()), len(costs), len({r["layer"]["name"] for r in quantized}))


def setting_words(line: Mapping[str, Any]) -> str:
    """A setting in a few words: 4 bits, 75 % sparsity."""
    words = [line["side"]]
    if line["bits"] is not None:
        words.append(f"{line['bits']} bits" if line["side"] != "prune" else f"at the cost of {line['bits']} bits")
    if line["sparsity"] is not None:
        words.append(f"{100 * line['sparsity']:.4g}% sparsity")
    if line["nm"] is not None and line["bits"] is None:
        words.append(str(line["nm"]))
    return ", ".join(words)


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return "-"
    return f"{least:z.2f} to {'?' if most is None else f'{most:z.2f}'}"
