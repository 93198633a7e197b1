"""What a person reads of a comparison: intervals and verdicts of few layers, a map of verdicts of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pvq.solvers.compare.column import Column, column_of, columns_of
from pvq.solvers.compare.verdict import NAMES, OPEN, PRUNE, QUANT, SAMPLED, SKIPPED
from rich import box
from rich.table import Table

from ..console import Printer, printable
from ..hints import outlier_hint
from ..volume import model_words, models_sentence

FEW = 3
"""Up to so many layers are shown with all their intervals."""
LETTER = {QUANT: "Q", PRUNE: "P", OPEN: "?"}
LIKELY = {"quant": "q", "prune": "p"}
LEGEND = (
    "Q quantization, P pruning is proven better, by at least so many dB; ? open: so many dB are missing; "
    "- not reached or no such pair"
)
LEGEND_SAMPLED = "q, p likely from drawn rows (sampled, 95 % confidence), no proof"


def print_comparison(document: Mapping[str, Any]) -> None:
    """Print a `pvq.compare/1` document on standard output."""
    console = Printer()
    layers = [layer for layer in document["layers"] if layer["skipped"] is None]
    if len(layers) <= FEW:
        for layer in layers:
            _print_layer(console, layer, document["settings"])
    else:
        console.table(_map(columns_of(document), layers))
        console.say(LEGEND, style="dim")
        if any("sampled" in pair for layer in layers for pair in layer["pairs"]):
            console.say(LEGEND_SAMPLED, style="dim")
        console.table(_summary(document))
        _say_models(console, layers)
        costs = [max(found.values()) for found in map(_outliers, layers) if found]
        if costs:
            words = f"up to {max(costs):.1f} dB larger in {len(costs)} of {len(layers)} layers"
            console.say(outlier_hint(words))
    for layer in document["layers"]:
        if layer["skipped"] is not None:
            console.say(f"{printable(layer['name'])}: skipped, {printable(layer['skipped'])}")
        if "failed" in layer:
            console.say(f"{printable(layer['name'])}: not compared any more, {printable(layer['failed'])}")
    console.say(conclusion(document))


def shown_side(pair: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """A side with the ends in dB that are worth showing: those estimated from drawn rows, else the proven ones."""
    ends: Mapping[str, Any] = pair.get("sampled", {}).get(side, {})
    return {**pair[side], **{name: ends[name] for name in ("sqnr_min_db", "sqnr_max_db") if name in ends}}


def letter_of(pair: Mapping[str, Any]) -> str:
    """The verdict in one letter."""
    return LIKELY[pair["sampled"]["better"]] if pair["verdict"] == SAMPLED else LETTER[pair["verdict"]]


def margin_of(pair: Mapping[str, Any]) -> float | None:
    """dB by which one side is better, or what a proof lacks; None where a proof would need the rows not drawn."""
    margin: float | None = pair["margin_db"]
    if "sampled" in pair and pair["verdict"] in (SAMPLED, OPEN):
        margin = pair["sampled"]["margin_db"]["low"] if pair["verdict"] == SAMPLED else None
    return margin


def db_range(side: Mapping[str, Any]) -> str:
    """The interval of the best SQNR in dB."""
    if side["upper"] <= 0:
        return "exact"
    least, most = side["sqnr_min_db"], side["sqnr_max_db"]
    if least is None:
        return "?" if most is None else f"at most {most:.2f}"
    if most is None:
        return f"at least {least:.2f}"
    return f"{least:.2f}" if most - least < 0.005 else f"{least:.2f} to {most:.2f}"


def _print_layer(console: Printer, layer: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    grid = f"{chosen['grid']} grid, {chosen['range']} range per {_each(chosen['granularity'])}"
    update = "re-optimised" if chosen["update"] else "fixed"
    pattern = f"N:{chosen['nm']}" if chosen["nm"] else f"sparsity per {chosen['scope']}"
    if chosen.get("against"):
        pattern = f"{_each(chosen['against'])} at whatever cost"
    console.say(
        f": {layer['out']} rows x {layer['in']} inputs; {printable(grid)}, against "
        f"{pattern}, kept weights {update}",
        name=layer["name"],
    )
    rows = next((pair["sampled"]["rows"] for pair in layer["pairs"] if "sampled" in pair), None)
    title = "Best possible SQNR"
    if rows is not None:
        title += f", sampled: {rows} of {layer['out']} rows, limits of 95 % confidence"
    table = Table(box=box.SIMPLE, title=title, title_justify="left")
    for title in ("bits", "sparsity", "quantization (dB)", "pruning (dB)"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("bits a weight", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    for pair in layer["pairs"]:
        if pair["verdict"] == SKIPPED:
            table.add_row(column_of(pair).short, "", "", "", f"skipped: {printable(pair['reason'])}")
            continue
        quant, prune = shown_side(pair, "quant"), shown_side(pair, "prune")
        table.add_row(
            column_of(pair).short,
            f"{100 * pair['sparsity']:.1f}%",
            db_range(quant),
            db_range(prune),
            f"{_verdict(pair)}{_by(pair)}",
            f"{quant['storage_bits']:.4g} / {prune['storage_bits']:.4g}",
            f"all / {100 * prune['macs']:.1f}%",
        )
    console.table(table)
    told = set()
    for pair in layer["pairs"]:
        if pair["verdict"] != SKIPPED:
            said = printable(pair["words"])
            side, quant = column_of(pair).of("quant"), pair["quant"]
            if "model" in quant and side not in told:  # pairs may have it in common
                told.add(side)
                said += f" {side.words}, {_model(quant)}."
            console.say(said)
    costs = _outliers(layer)
    if costs:
        worse = [f"{cost:.1f} dB larger at {bits} bits" for bits, cost in sorted(costs.items())]
        console.say(outlier_hint(" and ".join(dict.fromkeys([worse[0], worse[-1]]))))


def _outliers(layer: Mapping[str, Any]) -> dict[int, float]:
    """By bits, dB that one scale for all costs where it is worth a line."""
    quant = [(pair["bits"], pair["quant"]) for pair in layer["pairs"] if pair["verdict"] != SKIPPED]
    return {bits: side["outliers_db"] for bits, side in quant if "outliers_db" in side}


def _model(side: Mapping[str, Any]) -> str:
    return model_words(side["model"], side["reference"], side["empirical"])


def _each(given: Any) -> str:
    """One of several words, or all of them."""
    words = [given] if isinstance(given, str) else given
    return " and ".join(f"sparsity {word}" if word.replace(".", "").isdigit() else word for word in words)


def _say_models(console: Printer, layers: Sequence[Mapping[str, Any]]) -> None:
    """How many quantized sides have an estimate by the volume model; one that pairs have in common counts once."""
    models = {
        (layer["name"], column_of(pair).of("quant")): pair["quant"]["model"]
        for layer in layers
        for pair in layer["pairs"]
        if pair["verdict"] != SKIPPED and "model" in pair["quant"]
    }
    if models:
        stated = sum(model["refused"] is None for model in models.values())
        console.say(models_sentence(stated, len(models)))


def _verdict(pair: Mapping[str, Any]) -> str:
    if pair["verdict"] != SAMPLED:
        return str(pair["verdict"])
    return f"{SAMPLED}: {NAMES[pair['sampled']['better']]} better"


def _by(pair: Mapping[str, Any]) -> str:
    margin = margin_of(pair)
    if margin is None:
        return ""
    return f" ({-margin:z.2f} dB missing)" if pair["verdict"] == OPEN else f" by {margin:.2f} dB"


def openness(layer: Mapping[str, Any]) -> tuple[int, float]:
    """Sort key: open pairs, then the dB that are missing in all (much where there is no bound at all)."""
    missing = [pair["margin_db"] for pair in layer["pairs"] if pair["verdict"] == OPEN]
    return len(missing), sum(100.0 if lack is None else -lack for lack in missing)


def _map(columns: Sequence[Column], layers: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE, title="Verdicts, the most open layers first", title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("rows x inputs", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.words, justify="right", no_wrap=True)
    for layer in sorted(layers, key=openness, reverse=True):
        cells = {column_of(pair): _cell(pair) for pair in layer["pairs"]}
        size = f"{layer['out']} x {layer['in']}"
        table.add_row(printable(layer["name"]), size, *(cells.get(column, "-") for column in columns))
    return table


def _cell(pair: Mapping[str, Any]) -> str:
    if pair["verdict"] == SKIPPED:
        return "-"
    letter, margin = letter_of(pair), margin_of(pair)
    return letter if margin is None else f"{letter} {abs(margin):.1f}"


def _summary(document: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("layers", no_wrap=True)
    for line in document["summary"]:
        table.add_column(column_of(line).words, justify="right")
    for title, name in (
        ("quantization proven better", "quantization_better"),
        ("pruning proven better", "pruning_better"),
        ("sampled", "sampled"),
        ("open", "open"),
        ("skipped", "skipped"),
    ):
        if name == "sampled" and not any(line[name] for line in document["summary"]):
            continue
        table.add_row(title, *(str(line[name]) for line in document["summary"]))
    shares = [line["decided_share"] for line in document["summary"]]
    table.add_row("decided", *("-" if share is None else f"{100 * share:.0f}%" for share in shares))
    return table


def _failed_rows(document: Mapping[str, Any]) -> int:
    """Rows on which a solver failed; a side that pairs have in common counts once."""
    failed = {
        (layer["name"], side, column_of(pair).of(side), row)
        for layer in document["layers"]
        for pair in layer["pairs"]
        if pair["verdict"] != SKIPPED
        for side in NAMES
        for row in pair[side]["failed_rows"]
    }
    return len(failed)


def conclusion(document: Mapping[str, Any]) -> str:
    """One sentence on what is proven in all."""
    pairs = [pair for layer in document["layers"] for pair in layer["pairs"] if pair["verdict"] != SKIPPED]
    count = {name: sum(pair["verdict"] == name for pair in pairs) for name in (QUANT, PRUNE, SAMPLED, OPEN)}
    start = "Interrupted. " if document["environment"].get("interrupted") else ""
    if not pairs:
        return f"{start}No pair was compared."
    kinds = {
        pair["prune" if pair["verdict"] == QUANT else "quant"]["bound_kind"]
        for pair in pairs
        if pair["verdict"] in (QUANT, PRUNE)
    }
    how = f" ({'exact' if kinds == {'rigorous'} else 'float64'} arithmetic)" if kinds else ""
    decided = count[QUANT] + count[PRUNE]
    likely = f" {count[SAMPLED]} sampled (likely, no proof);" if count[SAMPLED] else ""
    wrong = _failed_rows(document)
    if wrong:
        start += f"WARNING: a solver failed or contradicted itself on {wrong} rows, which count 0. "
    if document["environment"].get("not_reached"):
        start += f"{document['environment']['not_reached']} pairs were not reached within the budget. "
    return (
        f"{start}Proven{how}: {decided} of {len(pairs)} pairs, quantization better in {count[QUANT]}, pruning in "
        f"{count[PRUNE]};{likely} {count[OPEN]} open."
    )
